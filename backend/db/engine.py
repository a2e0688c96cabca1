"""Engine and transactions: short, a writer knows from its first statement that it writes, and what the database or
its disk complains of becomes one sentence that names the place and the remedy."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session, sessionmaker

from backend.core.errors import Busy, Unavailable, UserError
from backend.db.publication import hide_unpublished

_BUSY_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_UNOPENABLE_CODES = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_DAMAGED_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# PostgreSQL: lock not available, deadlock, serialization failure.
_BUSY_STATES = {"55P03", "40P01", "40001"}
_FULL_STATE = "53100"
# PostgreSQL: connection, authorization, no such database, resources, shut down, its own system.
_UNREACHABLE_STATES = ("08", "28", "3D", "53", "57P", "58")


def is_busy(error: DBAPIError) -> bool:
    """Whether another program or transaction stood in the way, so that trying again may help."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_result_code(error.orig) in _BUSY_CODES
    return getattr(error.orig, "sqlstate", None) in _BUSY_STATES


def translate_fault(error: DBAPIError, database_url: URL) -> Unavailable | None:
    """The sentence for a fault of lock, disk, file or server; None for anything else.

    SQLite's result codes: https://www.sqlite.org/rescode.html, PostgreSQL's states:
    https://www.postgresql.org/docs/current/errcodes-appendix.html.
    """
    if is_busy(error):
        return Busy(
            "The database is busy with another program's writing; nothing was saved. Try again soon.",
            "服务器正忙，另一个程序正在写入数据库；没有保存任何内容，请稍后再试。",
        )
    place = _database_place(database_url)
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_fault(error.orig, place)
    return _server_fault(error, place)


def _sqlite_fault(error: sqlite3.Error, place: str) -> Unavailable | None:
    result_code = _sqlite_result_code(error)
    if result_code == sqlite3.SQLITE_FULL:
        return _disk_full_fault(place)
    if result_code == sqlite3.SQLITE_READONLY:
        return read_only_fault(place)
    if result_code in _UNOPENABLE_CODES:
        return Unavailable(
            f"The database {place} cannot be opened; make sure that it is a file that the user running Zhufu "
            "may read and write, in a folder that this user may write.",
            f"无法打开数据库 {place}，请确认它是一个文件，并且运行祝福的用户能读写它、能写它所在的文件夹。",
        )
    if result_code in _DAMAGED_CODES:
        return Unavailable(
            f"The database {place} is damaged or no SQLite database; put a copy in its place, or move it "
            "away to begin anew.",
            f"数据库 {place} 已损坏或不是 SQLite 数据库，请换回备份；或把它移走，重新开始。",
        )
    if result_code == sqlite3.SQLITE_IOERR:
        return Unavailable(
            f"The disk cannot write or read the database {place} ({error.sqlite_errorname}); nothing was "
            "saved. Check the disk and its free space.",
            f"磁盘无法读写数据库 {place}（{error.sqlite_errorname}），没有保存任何内容；请检查磁盘和剩余空间。",
        )
    return None


def _server_fault(error: DBAPIError, place: str) -> Unavailable | None:
    sql_state = getattr(error.orig, "sqlstate", None)
    if sql_state == _FULL_STATE:
        return _disk_full_fault(place)
    if sql_state is None and not error.connection_invalidated and not _lacks_answer(error):
        return None
    if sql_state is not None and not sql_state.startswith(_UNREACHABLE_STATES):
        return None
    return unreachable_fault(error, place)


def _lacks_answer(error: DBAPIError) -> bool:
    """Whether the driver reports a connection that failed, which has no state of the server."""
    return type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout", "InterfaceError")


def unreachable_fault(error: DBAPIError, place: str) -> Unavailable:
    """The sentence for a database that does not answer."""
    error_lines = str(error.orig).strip().splitlines()
    cause = error_lines[0].rstrip(".") if error_lines else "no answer"
    return Unavailable(
        f"The database {place} does not answer ({cause}); check ZHUFU_DATABASE_URL and that server.",
        f"数据库 {place} 没有响应（{cause}），请检查 ZHUFU_DATABASE_URL 和数据库服务器。",
    )


def read_only_fault(place: str) -> Unavailable:
    """The sentence for a SQLite file that may be read and not written."""
    return Unavailable(
        f"The database {place} cannot be written; make the file and its folder writable for the user that runs Zhufu.",
        f"数据库 {place} 不可写，请让运行祝福的用户能写这个文件和它所在的文件夹。",
    )


def _disk_full_fault(place: str) -> Unavailable:
    return Unavailable(
        f"The disk of the database {place} is full; nothing was saved. Free some space and try again.",
        f"数据库 {place} 所在的磁盘已满，没有保存任何内容；请清理出空间后重试。",
    )


def _database_place(database_url: URL) -> str:
    if database_url.get_backend_name() == "sqlite":
        return database_url.database or ":memory:"
    return database_url.render_as_string(hide_password=True)


def _sqlite_result_code(error: sqlite3.Error) -> int:
    """The primary result code: the lower byte. Errors of the driver itself have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


# How long a write waits for another writer, unless it says otherwise.
WAIT_S = 15.0
# How long a person's answer waits before the page is told to come again.
VOTE_WAIT_S = 2.0
# How long a job or a long run waits: it would rather be late than lost.
RUN_WAIT_S = 600.0

_WRITES_OPTION = "zhufu_writes"
# One wait inside SQLite: Python handles a signal between two calls into it only, so that a single wait of 10 minutes
# could not be interrupted.
_WAIT_SLICE_MS = 250
_READ_WAIT_MS = 15_000
_CONNECT_S = 10


class Database:
    """One engine, two kinds of transaction: `read()` and `write()`.

    Both raise Busy where another program held the database for too long, and Unavailable where the disk,
    the file or the server is at fault; nothing of the transaction is saved then.
    """

    def __init__(self, database_url: str) -> None:
        self.engine = _create_engine(database_url)
        self.wait_s = WAIT_S
        # Records are read after their session has closed, where an expired attribute could no longer be loaded.
        self._read_sessions = sessionmaker(self.engine, expire_on_commit=False)
        writing_engine = self.engine.execution_options(**{_WRITES_OPTION: True})
        self._write_sessions = sessionmaker(writing_engine, expire_on_commit=False)
        for session_factory in (self._read_sessions, self._write_sessions):
            hide_unpublished(session_factory)

    def wait_patiently(self) -> None:
        """Let every write wait as long as a background run may."""
        self.wait_s = RUN_WAIT_S

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one moment and never writes."""
        with self.faults_as_sentences(), self._read_sessions() as session, session.begin():
            yield session
            # Not left to the database: on SQLite a reader that begins to write may fail with a stale snapshot.
            if session.new or session.dirty or session.deleted:
                raise AssertionError("a read transaction must not write")

    @contextmanager
    def write(self, wait_s: float | None = None) -> Iterator[Session]:
        """A transaction that commits when the block ends, and takes SQLite's write lock at its start.

        `wait_s` is how long it waits for another writer, by default `self.wait_s`. The block itself runs
        once at most: all waiting for SQLite's lock is over before it begins.
        """
        wait_s = self.wait_s if wait_s is None else wait_s
        with self.faults_as_sentences(), self._open_writer(wait_s) as session:
            yield session
            session.commit()

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()

    @contextmanager
    def faults_as_sentences(self) -> Iterator[None]:
        """For what is asked of the engine itself: Busy or Unavailable in place of the driver's errors."""
        try:
            yield
        except DBAPIError as error:
            database_fault = translate_fault(error, self.engine.url)
            if database_fault is None:
                raise
            raise database_fault from error

    def _open_writer(self, wait_s: float) -> Session:
        if self.engine.dialect.name == "sqlite":
            return self._open_sqlite_writer(time.monotonic() + wait_s)
        session = self._write_sessions()
        # Zero would mean no limit.
        timeout_statement = text(f"SET LOCAL lock_timeout = {max(1, round(wait_s * 1000))}")
        try:
            session.execute(timeout_statement)
        except BaseException:
            session.close()
            raise
        return session

    def _open_sqlite_writer(self, deadline: float) -> Session:
        while True:
            session = self._write_sessions()
            try:
                session.connection()
                return session
            except BaseException as error:
                session.close()
                deadline_passed = time.monotonic() >= deadline
                if deadline_passed or not isinstance(error, DBAPIError) or not is_busy(error):
                    raise


def _create_engine(database_url: str) -> Engine:
    try:
        parsed_url = make_url(database_url)
        is_sqlite = parsed_url.get_backend_name() == "sqlite"
        if is_sqlite and parsed_url.database and parsed_url.database != ":memory:":
            Path(parsed_url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A server drops connections that idle; a file does not.
        engine = create_engine(parsed_url, pool_pre_ping=not is_sqlite, connect_args=_connect_arguments(parsed_url))
    except (ArgumentError, NoSuchModuleError) as error:
        raise UserError(
            "ZHUFU_DATABASE_URL is not a database URL; use sqlite:///path or postgresql+psycopg://…",
            "ZHUFU_DATABASE_URL 不是有效的数据库地址，请写成 sqlite:///路径 或 postgresql+psycopg://…",
        ) from error
    except ModuleNotFoundError as error:
        raise UserError(
            f"ZHUFU_DATABASE_URL needs {error.name}, but {error.name} is not installed; install it, or use "
            "postgresql+psycopg://…",
            f"ZHUFU_DATABASE_URL 需要 {error.name}，但没有安装；请安装，或改用 postgresql+psycopg://…",
        ) from error
    except OSError as error:
        raise UserError(
            f"The database folder cannot be created ({error.strerror}: {error.filename}); set ZHUFU_HOME.",
            f"无法创建数据库文件夹（{error.filename}），请用 ZHUFU_HOME 指定可写的位置。",
        ) from error
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_arguments(database_url: URL) -> dict[str, Any]:
    """A server that does not answer is given up soon, unless the URL says when."""
    if database_url.get_backend_name() != "postgresql" or "connect_timeout" in database_url.query:
        return {}
    return {"connect_timeout": _CONNECT_S} if database_url.get_driver_name() in ("psycopg", "psycopg2") else {}


def _prepare_sqlite(dbapi_connection: sqlite3.Connection, _record: Any) -> None:
    # The driver would otherwise begin transactions by itself, late and deferred; see `_begin_sqlite`. FULL and not
    # NORMAL: an answer that was confirmed must outlive a power cut, which NORMAL does not promise in WAL mode.
    dbapi_connection.isolation_level = None
    # WAL: readers do not wait for the writer, and an insert with its commit takes .3 ms where a rollback
    # journal takes 16.
    timeout_pragma = f"busy_timeout={_READ_WAIT_MS}"
    for pragma in (timeout_pragma, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        dbapi_connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get(_WRITES_OPTION, False):
        connection.exec_driver_sql("BEGIN")
        return
    # A deferred transaction that turns into a writer can fail at once with SQLITE_BUSY, whatever the
    # timeout, because its snapshot is stale; taking the lock at the start makes it wait instead.
    raw_connection: Any = connection.connection.driver_connection  # a tenth of the time that SQLAlchemy takes
    raw_connection.execute(f"PRAGMA busy_timeout={_WAIT_SLICE_MS}").close()
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        raw_connection.execute(f"PRAGMA busy_timeout={_READ_WAIT_MS}").close()
