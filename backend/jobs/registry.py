"""Which workers live: one row each, conditional changes only."""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from backend.db.base import now
from backend.db.job_tables import WorkerProcess
from backend.errors import Conflict
from backend.jobs.processes import Identity, identify
from backend.jobs.queue import Owner

FORGET = timedelta(days=1)


def myself() -> Identity:
    """This process."""
    found = identify(os.getpid())
    assert found is not None
    return found


def register(
    session: Session, owner: Owner, home: Path, devices: Sequence[str], parent: Identity | None
) -> None:
    """Write this process down as a worker. Raises Conflict where the name belongs to a living one."""
    me = myself()
    for row in session.scalars(select(WorkerProcess).with_for_update()).all():
        living = identity_of(row).alive if row.host == owner.host else row.heartbeat_at > now() - FORGET
        if row.name == owner.name and living and identity_of(row) != me:
            raise Conflict(
                f"A worker named “{owner.name}” is already running; choose another name.",
                f"名为“{owner.name}”的工作进程已在运行，请换一个名字。",
            )
        if row.name == owner.name or not living:
            session.delete(row)
    session.flush()
    session.add(
        WorkerProcess(
            name=owner.name,
            host=owner.host,
            home=str(home),
            pid=me.pid,
            process_start=me.start,
            devices=list(devices),
            parent_pid=parent and parent.pid,
            parent_start=parent and parent.start,
        )
    )


def identity_of(row: WorkerProcess) -> Identity:
    """The worker's process."""
    return Identity(row.pid, row.process_start)


def parent_of(row: WorkerProcess) -> Identity | None:
    """The application that keeps the worker."""
    if row.parent_pid is None or row.parent_start is None:
        return None
    return Identity(row.parent_pid, row.parent_start)


def find_worker(session: Session, owner: Owner) -> WorkerProcess | None:
    """The worker's row."""
    return session.scalars(select(WorkerProcess).where(WorkerProcess.name == owner.name)).one_or_none()


def living_workers(session: Session, host: str, home: Path) -> list[WorkerProcess]:
    """Workers of this home whose process runs on this host."""
    rows = session.scalars(
        select(WorkerProcess).where(WorkerProcess.host == host, WorkerProcess.home == str(home))
    )
    return [row for row in rows if identity_of(row).alive]


def leave(session: Session, owner: Owner, parent: Identity | None) -> bool:
    """Remove the worker's row; False where another application has become its keeper meanwhile."""
    pid = parent.pid if parent else None
    start = parent.start if parent else None
    statement = delete(WorkerProcess).where(
        WorkerProcess.name == owner.name,
        WorkerProcess.parent_pid == pid,
        WorkerProcess.parent_start == start,
    )
    return _one(session, statement)


def remove(session: Session, owner: Owner) -> None:
    """Remove this process's row."""
    me = myself()
    session.execute(
        delete(WorkerProcess).where(
            WorkerProcess.name == owner.name,
            WorkerProcess.pid == me.pid,
            WorkerProcess.process_start == me.start,
        )
    )


def keep(session: Session, row: WorkerProcess, parent: Identity) -> bool:
    """Become the keeper of a living worker whose application is gone; False where it has left."""
    statement = update(WorkerProcess).where(
        WorkerProcess.id == row.id, WorkerProcess.parent_pid == row.parent_pid
    )
    return _one(session, statement.values(parent_pid=parent.pid, parent_start=parent.start))


def _one(session: Session, statement: Any) -> bool:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount == 1
