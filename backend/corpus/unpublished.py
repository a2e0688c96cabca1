"""A large import from first chunk to end: stored in short transactions, seen all at once or not at all.

One such import at a time; the next one waits. Whoever dies on the way leaves rows that nobody sees, and the
next start or import removes them.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.orm import Session

from backend.corpus.changes import make
from backend.db.base import now
from backend.db.engine import Database
from backend.db.import_tables import Import, ImportChange
from backend.db.publication import IMPORTED, reading_all, writing_all
from backend.errors import Conflict
from backend.jobs.processes import Identity, identify

PAUSE_S = 0.003
"""Between two transactions the lock is free at least so long; whoever waits for it looks often enough."""
PATIENCE_S = 900.0
BEAT_S = 5.0
STALE_S = 60.0
"""After so long a silence an import on another machine counts as dead."""
_REMOVED_AT_ONCE = 2_000
_POLL_S = 0.2
_TURN = 0x5A46_0002
"""Number of the advisory lock under which PostgreSQL lets one import at a time begin."""

_log = logging.getLogger(__name__)
_mine: set[int] = set()
"""Imports that run in this process."""
_mine_lock = threading.Lock()


class Unpublished:
    """An import that has begun. `writing` opens its transactions."""

    def __init__(self, database: Database, import_id: int) -> None:
        self._database, self.id = database, import_id
        self._beat = time.monotonic()
        self._released = 0.0

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One short transaction; before it others have had their turn."""
        # Looking up and preparing rows since the last one often took long enough already.
        time.sleep(max(0.0, self._released + PAUSE_S - time.monotonic()))
        with writing_all(self._database) as session:
            yield session
            if time.monotonic() - self._beat > BEAT_S:
                session.execute(update(Import).where(Import.id == self.id).values(beat_at=now()))
                self._beat = time.monotonic()
        self._released = time.monotonic()

    def publish(self) -> None:
        """Show every row at once, then make the changes in rows that stood before."""
        with writing_all(self._database) as session:
            session.execute(update(Import).where(Import.id == self.id).values(finished_at=now()))
        make_noted_changes(self._database)

    def withdraw(self) -> int:
        """Remove every row; how many there were."""
        return _remove(self._database, self.id)


@contextmanager
def begun(database: Database, dataset: str, waiting: Callable[[], None]) -> Iterator[Unpublished]:
    """The turn of a large import into `dataset`; what is not published when the block ends is removed.

    `waiting` is called now and then while another import has its turn. Raises Conflict where that takes long.
    """
    import_id = _begin(database, dataset, waiting)
    running = Unpublished(database, import_id)
    try:
        yield running
    except BaseException:
        running.withdraw()
        raise
    finally:
        with _mine_lock:
            _mine.discard(import_id)


def _begin(database: Database, dataset: str, waiting: Callable[[], None]) -> int:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        remove_left_over(database)
        with writing_all(database) as session:
            take_turn(session)
            if session.scalar(select(Import.id).where(Import.finished_at.is_(None)).limit(1)) is None:
                me = _myself()
                row = Import(dataset=dataset, host=socket.gethostname(), pid=me.pid, process_start=me.start)
                session.add(row)
                session.flush()
                with _mine_lock:
                    _mine.add(row.id)
                return row.id
        waiting()
        time.sleep(_POLL_S)
    raise Conflict(
        "Another import has been under way for a long time; try again when it has ended.",
        "另一份数据一直在导入，请等它结束后再试。",
    )


def take_turn(session: Session) -> None:
    """Let one transaction at a time decide which import may begin; on SQLite that is so by itself."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_TURN)))


def _myself() -> Identity:
    me = identify(os.getpid())
    assert me is not None
    return me


def remove_left_over(database: Database) -> int:
    """Remove the rows of imports whose process died, and end what others noted; how many rows there were."""
    with reading_all(database) as session:
        rows = session.scalars(select(Import).where(Import.finished_at.is_(None))).all()
    removed = sum(_remove(database, row.id) for row in rows if not _alive(row))
    if removed:
        _log.warning("removed %s rows of an import that was cut off", f"{removed:,}")
    make_noted_changes(database)
    return removed


def _alive(row: Import) -> bool:
    if row.host != socket.gethostname():
        return now() - row.beat_at < timedelta(seconds=STALE_S)
    there = Identity(row.pid, row.process_start)
    with _mine_lock:
        return row.id in _mine if there == _myself() else there.alive


def _remove(database: Database, import_id: int) -> int:
    removed = 0
    for table in IMPORTED:
        while ids := _some(database, table, import_id):
            removed += _delete(database, table, import_id, ids)
            time.sleep(PAUSE_S)
    with writing_all(database) as session:
        session.execute(delete(ImportChange).where(ImportChange.import_id == import_id))
        session.execute(delete(Import).where(Import.id == import_id, Import.finished_at.is_(None)))
    return removed


def _some(database: Database, table: Any, import_id: int) -> Sequence[int]:
    """Some ids of the import's rows: among the newest, where a search downwards finds them at once."""
    query = select(table.id).where(table.import_id == import_id).order_by(table.id.desc())
    with reading_all(database) as session:
        return session.scalars(query.limit(_REMOVED_AT_ONCE)).all()


def _delete(database: Database, table: Any, import_id: int, ids: Sequence[int]) -> int:
    # The import's id once more: somebody may have begun to use a text since, which shows it for good.
    statement = delete(table.__table__).where(table.id.in_(ids), table.import_id == import_id)
    writer = database.engine.execution_options(zhufu_writes=True)
    with writer.connect() as connection:
        if connection.dialect.name == "sqlite":
            return _delete_unchecked(connection, statement)
        count = connection.execute(statement).rowcount
        connection.commit()
        return count


def _delete_unchecked(connection: Connection, statement: Any) -> int:
    """Delete without looking for what refers to each row, which SQLite does by reading whole tables.

    Nothing does: what an unfinished import brought is in no query, and used texts are its own no longer.
    """
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        count = connection.execute(statement).rowcount
        connection.commit()
        return count
    finally:
        connection.invalidate()  # the next one begins with the usual settings


def make_noted_changes(database: Database) -> None:
    """Make what finished imports noted, a chunk at a time; whoever was cut off here is continued."""
    query = (
        select(ImportChange)
        .join(Import, Import.id == ImportChange.import_id)
        .where(Import.finished_at.is_not(None))
        .order_by(ImportChange.id)
        .limit(1)
    )
    while True:
        with reading_all(database) as session:
            if session.scalar(query) is None:
                return
        with writing_all(database) as session:
            if (change := session.scalar(query)) is not None:
                make(session, change)
                session.delete(change)
        time.sleep(PAUSE_S)
