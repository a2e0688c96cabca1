"""Every change of a job's status: conditional updates, so that of two who try only one succeeds."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, exists, select, update
from sqlalchemy.orm import Session, aliased

from backend.core.enums import ACTIVE_STATUSES, RESUMABLE_STATUSES, EventKind, JobStatus
from backend.core.errors import Message
from backend.core.processes import ProcessIdentity
from backend.db.base import utc_now
from backend.db.job_tables import Job, JobEvent, WorkerProcess
from backend.jobs.outcome import PROGRAM_DISAPPEARED

# Bounds how long the lock is held; jobs of other machines' folders may stand in front.
MAX_CANDIDATES = 50


@dataclass(frozen=True)
class WorkerIdentity:
    """The worker that acts."""

    name: str
    host: str


@dataclass(frozen=True)
class HeldJob:
    """A job that a worker or a command holds; a higher attempt or another worker in the row ends the holding."""

    job_id: int
    job_kind: str
    attempt: int
    devices: tuple[str, ...]
    run_folder: Path | None
    process: ProcessIdentity | None


@dataclass(frozen=True)
class JobRowState:
    """What the row holds of a job that a worker believes to run."""

    status: JobStatus
    attempt: int
    worker: str | None
    host: str | None


def change_status(
    session: Session,
    job_id: int,
    allowed_statuses: Collection[JobStatus],
    new_status: JobStatus,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> bool:
    """Change the status if it is still one of `allowed_statuses`; whether this caller was the one who did.

    `values` are further columns to set, `conditions` further ones that must hold. A state event goes with it, in the
    same transaction, so that the history of a job has no gap.
    """
    job_update = update(Job).where(Job.id == job_id, Job.status.in_(allowed_statuses), *conditions)
    if not _changed_one_row(session, job_update.values(status=new_status, **values)):
        return False
    job_row = session.execute(select(Job.attempt, Job.worker, Job.error_en).where(Job.id == job_id)).one()
    event_data = {
        "status": new_status.value,
        "attempt": job_row.attempt,
        "worker": job_row.worker,
        "error": job_row.error_en,
    }
    session.add(JobEvent(job_id=job_id, kind=EventKind.STATE, data=event_data))
    return True


def claim_job(
    session: Session, worker_identity: WorkerIdentity, devices: Sequence[str], *, allow_light: bool
) -> HeldJob | None:
    """Take the best queued job that fits the devices nobody on this host uses; None where none does.

    `allow_light` is whether a job without slots may be taken too.
    """
    # Two workers of one host must not give the same device away; SQLite's write lock does the same.
    session.execute(
        select(WorkerProcess.id)
        .where(WorkerProcess.host == worker_identity.host)
        .order_by(WorkerProcess.id)
        .with_for_update()
    )
    used_devices = set(_devices_in_use(session, worker_identity.host))
    free_devices = [device for device in devices if device not in used_devices]
    job_query = select(Job).where(Job.status == JobStatus.QUEUED, Job.slots <= len(free_devices), _is_ready())
    if not allow_light:
        job_query = job_query.where(Job.slots > 0)
    for job in session.scalars(job_query.order_by(Job.priority.desc(), Job.id).limit(MAX_CANDIDATES)):
        if _is_reachable(job) and _mark_running(session, job, worker_identity, free_devices[: job.slots]):
            return _build_held_job(job, job.attempt + 1, free_devices[: job.slots], None)
    return None


def has_startable_job(session: Session) -> bool:
    """Whether a queued job may start, or never will."""
    job_query = select(Job.id).where(Job.status == JobStatus.QUEUED, _is_ready() | _is_stranded())
    return session.scalar(job_query.limit(1)) is not None


def fail_stranded_jobs(session: Session) -> list[int]:
    """Queued jobs whose predecessor stopped early fail with a sentence; the numbers of those that did."""
    ended_ids: list[int] = []
    # Ascending, so that what builds on a job that has just ended is found in the same pass.
    waiting_query = select(Job.id, Job.after_id).where(Job.status == JobStatus.QUEUED, Job.after_id.is_not(None))
    for job_id, predecessor_id in session.execute(waiting_query.order_by(Job.id)).all():
        failure_columns = {
            "error_en": f"Job {predecessor_id}, which this one builds on, did not finish; resume it, then this one.",
            "error_zh": f"它所依赖的任务 {predecessor_id} 没有完成；请先继续那个任务，再继续本任务。",
            "finished_at": utc_now(),
        }
        if change_status(session, job_id, [JobStatus.QUEUED], JobStatus.FAILED, _is_stranded(), **failure_columns):
            ended_ids.append(job_id)
    return ended_ids


def _is_ready() -> ColumnElement[bool]:
    """Nothing to wait for, or it has succeeded."""
    return Job.after_id.is_(None) | _predecessor_has_status(JobStatus.SUCCEEDED)


def _is_stranded() -> ColumnElement[bool]:
    return _predecessor_has_status(
        # A paused predecessor is meant to go on, so what waits for it goes on waiting.
        *(job_status for job_status in RESUMABLE_STATUSES if job_status is not JobStatus.PAUSED)
    )


def _predecessor_has_status(*statuses: JobStatus) -> ColumnElement[bool]:
    predecessor = aliased(Job)
    return exists().where(predecessor.id == Job.after_id, predecessor.status.in_(statuses))


def _build_held_job(
    job: Job, attempt_number: int, devices: Sequence[str], process_identity: ProcessIdentity | None
) -> HeldJob:
    run_folder = Path(job.log_path).parent if job.log_path else None
    return HeldJob(job.id, job.kind, attempt_number, tuple(devices), run_folder, process_identity)


def _devices_in_use(session: Session, host: str) -> list[str]:
    device_lists = session.scalars(select(Job.devices).where(Job.host == host, Job.status.in_(ACTIVE_STATUSES)))
    return [device for devices in device_lists for device in devices]


def _is_reachable(job: Job) -> bool:
    """A job that continues needs the folder of its run, which may lie on another machine."""
    return job.log_path is None or Path(job.log_path).parent.is_dir()


def _mark_running(session: Session, job: Job, worker_identity: WorkerIdentity, devices: list[str]) -> bool:
    attempt_columns = _new_attempt_columns(job, worker_identity.name, worker_identity.host, None)
    return change_status(session, job.id, [JobStatus.QUEUED], JobStatus.RUNNING, devices=devices, **attempt_columns)


def _new_attempt_columns(
    job: Job, worker_name: str | None, host: str, process_identity: ProcessIdentity | None
) -> dict[str, Any]:
    return {
        "attempt": job.attempt + 1,
        "worker": worker_name,
        "host": host,
        "pid": process_identity and process_identity.pid,
        "process_start": process_identity and process_identity.start_time,
        "heartbeat_at": utc_now(),
        "started_at": utc_now(),
        "finished_at": None,
        "error_en": None,
        "error_zh": None,
    }


def claim_in_foreground(session: Session, job: Job, host: str, process_identity: ProcessIdentity) -> HeldJob | None:
    """Let a command play a job that has no process: its row then names that process and no worker.

    None where somebody else was faster.
    """
    attempt_columns = _new_attempt_columns(job, None, host, process_identity)
    # Queued ones too: a command that is given by hand need not wait for a worker.
    idle_statuses = [job_status for job_status in JobStatus if job_status not in ACTIVE_STATUSES]
    # The condition on the attempt: a worker that took the job meanwhile has raised it.
    same_attempt = Job.attempt == job.attempt
    if not change_status(
        session, job.id, idle_statuses, JobStatus.RUNNING, same_attempt, devices=[], **attempt_columns
    ):
        return None
    return _build_held_job(job, attempt_columns["attempt"], (), process_identity)


def record_foreground_heartbeat(session: Session, held_job: HeldJob) -> None:
    """A sign of life of a command that plays a job."""
    held_conditions = _held_conditions(None, held_job)
    session.execute(
        update(Job).where(*held_conditions, Job.status.in_(ACTIVE_STATUSES)).values(heartbeat_at=utc_now()),
        execution_options={"synchronize_session": False},
    )


def give_up_foreground(session: Session, job: Job) -> bool:
    """Give up the job of a command whose process is gone; whether this caller was the one who did."""
    return change_status(
        session,
        job.id,
        ACTIVE_STATUSES,
        JobStatus.LOST,
        Job.attempt == job.attempt,
        Job.worker.is_(None),
        error_en=PROGRAM_DISAPPEARED.en,
        error_zh=PROGRAM_DISAPPEARED.zh,
        finished_at=utc_now(),
    )


def record_process_start(
    session: Session,
    worker_identity: WorkerIdentity,
    held_job: HeldJob,
    process_identity: ProcessIdentity | None,
    log_path: Path,
) -> bool:
    """Write down the process before its program runs.

    False where there is none, or the job was taken away meanwhile.
    """
    if process_identity is None:
        return False
    held_conditions = _held_conditions(worker_identity.name, held_job)
    job_update = update(Job).where(*held_conditions, Job.status.in_(ACTIVE_STATUSES))
    return _changed_one_row(
        session,
        job_update.values(pid=process_identity.pid, process_start=process_identity.start_time, log_path=str(log_path)),
    )


def record_heartbeat(session: Session, worker_identity: WorkerIdentity, job_ids: Collection[int]) -> bool:
    """A sign of life of the worker and its jobs; False where the worker's row is gone."""
    heartbeat_time = utc_now()
    job_update = update(Job).where(
        Job.id.in_(job_ids), Job.worker == worker_identity.name, Job.status.in_(ACTIVE_STATUSES)
    )
    session.execute(job_update.values(heartbeat_at=heartbeat_time))
    worker_update = update(WorkerProcess).where(WorkerProcess.name == worker_identity.name)
    return _changed_one_row(session, worker_update.values(heartbeat_at=heartbeat_time))


def load_row_states(session: Session, job_ids: Collection[int]) -> dict[int, JobRowState]:
    """The rows of these jobs as they are now; jobs that are gone are left out."""
    job_rows = session.execute(select(Job.id, Job.status, Job.attempt, Job.worker, Job.host).where(Job.id.in_(job_ids)))
    return {
        job_row.id: JobRowState(job_row.status, job_row.attempt, job_row.worker, job_row.host) for job_row in job_rows
    }


def find_orphans(
    session: Session, worker_identity: WorkerIdentity, held_job_ids: Collection[int], stale_before: datetime
) -> list[Job]:
    """Active jobs of this host whose worker is gone, or has been silent since `stale_before`."""
    workers_by_name = {worker_row.name: worker_row for worker_row in session.scalars(select(WorkerProcess))}
    active_jobs = session.scalars(
        select(Job).where(
            Job.host == worker_identity.host, Job.status.in_(ACTIVE_STATUSES), Job.id.not_in(held_job_ids)
        )
    )
    return [
        job
        for job in active_jobs
        if _is_orphaned(job, worker_identity, workers_by_name.get(job.worker or ""), stale_before)
    ]


def _is_orphaned(
    job: Job, worker_identity: WorkerIdentity, worker: WorkerProcess | None, stale_before: datetime
) -> bool:
    if job.worker is None:
        # A command in somebody's terminal: it ends its row itself, as long as it lives.
        return not (job.pid and job.process_start and ProcessIdentity(job.pid, job.process_start).is_alive)
    if worker is None or job.worker == worker_identity.name:
        return True
    # A worker that hangs still lives; its silence is what counts, unless its process is gone anyway.
    is_silent = job.heartbeat_at is None or job.heartbeat_at < stale_before
    return is_silent or not ProcessIdentity(worker.pid, worker.process_start).is_alive


def adopt_job(session: Session, worker_identity: WorkerIdentity, job: Job) -> HeldJob | None:
    """Take over a job whose worker is gone, unless another worker was faster."""
    # Everything that was read must still hold: two workers may have found the same orphan.
    job_update = update(Job).where(
        Job.id == job.id,
        Job.attempt == job.attempt,
        Job.worker == job.worker,
        Job.status.in_(ACTIVE_STATUSES),
        Job.heartbeat_at == job.heartbeat_at,
    )
    if not _changed_one_row(session, job_update.values(worker=worker_identity.name, heartbeat_at=utc_now())):
        return None
    process_identity = ProcessIdentity(job.pid, job.process_start) if job.pid and job.process_start else None
    return _build_held_job(job, job.attempt, job.devices, process_identity)


def finish_attempt(
    session: Session,
    worker_name: str | None,
    held_job: HeldJob,
    decide_end: Callable[[JobStatus], tuple[JobStatus, Message | None]],
) -> bool:
    """Record how an attempt ended; False where another worker holds the job by now.

    `worker_name` is None where a command holds it. `decide_end` turns the status as it is now into the new one with
    its error. An error that the program has written itself stays: it knows better why it failed than its exit code.
    """
    held_conditions = _held_conditions(worker_name, held_job)
    # Locked for the decision: a request to cancel that comes meanwhile must not be overwritten by “succeeded”.
    job_query = select(Job.status, Job.error_en).where(*held_conditions, Job.status.in_(ACTIVE_STATUSES))
    job_row = session.execute(job_query.with_for_update()).one_or_none()
    if job_row is None:
        return False
    new_status, error_message = decide_end(job_row.status)
    column_values: dict[str, Any] = {"finished_at": None if new_status is JobStatus.QUEUED else utc_now()}
    if new_status is not JobStatus.FAILED:
        column_values |= {
            "error_en": error_message and error_message.en,
            "error_zh": error_message and error_message.zh,
        }
    elif error_message is not None and job_row.error_en is None:
        column_values |= {"error_en": error_message.en, "error_zh": error_message.zh}
    # A program need not report its last step as progress for its bar to be full.
    if new_status is JobStatus.SUCCEEDED:
        column_values |= {"progress": 1.0}
    return change_status(session, held_job.job_id, [job_row.status], new_status, *held_conditions, **column_values)


def find_silent_jobs(session: Session, worker_identity: WorkerIdentity, silent_since: datetime) -> list[Job]:
    """Active jobs of other machines that nobody has heard of since `silent_since`."""
    job_query = select(Job).where(
        # Processes of this host can be looked for, and are; of another one there is only its silence.
        Job.host != worker_identity.host,
        Job.status.in_(ACTIVE_STATUSES),
        Job.heartbeat_at < silent_since,
    )
    return list(session.scalars(job_query))


def give_up_job(session: Session, job: Job) -> bool:
    """Give a silent job up, unless it has been heard of since."""
    return change_status(
        session,
        job.id,
        ACTIVE_STATUSES,
        JobStatus.LOST,
        Job.heartbeat_at == job.heartbeat_at,
        error_en=f"The machine “{job.host}” that ran this job has gone silent; resume it to go on here.",
        error_zh=f"运行此任务的机器“{job.host}”失去联系，可点“继续”在本机接着运行。",
        finished_at=utc_now(),
    )


def _held_conditions(worker_name: str | None, held_job: HeldJob) -> tuple[ColumnElement[bool], ...]:
    return (Job.id == held_job.job_id, Job.attempt == held_job.attempt, Job.worker == worker_name)


def _changed_one_row(session: Session, statement: Any) -> bool:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount == 1
