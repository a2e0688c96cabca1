"""What a database or its disk complains of, as one sentence that names the place and the remedy."""

import sqlite3

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from backend.errors import Busy, Unavailable

_BUSY_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_UNOPENABLE_CODES = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_DAMAGED_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY_STATES = {"55P03", "40P01", "40001"}
"""PostgreSQL: lock not available, deadlock, serialization failure."""
_FULL_STATE = "53100"
_UNREACHABLE_STATES = ("08", "28", "3D", "53", "57P", "58")
"""PostgreSQL: connection, authorization, no such database, resources, shut down, its own system."""


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
