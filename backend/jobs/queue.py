"""Every change of a job's status: conditional updates, so that of two who try only one succeeds."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, exists, select, update
from sqlalchemy.orm import Session, aliased

from backend.db.base import now
from backend.db.job_tables import Job, JobEvent, WorkerProcess
from backend.errors import Message
from backend.jobs.processes import Identity
from backend.jobs.vocabulary import ACTIVE, RESUMABLE, EventKind, JobStatus

LOOK_AHEAD = 50


@dataclass(frozen=True)
class Owner:
    """The worker that acts."""

    name: str
    host: str


@dataclass(frozen=True)
class Held:
    """A job that a worker holds; a higher attempt or another worker in the row ends the holding."""

    job_id: int
    kind: str
    attempt: int
    devices: tuple[str, ...]
    folder: Path | None
    process: Identity | None


@dataclass(frozen=True)
class Standing:
    """What the row says of a job that a worker believes to hold."""

    status: JobStatus
    attempt: int
    worker: str | None
    host: str | None


def move(
    session: Session,
    job_id: int,
    allowed: Collection[JobStatus],
    to: JobStatus,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> bool:
    """Change the status if it is still one of `allowed`; whether this caller was the one who did."""
    change = update(Job).where(Job.id == job_id, Job.status.in_(allowed), *conditions)
    if not _changed(session, change.values(status=to, **values)):
        return False
    row = session.execute(select(Job.attempt, Job.worker, Job.error_en).where(Job.id == job_id)).one()
    data = {"status": to.value, "attempt": row.attempt, "worker": row.worker, "error": row.error_en}
    session.add(JobEvent(job_id=job_id, kind=EventKind.STATE, data=data))
    return True


def claim(session: Session, owner: Owner, devices: Sequence[str], *, light: bool) -> Held | None:
    """Take the best queued job that fits the devices nobody on this host uses; None where none does.

    `light` says whether a job without slots may be taken too.
    """
    # Two workers of one host must not give the same device away; SQLite's write lock does the same.
    session.execute(
        select(WorkerProcess.id)
        .where(WorkerProcess.host == owner.host)
        .order_by(WorkerProcess.id)
        .with_for_update()
    )
    used = set(_devices_in_use(session, owner.host))
    free = [device for device in devices if device not in used]
    query = select(Job).where(Job.status == JobStatus.QUEUED, Job.slots <= len(free), _ready())
    if not light:
        query = query.where(Job.slots > 0)
    for job in session.scalars(query.order_by(Job.priority.desc(), Job.id).limit(LOOK_AHEAD)):
        if _reachable(job) and _take(session, job, owner, free[: job.slots]):
            return _held(job, job.attempt + 1, free[: job.slots], None)
    return None


def anything_queued(session: Session) -> bool:
    """Whether a queued job may start, or never will."""
    query = select(Job.id).where(Job.status == JobStatus.QUEUED, _ready() | _stranded())
    return session.scalar(query.limit(1)) is not None


def end_stranded(session: Session) -> list[int]:
    """Queued jobs whose `after` stopped early fail with a sentence; `resume` queues them again."""
    ended: list[int] = []
    # Ascending, so that what builds on a job that has just ended is found in the same pass.
    waiting = select(Job.id, Job.after_id).where(Job.status == JobStatus.QUEUED, Job.after_id.is_not(None))
    for job_id, after in session.execute(waiting.order_by(Job.id)).all():
        told = {
            "error_en": f"Job {after}, which this one builds on, did not finish; resume it, then this one.",
            "error_zh": f"它所依赖的任务 {after} 没有完成；请先继续那个任务，再继续本任务。",
            "finished_at": now(),
        }
        if move(session, job_id, [JobStatus.QUEUED], JobStatus.FAILED, _stranded(), **told):
            ended.append(job_id)
    return ended


def _ready() -> ColumnElement[bool]:
    """Nothing to wait for, or it has succeeded."""
    return Job.after_id.is_(None) | _after(JobStatus.SUCCEEDED)


def _stranded() -> ColumnElement[bool]:
    return _after(*(status for status in RESUMABLE if status is not JobStatus.PAUSED))


def _after(*statuses: JobStatus) -> ColumnElement[bool]:
    other = aliased(Job)
    return exists().where(other.id == Job.after_id, other.status.in_(statuses))


def _held(job: Job, attempt: int, devices: Sequence[str], process: Identity | None) -> Held:
    folder = Path(job.log_path).parent if job.log_path else None
    return Held(job.id, job.kind, attempt, tuple(devices), folder, process)


def _devices_in_use(session: Session, host: str) -> list[str]:
    rows = session.scalars(select(Job.devices).where(Job.host == host, Job.status.in_(ACTIVE)))
    return [device for devices in rows for device in devices]


def _reachable(job: Job) -> bool:
    """A job that continues needs the folder of its run, which may lie on another machine."""
    return job.log_path is None or Path(job.log_path).parent.is_dir()


def _take(session: Session, job: Job, owner: Owner, devices: list[str]) -> bool:
    return move(
        session,
        job.id,
        [JobStatus.QUEUED],
        JobStatus.RUNNING,
        attempt=job.attempt + 1,
        worker=owner.name,
        host=owner.host,
        devices=devices,
        pid=None,
        process_start=None,
        heartbeat_at=now(),
        started_at=now(),
        finished_at=None,
        error_en=None,
        error_zh=None,
    )


def record_start(session: Session, owner: Owner, held: Held, process: Identity | None, log: Path) -> bool:
    """Write down the process before its program runs; False where there is none or it is not wanted."""
    if process is None:
        return False
    change = update(Job).where(*_ours(owner, held), Job.status.in_(ACTIVE))
    return _changed(session, change.values(pid=process.pid, process_start=process.start, log_path=str(log)))


def beat(session: Session, owner: Owner, job_ids: Collection[int]) -> bool:
    """A sign of life of the worker and its jobs; False where the worker's row is gone."""
    moment = now()
    mine = update(Job).where(Job.id.in_(job_ids), Job.worker == owner.name, Job.status.in_(ACTIVE))
    session.execute(mine.values(heartbeat_at=moment))
    known = update(WorkerProcess).where(WorkerProcess.name == owner.name)
    return _changed(session, known.values(heartbeat_at=moment))


def standings(session: Session, job_ids: Collection[int]) -> dict[int, Standing]:
    """What the rows say now."""
    rows = session.execute(
        select(Job.id, Job.status, Job.attempt, Job.worker, Job.host).where(Job.id.in_(job_ids))
    )
    return {row.id: Standing(row.status, row.attempt, row.worker, row.host) for row in rows}


def orphans(session: Session, owner: Owner, mine: Collection[int], stale: datetime) -> list[Job]:
    """Active jobs of this host whose worker is gone, or has been silent since `stale`."""
    workers = {row.name: row for row in session.scalars(select(WorkerProcess))}
    active = session.scalars(
        select(Job).where(Job.host == owner.host, Job.status.in_(ACTIVE), Job.id.not_in(mine))
    )
    return [job for job in active if _orphaned(job, owner, workers.get(job.worker or ""), stale)]


def _orphaned(job: Job, owner: Owner, worker: WorkerProcess | None, stale: datetime) -> bool:
    if worker is None or job.worker == owner.name:
        return True
    silent = job.heartbeat_at is None or job.heartbeat_at < stale
    return silent or not Identity(worker.pid, worker.process_start).alive


def adopt(session: Session, owner: Owner, job: Job) -> Held | None:
    """Take over a job whose worker is gone, unless another worker was faster."""
    change = update(Job).where(
        Job.id == job.id,
        Job.attempt == job.attempt,
        Job.worker == job.worker,
        Job.status.in_(ACTIVE),
        Job.heartbeat_at == job.heartbeat_at,
    )
    if not _changed(session, change.values(worker=owner.name, heartbeat_at=now())):
        return None
    process = Identity(job.pid, job.process_start) if job.pid and job.process_start else None
    return _held(job, job.attempt, job.devices, process)


def finish(
    session: Session,
    owner: Owner,
    held: Held,
    verdict: Callable[[JobStatus], tuple[JobStatus, Message | None]],
) -> bool:
    """The last word on an attempt; False where the job is no longer ours.

    `verdict` makes it from the status as it is now. An error that the program has told itself is kept.
    """
    ours = _ours(owner, held)
    query = select(Job.status, Job.error_en).where(*ours, Job.status.in_(ACTIVE))
    row = session.execute(query.with_for_update()).one_or_none()
    if row is None:
        return False
    to, error = verdict(row.status)
    values: dict[str, Any] = {"finished_at": None if to is JobStatus.QUEUED else now()}
    if to is not JobStatus.FAILED:
        values |= {"error_en": error and error.en, "error_zh": error and error.zh}
    elif error is not None and row.error_en is None:
        values |= {"error_en": error.en, "error_zh": error.zh}
    if to is JobStatus.SUCCEEDED:
        values |= {"progress": 1.0}
    return move(session, held.job_id, [row.status], to, *ours, **values)


def silent(session: Session, owner: Owner, before: datetime) -> list[Job]:
    """Active jobs of other machines that nobody has heard of since `before`."""
    query = select(Job).where(Job.host != owner.host, Job.status.in_(ACTIVE), Job.heartbeat_at < before)
    return list(session.scalars(query))


def lose(session: Session, job: Job) -> bool:
    """Give a silent job up, unless it has been heard of since."""
    return move(
        session,
        job.id,
        ACTIVE,
        JobStatus.LOST,
        Job.heartbeat_at == job.heartbeat_at,
        error_en=f"The machine “{job.host}” that ran this job has gone silent; resume it to go on here.",
        error_zh=f"运行此任务的机器“{job.host}”失去联系，可点“继续”在本机接着运行。",
        finished_at=now(),
    )


def _ours(owner: Owner, held: Held) -> tuple[ColumnElement[bool], ...]:
    return (Job.id == held.job_id, Job.attempt == held.attempt, Job.worker == owner.name)


def _changed(session: Session, statement: Any) -> bool:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount == 1
