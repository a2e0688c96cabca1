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

from backend.core.errors import Conflict
from backend.core.processes import ProcessIdentity, identify_process
from backend.corpus.store import apply_change
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.publication import IMPORTED_TABLES, read_with_unpublished, write_with_unpublished
from backend.db.tables import Import, ImportChange

# Between two transactions the lock is free at least so long; whoever waits for it looks often enough.
PAUSE_S = 0.003
PATIENCE_S = 900.0
BEAT_S = 5.0
# After so long a silence an import on another machine counts as dead.
# Twelve beats missed; a process on this machine is asked for directly instead.
STALE_S = 60.0
_DELETE_BATCH = 2_000
# Between two looks at whether it is this import's turn.
POLL_S = 0.2
# Number of the advisory lock under which PostgreSQL lets one import at a time begin.
_IMPORT_LOCK = 0x5A46_0002

_logger = logging.getLogger(__name__)
# Imports that run in this process.
_running_ids: set[int] = set()
_running_lock = threading.Lock()


class UnpublishedImport:
    """An import that has begun; `open_write` opens each of its transactions."""

    def __init__(self, database: Database, import_id: int) -> None:
        self._database, self.import_id = database, import_id
        self._last_heartbeat = time.monotonic()
        self._last_release = 0.0

    @contextmanager
    def open_write(self) -> Iterator[Session]:
        """One short transaction; before it others have had their turn."""
        # Looking up and preparing rows since the last one often took long enough already.
        time.sleep(max(0.0, self._last_release + PAUSE_S - time.monotonic()))
        with write_with_unpublished(self._database) as session:
            yield session
            if time.monotonic() - self._last_heartbeat > BEAT_S:
                session.execute(update(Import).where(Import.id == self.import_id).values(beat_at=utc_now()))
                self._last_heartbeat = time.monotonic()
        self._last_release = time.monotonic()

    def publish(self) -> None:
        """Show every row at once, then make the changes in rows that stood before."""
        with write_with_unpublished(self._database) as session:
            session.execute(update(Import).where(Import.id == self.import_id).values(finished_at=utc_now()))
        make_noted_changes(self._database)

    def withdraw(self) -> int:
        """Remove every row; how many there were."""
        return _remove(self._database, self.import_id)


@contextmanager
def begin_import(
    database: Database, dataset_name: str, report_waiting: Callable[[], None]
) -> Iterator[UnpublishedImport]:
    """The turn of a large import into `dataset_name`; what is not published when the block ends is removed.

    `report_waiting` is called now and then while another import has its turn. Raises Conflict where that takes long.
    """
    import_id = _register_import(database, dataset_name, report_waiting)
    running = UnpublishedImport(database, import_id)
    try:
        yield running
    # KeyboardInterrupt and a cancelled job as well: rows that nobody sees should not wait for the next start.
    except BaseException:
        running.withdraw()
        raise
    finally:
        with _running_lock:
            _running_ids.discard(import_id)


def _register_import(database: Database, dataset_name: str, report_waiting: Callable[[], None]) -> int:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        remove_abandoned(database)
        with write_with_unpublished(database) as session:
            lock_import_start(session)
            # Asked and answered in one transaction, or two imports could both find that none is under way.
            if session.scalar(select(Import.id).where(Import.finished_at.is_(None)).limit(1)) is None:
                own_identity = _own_identity()
                row = Import(
                    dataset=dataset_name,
                    host=socket.gethostname(),
                    pid=own_identity.pid,
                    process_start=own_identity.start_time,
                )
                session.add(row)
                session.flush()
                with _running_lock:
                    _running_ids.add(row.id)
                return row.id
        report_waiting()
        time.sleep(POLL_S)
    raise Conflict(
        "Another import has been under way for a long time; try again when it has ended.",
        "另一份数据一直在导入，请等它结束后再试。",
    )


def lock_import_start(session: Session) -> None:
    """Let one transaction at a time decide which import may begin; on SQLite that is so by itself."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_IMPORT_LOCK)))


def _own_identity() -> ProcessIdentity:
    own_identity = identify_process(os.getpid())
    assert own_identity is not None
    return own_identity


def remove_abandoned(database: Database) -> int:
    """Remove the rows of imports whose process died, and end what others noted; how many rows there were."""
    with read_with_unpublished(database) as session:
        rows = session.scalars(select(Import).where(Import.finished_at.is_(None))).all()
    removed_count = sum(_remove(database, row.id) for row in rows if not _is_alive(row))
    if removed_count:
        _logger.warning("removed %s rows of an import that was cut off", f"{removed_count:,}")
    make_noted_changes(database)
    return removed_count


def _is_alive(row: Import) -> bool:
    if row.host != socket.gethostname():
        return utc_now() - row.beat_at < timedelta(seconds=STALE_S)
    recorded_identity = ProcessIdentity(row.pid, row.process_start)
    with _running_lock:
        # That the process lives says nothing of its own imports: a thread of it may have failed to withdraw.
        return row.id in _running_ids if recorded_identity == _own_identity() else recorded_identity.is_alive


def _remove(database: Database, import_id: int) -> int:
    removed_count = 0
    # IMPORTED_TABLES has children before their parents.
    for table_class in IMPORTED_TABLES:
        while row_ids := _next_row_ids(database, table_class, import_id):
            removed_count += _delete_rows(database, table_class, import_id, row_ids)
            time.sleep(PAUSE_S)
    with write_with_unpublished(database) as session:
        session.execute(delete(ImportChange).where(ImportChange.import_id == import_id))
        session.execute(delete(Import).where(Import.id == import_id, Import.finished_at.is_(None)))
    return removed_count


def _next_row_ids(database: Database, table_class: Any, import_id: int) -> Sequence[int]:
    """Some ids of the import's rows: among the newest, where a search downwards finds them at once."""
    query = select(table_class.id).where(table_class.import_id == import_id).order_by(table_class.id.desc())
    with read_with_unpublished(database) as session:
        return session.scalars(query.limit(_DELETE_BATCH)).all()


def _delete_rows(database: Database, table_class: Any, import_id: int, row_ids: Sequence[int]) -> int:
    # The import's id once more: somebody may have begun to use a text since, which shows it for good.
    statement = delete(table_class.__table__).where(table_class.id.in_(row_ids), table_class.import_id == import_id)
    writing_engine = database.engine.execution_options(zhufu_writes=True)
    with writing_engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            return _delete_unchecked(connection, statement)
        deleted_count = connection.execute(statement).rowcount
        connection.commit()
        return deleted_count


def _delete_unchecked(connection: Connection, statement: Any) -> int:
    """Delete without looking for what refers to each row, which SQLite does by reading whole tables.

    Nothing does: what an unfinished import brought is in no query, and used texts are its own no longer.
    """
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        deleted_count = connection.execute(statement).rowcount
        connection.commit()
        return deleted_count
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
        with read_with_unpublished(database) as session:
            if session.scalar(query) is None:
                return
        with write_with_unpublished(database) as session:
            if (change := session.scalar(query)) is not None:
                apply_change(session, change)
                # In one transaction with the change itself, so that a kill in between neither loses nor repeats
                # it.
                session.delete(change)
        time.sleep(PAUSE_S)
