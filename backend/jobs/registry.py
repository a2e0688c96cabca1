"""Which workers live: one row each, conditional changes only."""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from backend.db.base import utc_now
from backend.db.job_tables import WorkerProcess
from backend.errors import Conflict
from backend.jobs.processes import ProcessIdentity, identify_process
from backend.jobs.queue import WorkerIdentity

FORGET_AFTER = timedelta(days=1)


def current_process() -> ProcessIdentity:
    """This process."""
    own_identity = identify_process(os.getpid())
    assert own_identity is not None
    return own_identity


def register_worker(
    session: Session,
    worker_identity: WorkerIdentity,
    home_folder: Path,
    devices: Sequence[str],
    parent_process: ProcessIdentity | None,
) -> None:
    """Write this process down as a worker. Raises Conflict where the name belongs to a living one."""
    this_process = current_process()
    for worker_row in session.scalars(select(WorkerProcess).with_for_update()).all():
        is_living = (
            process_identity(worker_row).is_alive
            if worker_row.host == worker_identity.host
            else worker_row.heartbeat_at > utc_now() - FORGET_AFTER
        )
        if worker_row.name == worker_identity.name and is_living and process_identity(worker_row) != this_process:
            raise Conflict(
                f"A worker named “{worker_identity.name}” is already running; choose another name.",
                f"名为“{worker_identity.name}”的工作进程已在运行，请换一个名字。",
            )
        if worker_row.name == worker_identity.name or not is_living:
            session.delete(worker_row)
    session.flush()
    session.add(
        WorkerProcess(
            name=worker_identity.name,
            host=worker_identity.host,
            home=str(home_folder),
            pid=this_process.pid,
            process_start=this_process.start_time,
            devices=list(devices),
            parent_pid=parent_process and parent_process.pid,
            parent_start=parent_process and parent_process.start_time,
        )
    )


def process_identity(worker_row: WorkerProcess) -> ProcessIdentity:
    """The worker's process."""
    return ProcessIdentity(worker_row.pid, worker_row.process_start)


def parent_identity(worker_row: WorkerProcess) -> ProcessIdentity | None:
    """The application that keeps the worker."""
    if worker_row.parent_pid is None or worker_row.parent_start is None:
        return None
    return ProcessIdentity(worker_row.parent_pid, worker_row.parent_start)


def find_worker(session: Session, worker_identity: WorkerIdentity) -> WorkerProcess | None:
    """The worker's row."""
    return session.scalars(select(WorkerProcess).where(WorkerProcess.name == worker_identity.name)).one_or_none()


def find_living_workers(session: Session, host: str, home_folder: Path) -> list[WorkerProcess]:
    """Workers of this home whose process runs on this host."""
    worker_rows = session.scalars(
        select(WorkerProcess).where(WorkerProcess.host == host, WorkerProcess.home == str(home_folder))
    )
    return [worker_row for worker_row in worker_rows if process_identity(worker_row).is_alive]


def leave_registry(session: Session, worker_identity: WorkerIdentity, parent_process: ProcessIdentity | None) -> bool:
    """Remove the worker's row; False where another application has become its keeper meanwhile."""
    parent_pid = parent_process.pid if parent_process else None
    parent_start = parent_process.start_time if parent_process else None
    statement = delete(WorkerProcess).where(
        WorkerProcess.name == worker_identity.name,
        WorkerProcess.parent_pid == parent_pid,
        WorkerProcess.parent_start == parent_start,
    )
    return _changed_one_row(session, statement)


def remove_worker(session: Session, worker_identity: WorkerIdentity) -> None:
    """Remove this process's row."""
    this_process = current_process()
    session.execute(
        delete(WorkerProcess).where(
            WorkerProcess.name == worker_identity.name,
            WorkerProcess.pid == this_process.pid,
            WorkerProcess.process_start == this_process.start_time,
        )
    )


def become_keeper(session: Session, worker_row: WorkerProcess, parent_process: ProcessIdentity) -> bool:
    """Become the keeper of a living worker whose application is gone; False where it has left."""
    statement = update(WorkerProcess).where(
        WorkerProcess.id == worker_row.id, WorkerProcess.parent_pid == worker_row.parent_pid
    )
    return _changed_one_row(
        session, statement.values(parent_pid=parent_process.pid, parent_start=parent_process.start_time)
    )


def _changed_one_row(session: Session, statement: Any) -> bool:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount == 1
