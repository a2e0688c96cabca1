"""What pages and commands do with jobs: a request changes the row, and the worker acts on it."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, case, select
from sqlalchemy.orm import Session

from backend.core.enums import RESUMABLE_STATUSES, ArtifactKind, EventKind, JobStatus
from backend.core.errors import Conflict, Message, NotFound, UserError
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.job_tables import Artifact, Job, JobEvent, WorkerProcess
from backend.jobs import local
from backend.jobs.local import refuse_if_blocked
from backend.jobs.messages import JobMessage
from backend.jobs.programs import OWN_PROGRAMS, JobConfig, JobProgramRegistry
from backend.jobs.queue import change_status
from backend.jobs.records import (
    DEFAULT_OPTIONS,
    SHIPPED_ORIGIN,
    ArtifactInfo,
    JobEventInfo,
    JobInfo,
    JobOptions,
    WorkerInfo,
)


def explain_predecessor(session: Session, job: Job) -> Message | None:
    """One sentence where another job has to succeed first."""
    predecessor = session.get(Job, job.after_id) if job.after_id else None
    if predecessor is None or predecessor.status is JobStatus.SUCCEEDED:
        return None
    return Message(f"Waits until job {predecessor.id} has succeeded.", f"等任务 {predecessor.id} 完成后开始。")


def explain_waiting(slot_count: int, workers: Sequence[WorkerInfo]) -> Message:
    """One sentence, from what the living workers offer."""
    if not workers:
        return Message(
            "No worker is running; start the application or `python -m backend worker`.",
            "没有正在运行的工作进程，请启动应用或运行 `python -m backend worker`。",
        )
    largest_slot_count = max(len(worker.devices) for worker in workers)
    if slot_count > largest_slot_count:
        return Message(
            f"The job wants {slot_count} slots, the largest worker has {largest_slot_count}; submit it with fewer.",
            f"任务需要 {slot_count} 个算力槽，最大的工作进程只有 {largest_slot_count} 个，请减少后重新提交。",
        )
    return Message("Waiting for its turn.", "正在排队。")


def compute_sha256(target_path: Path) -> str:
    """Hash of a file, or of every file of a folder with its place in it. Raises NotFound."""
    if not target_path.exists():
        raise NotFound(f"There is nothing at {target_path}.", f"{target_path} 处没有任何文件。")
    if target_path.is_file():
        with target_path.open("rb") as binary_file:
            return hashlib.file_digest(binary_file, "sha256").hexdigest()
    folder_hash = hashlib.sha256()
    # Sorted, and with names: the hash must not depend on the order of the file system.
    for file_path in sorted(candidate for candidate in target_path.rglob("*") if candidate.is_file()):
        folder_hash.update(f"{file_path.relative_to(target_path).as_posix()}\0{compute_sha256(file_path)}\n".encode())
    return folder_hash.hexdigest()


def own_artifacts_first() -> tuple[ColumnElement[Any], ...]:
    """An order of artifacts: what was trained in this home, the newest first, then what came with the project."""
    is_shipped = Artifact.config["origin"].as_string() == SHIPPED_ORIGIN
    # Else “latest” would leave what somebody trained, once the next release is started on this home.
    return case((is_shipped, 1), else_=0), Artifact.id.desc()


def list_artifacts(session: Session, artifact_kind: ArtifactKind | None) -> list[ArtifactInfo]:
    """Artifacts of jobs, newest first, then those that came with the project."""
    artifact_query = select(Artifact).order_by(*own_artifacts_first())
    if artifact_kind is not None:
        artifact_query = artifact_query.where(Artifact.kind == artifact_kind)
    return [artifact_info(artifact_row) for artifact_row in session.scalars(artifact_query)]


def artifact_info(artifact_row: Artifact) -> ArtifactInfo:
    """The row as a record."""
    return ArtifactInfo(
        id=artifact_row.id,
        kind=artifact_row.kind,
        name=artifact_row.name,
        path=Path(artifact_row.path),
        sha256=artifact_row.sha256,
        parent_id=artifact_row.parent_id,
        job_id=artifact_row.job_id,
        data_hash=artifact_row.data_hash,
        config=artifact_row.config,
        metrics=artifact_row.metrics,
        created_at=artifact_row.created_at,
    )


class JobService:
    """Submit, watch and steer jobs. Never starts a process itself."""

    def __init__(
        self,
        database: Database,
        home_folder: Path,
        options: JobOptions = DEFAULT_OPTIONS,
        job_programs: JobProgramRegistry = OWN_PROGRAMS,
    ) -> None:
        """`job_programs` are the kinds of jobs that may be queued here."""
        self._database = database
        self._home_folder = home_folder.resolve()
        self._options = options
        self._job_programs = job_programs

    def submit(
        self,
        job_kind: str,
        job_config: JobConfig | BaseModel,
        priority: int = 0,
        slot_count: int = 0,
        parent_id: int | None = None,
        after_id: int | None = None,
    ) -> JobInfo:
        """Queue a job; a higher priority goes first, `slot_count` is how many GPUs it needs (one on CPU).

        Typed settings are stored as they are, plain ones are checked by the kind's program before. `parent_id` is
        the job that this one repeats or builds on; until the job `after_id` has succeeded this one waits, and it
        fails with a sentence where that one stops early. Raises UserError for an unknown kind, for settings that
        cannot work and for a full disk.
        """
        plain_config = self._job_programs.config_to_store(job_kind, job_config)
        if slot_count < 0:
            raise UserError("A job needs 0 or more slots.", "任务的算力槽数不能为负。")
        # Refused here rather than by the worker: whoever submits it is still looking.
        refuse_if_blocked(self._home_folder, self._options)
        with self._database.write() as session:
            for related_id in (parent_id, after_id):
                if related_id is not None:
                    # A sentence about the number, where the database would only speak of a foreign key.
                    _load_job(session, related_id)
            job = Job(
                kind=job_kind,
                config=plain_config,
                priority=priority,
                slots=slot_count,
                parent_id=parent_id,
                after_id=after_id,
            )
            session.add(job)
            session.flush()
            # The first line of the job's history, which change_status continues.
            session.add(JobEvent(job_id=job.id, kind=EventKind.STATE, data={"status": job.status.value, "attempt": 0}))
            created_id = job.id
        return self.job(created_id)

    def jobs(self, limit: int = 50, job_kind: str | None = None) -> list[JobInfo]:
        """The newest jobs first."""
        job_query = select(Job).order_by(Job.id.desc()).limit(limit)
        if job_kind is not None:
            job_query = job_query.where(Job.kind == job_kind)
        with self._database.read() as session:
            workers = self._fresh_workers(session)
            return [_build_job_info(session, job, workers) for job in session.scalars(job_query)]

    def job(self, job_id: int) -> JobInfo:
        """One job. Raises NotFound."""
        with self._database.read() as session:
            return _build_job_info(session, _load_job(session, job_id), self._fresh_workers(session))

    def cancel(self, job_id: int) -> JobInfo:
        """End a job: at once where nothing runs, else when its last process is gone. A second call does nothing.

        Raises Conflict for a job that has ended by itself.
        """
        idle_statuses, running_statuses = (
            (JobStatus.QUEUED, JobStatus.PAUSED),
            (JobStatus.RUNNING, JobStatus.PAUSING),
        )
        with self._database.write() as session:
            job_status = _load_job(session, job_id).status
            # In this order: a job that starts between the two is caught by the second.
            changed = change_status(session, job_id, idle_statuses, JobStatus.CANCELLED, finished_at=utc_now())
            changed = changed or change_status(session, job_id, running_statuses, JobStatus.CANCELLING)
        if not changed and job_status not in (JobStatus.CANCELLING, JobStatus.CANCELLED):
            raise _already_ended(job_id, job_status)
        return self.job(job_id)

    def pause(self, job_id: int) -> JobInfo:
        """Let a job stop after its current step; `resume` goes on from there. A second call does nothing.

        Raises Conflict for a job that does not run, or whose kind cannot stop in between.
        """
        with self._database.write() as session:
            job = _load_job(session, job_id)
            job_status, pausable = job.status, self._job_programs.find(job.kind).pausable
            changed = pausable and (
                # Queued first, for the reason that `cancel` has: a start between the two is caught by the
                # second.
                change_status(session, job_id, [JobStatus.QUEUED], JobStatus.PAUSED)
                or change_status(session, job_id, [JobStatus.RUNNING], JobStatus.PAUSING)
            )
        if not pausable:
            raise Conflict(f"Job {job_id} cannot pause; cancel it instead.", f"任务 {job_id} 不支持暂停，请改用取消。")
        if not changed and job_status not in (JobStatus.PAUSING, JobStatus.PAUSED):
            raise _already_ended(job_id, job_status)
        return self.job(job_id)

    def is_pausable(self, job_kind: str) -> bool:
        """Whether jobs of a kind can stop in between and go on. Raises UserError for an unknown kind."""
        return self._job_programs.find(job_kind).pausable

    def resume(self, job_id: int) -> JobInfo:
        """Queue the same job again; its program goes on from what lies in the folder of the run.

        Raises Conflict for a job that is queued, runs, is still stopping or has succeeded.
        """
        # A job resumed into a full disk would only fail again.
        refuse_if_blocked(self._home_folder, self._options)
        with self._database.write() as session:
            job_status = _load_job(session, job_id).status
            cleared_columns = {"finished_at": None, "error_en": None, "error_zh": None}
            changed = change_status(session, job_id, RESUMABLE_STATUSES, JobStatus.QUEUED, **cleared_columns)
        if not changed:
            raise Conflict(
                f"Job {job_id} is {job_status.value}; only a job that stopped early can be resumed.",
                f"任务 {job_id} 当前状态为 {job_status.value}，只有中途停下的任务才能继续。",
            )
        return self.job(job_id)

    def run_again(self, job_id: int) -> JobInfo:
        """A new job with the same settings, from the start. Raises NotFound, and what `submit` raises."""
        previous_job = self.job(job_id)
        return self.submit(
            previous_job.kind,
            previous_job.config,
            previous_job.priority,
            previous_job.slots,
            parent_id=job_id,
            after_id=previous_job.after_id,
        )

    def events(
        self,
        job_id: int,
        after_id: int = 0,
        event_kinds: Collection[EventKind] | None = None,
        limit: int = 500,
    ) -> list[JobEventInfo]:
        """Events with an id above `after_id`, oldest first; the last id begins the next page."""
        event_query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after_id)
        if event_kinds is not None:
            event_query = event_query.where(JobEvent.kind.in_(event_kinds))
        with self._database.read() as session:
            event_rows = session.scalars(event_query.order_by(JobEvent.id).limit(limit))
            return [
                JobEventInfo(
                    event_row.id,
                    event_row.job_id,
                    event_row.at,
                    event_row.kind,
                    event_row.step,
                    event_row.data,
                )
                for event_row in event_rows
            ]

    def log_tail(self, job_id: int, line_count: int = 100) -> list[str]:
        """The last lines of the log; empty before the start, or where it lies on another machine."""
        log_path = self.job(job_id).log_path
        return local.read_tail(log_path, line_count) if log_path else []

    def workers(self) -> list[WorkerInfo]:
        """Workers heard of lately."""
        with self._database.read() as session:
            return self._fresh_workers(session)

    def artifacts(self, artifact_kind: ArtifactKind | None = None) -> list[ArtifactInfo]:
        """What jobs left behind, newest first."""
        with self._database.read() as session:
            return list_artifacts(session, artifact_kind)

    def add_artifact(
        self,
        artifact_kind: ArtifactKind,
        artifact_name: str,
        artifact_path: Path,
        *,
        job_id: int | None = None,
        parent_id: int | None = None,
        data_hash: str | None = None,
        job_config: JobConfig | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> ArtifactInfo:
        """Write down a finished file or folder under its hash. Raises NotFound where nothing lies there."""
        artifact_row = Artifact(
            kind=artifact_kind,
            name=artifact_name,
            path=str(artifact_path.resolve()),
            # Outside the transaction: hashing a model takes seconds in which nobody else could write.
            sha256=compute_sha256(artifact_path),
            job_id=job_id,
            parent_id=parent_id,
            data_hash=data_hash,
            config=job_config or {},
            metrics=metrics or {},
        )
        with self._database.write() as session:
            session.add(artifact_row)
            session.flush()
            return artifact_info(artifact_row)

    def _fresh_workers(self, session: Session) -> list[WorkerInfo]:
        stale_before = utc_now() - timedelta(seconds=self._options.stale_seconds)
        worker_rows = session.scalars(select(WorkerProcess).where(WorkerProcess.heartbeat_at >= stale_before))
        return [
            WorkerInfo(
                worker_row.name,
                worker_row.host,
                tuple(worker_row.devices),
                worker_row.heartbeat_at,
                tuple(worker_row.device_memory or ()),
            )
            for worker_row in worker_rows
        ]


def _load_job(session: Session, job_id: int) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.", f"没有编号为 {job_id} 的任务。")
    return job


def _already_ended(job_id: int, job_status: JobStatus) -> Conflict:
    return Conflict(
        f"Job {job_id} is {job_status.value}; there is nothing to stop.",
        f"任务 {job_id} 当前状态为 {job_status.value}，没有可停止的内容。",
    )


def _build_job_info(session: Session, job: Job, workers: Sequence[WorkerInfo]) -> JobInfo:
    error_message = Message(job.error_en, job.error_zh or job.error_en) if job.error_en else None
    is_queued = job.status is JobStatus.QUEUED
    waiting_reason = (explain_predecessor(session, job) or explain_waiting(job.slots, workers)) if is_queued else None
    return JobInfo(
        error=error_message,
        waiting=waiting_reason,
        devices=tuple(job.devices),
        log_path=Path(job.log_path) if job.log_path else None,
        progress_message=JobMessage.from_data(job.progress_data or {"text": job.progress_text}),
        **{field_name: getattr(job, field_name) for field_name in _PLAIN_FIELDS},
    )


_PLAIN_FIELDS: tuple[str, ...] = (
    "id", "kind", "config", "status", "priority", "slots", "parent_id", "after_id", "attempt", "worker",
    "host", "pid", "progress", "progress_text", "created_at", "started_at", "finished_at", "heartbeat_at",
)  # fmt: skip
