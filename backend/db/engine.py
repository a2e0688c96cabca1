"""Engine and transactions: short, and a writer knows from its first statement that it writes."""

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

from backend.db.faults import fault_of, is_busy
from backend.db.publication import hide_unpublished
from backend.errors import UserError

WAIT_S = 15.0
"""How long a write waits for another writer, unless it says otherwise."""
VOTE_WAIT_S = 2.0
"""How long a person's answer waits before the page is told to come again."""
RUN_WAIT_S = 600.0
"""How long a job or a long run waits: it would rather be late than lost."""

_WRITES = "zhufu_writes"
_SLICE_MS = 250
"""One wait inside SQLite; between two of them signals are heard."""
_READ_WAIT_MS = 15_000
_CONNECT_S = 10


class Database:
    """One engine, two kinds of transaction: `read()` and `write()`.

    Both raise Busy where another program held the database for too long, and Unavailable where the disk,
    the file or the server is at fault; nothing of the transaction is saved then.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.wait_s = WAIT_S
        self._session = sessionmaker(self.engine, expire_on_commit=False)
        writer = self.engine.execution_options(**{_WRITES: True})
        self._writing = sessionmaker(writer, expire_on_commit=False)
        for sessions in (self._session, self._writing):
            hide_unpublished(sessions)

    def be_patient(self) -> None:
        """Let every write wait as long as a background run may."""
        self.wait_s = RUN_WAIT_S

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one moment and never writes."""
        with self.faults_as_sentences(), self._session() as session, session.begin():
            yield session
            if session.new or session.dirty or session.deleted:
                raise AssertionError("a read transaction must not write")

    @contextmanager
    def write(self, wait_s: float | None = None) -> Iterator[Session]:
        """A transaction that commits when the block ends, and takes SQLite's write lock at its start.

        `wait_s` is how long it waits for another writer, by default `self.wait_s`. The block itself runs
        once at most: all waiting for SQLite's lock is over before it begins.
        """
        wait_s = self.wait_s if wait_s is None else wait_s
        with self.faults_as_sentences(), self._writer(wait_s) as session:
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
            fault = fault_of(error, self.engine.url)
            if fault is None:
                raise
            raise fault from error

    def _writer(self, wait_s: float) -> Session:
        if self.engine.dialect.name == "sqlite":
            return self._sqlite_writer(time.monotonic() + wait_s)
        session = self._writing()
        # Zero would mean no limit.
        limit = text(f"SET LOCAL lock_timeout = {max(1, round(wait_s * 1000))}")
        try:
            session.execute(limit)
        except BaseException:
            session.close()
            raise
        return session

    def _sqlite_writer(self, until: float) -> Session:
        while True:
            session = self._writing()
            try:
                session.connection()
                return session
            except BaseException as error:
                session.close()
                late = time.monotonic() >= until
                if late or not isinstance(error, DBAPIError) or not is_busy(error):
                    raise


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = create_engine(parsed, pool_pre_ping=not sqlite, connect_args=_connect_args(parsed))
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
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_args(url: URL) -> dict[str, Any]:
    """A server that does not answer is given up soon, unless the URL says when."""
    if url.get_backend_name() != "postgresql" or "connect_timeout" in url.query:
        return {}
    return {"connect_timeout": _CONNECT_S} if url.get_driver_name() in ("psycopg", "psycopg2") else {}


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    timeout = f"busy_timeout={_READ_WAIT_MS}"
    for pragma in (timeout, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get(_WRITES, False):
        connection.exec_driver_sql("BEGIN")
        return
    # A deferred transaction that turns into a writer can fail at once with SQLITE_BUSY, whatever the
    # timeout, because its snapshot is stale; taking the lock at the start makes it wait instead.
    raw: Any = connection.connection.driver_connection  # a tenth of the time that SQLAlchemy takes
    raw.execute(f"PRAGMA busy_timeout={_SLICE_MS}").close()
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        raw.execute(f"PRAGMA busy_timeout={_READ_WAIT_MS}").close()
