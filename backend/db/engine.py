"""Engine and transactions: short, and a writer knows from its first statement that it writes."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from backend.errors import UserError

_WRITES = "zhufu_writes"


class Database:
    """One engine, two kinds of transaction: `read()` and `write()`."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._session = sessionmaker(self.engine, expire_on_commit=False)
        writer = self.engine.execution_options(**{_WRITES: True})
        self._writing = sessionmaker(writer, expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one moment and never writes."""
        with self._session() as session, session.begin():
            yield session
            if session.new or session.dirty or session.deleted:
                raise AssertionError("a read transaction must not write")

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits when the block ends, and takes SQLite's write lock at its start."""
        with self._writing() as session, session.begin():
            yield session

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
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
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("busy_timeout=15000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns into a writer can fail at once with SQLITE_BUSY, whatever the
    # timeout, because its snapshot is stale; taking the lock at the start makes it wait instead.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def unreachable(error: OperationalError) -> UserError:
    """One sentence for a database that does not answer."""
    cause = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
    return UserError(
        f"The database does not answer ({cause}); check ZHUFU_DATABASE_URL and the disk.",
        f"数据库没有响应（{cause}），请检查 ZHUFU_DATABASE_URL 和磁盘。",
    )
