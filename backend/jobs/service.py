"""What pages and commands do with jobs. A request is a change of the row; the worker acts on it."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db.base import now
from backend.db.engine import Database
from backend.db.job_tables import Artifact, Job, JobEvent, WorkerProcess
from backend.errors import Conflict, Message, NotFound, UserError
from backend.jobs import artifacts, logfile
from backend.jobs.guard import refuse
from backend.jobs.kinds import Config, check_config, kind_of
from backend.jobs.options import DEFAULTS, JobOptions
from backend.jobs.queue import move
from backend.jobs.records import ArtifactInfo, JobEventInfo, JobInfo, WorkerInfo
from backend.jobs.vocabulary import RESUMABLE, ArtifactKind, EventKind, JobStatus
from backend.jobs.waiting import waits_for, why_waiting


class JobService:
    """Submit, watch and steer jobs. Never starts a process itself."""

    def __init__(self, database: Database, home: Path, options: JobOptions = DEFAULTS) -> None:
        self._database = database
        self._home = home.resolve()
        self._options = options

    def submit(
        self,
        kind: str,
        config: Config,
        priority: int = 0,
        slots: int = 0,
        parent: int | None = None,
        after: int | None = None,
    ) -> JobInfo:
        """Queue a job; a higher priority goes first, `slots` is how many GPUs it needs (one on CPU).

        `parent` is the job that this one repeats or builds on; until the job `after` has succeeded this one
        waits, and it fails with a sentence where that one stops early. Raises UserError for an unknown kind,
        for settings that cannot work and for a full disk.
        """
        check_config(kind, config)
        if slots < 0:
            raise UserError("A job needs 0 or more slots.", "任务的算力槽数不能为负。")
        refuse(self._home, self._options)
        with self._database.write() as session:
            for other in (parent, after):
                if other is not None:
                    _row(session, other)
            job = Job(
                kind=kind, config=config, priority=priority, slots=slots, parent_id=parent, after_id=after
            )
            session.add(job)
            session.flush()
            session.add(
                JobEvent(job_id=job.id, kind=EventKind.STATE, data={"status": job.status.value, "attempt": 0})
            )
            made = job.id
        return self.job(made)

    def jobs(self, limit: int = 50, kind: str | None = None) -> list[JobInfo]:
        """The newest jobs first."""
        query = select(Job).order_by(Job.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(Job.kind == kind)
        with self._database.read() as session:
            workers = self._fresh(session)
            return [_info(session, job, workers) for job in session.scalars(query)]

    def job(self, job_id: int) -> JobInfo:
        """One job. Raises NotFound."""
        with self._database.read() as session:
            return _info(session, _row(session, job_id), self._fresh(session))

    def cancel(self, job_id: int) -> JobInfo:
        """End a job: at once where nothing runs, else when its last process is gone. Harmless twice.

        Raises Conflict for a job that has ended by itself.
        """
        idle, running = (JobStatus.QUEUED, JobStatus.PAUSED), (JobStatus.RUNNING, JobStatus.PAUSING)
        with self._database.write() as session:
            status = _row(session, job_id).status
            done = move(session, job_id, idle, JobStatus.CANCELLED, finished_at=now())
            done = done or move(session, job_id, running, JobStatus.CANCELLING)
        if not done and status not in (JobStatus.CANCELLING, JobStatus.CANCELLED):
            raise _ended(job_id, status)
        return self.job(job_id)

    def pause(self, job_id: int) -> JobInfo:
        """Let a job stop after its current step; `resume` goes on from there. Harmless twice.

        Raises Conflict for a job that does not run, or whose kind cannot stop in between.
        """
        with self._database.write() as session:
            job = _row(session, job_id)
            status, pausable = job.status, kind_of(job.kind).pausable
            done = pausable and (
                move(session, job_id, [JobStatus.QUEUED], JobStatus.PAUSED)
                or move(session, job_id, [JobStatus.RUNNING], JobStatus.PAUSING)
            )
        if not pausable:
            raise Conflict(
                f"Job {job_id} cannot pause; cancel it instead.", f"任务 {job_id} 不支持暂停，请改用取消。"
            )
        if not done and status not in (JobStatus.PAUSING, JobStatus.PAUSED):
            raise _ended(job_id, status)
        return self.job(job_id)

    def resume(self, job_id: int) -> JobInfo:
        """Queue the same job again; its program goes on from what lies in the folder of the run.

        Raises Conflict for a job that is queued, runs, is still stopping or has succeeded.
        """
        refuse(self._home, self._options)
        with self._database.write() as session:
            status = _row(session, job_id).status
            cleared = {"finished_at": None, "error_en": None, "error_zh": None}
            done = move(session, job_id, RESUMABLE, JobStatus.QUEUED, **cleared)
        if not done:
            raise Conflict(
                f"Job {job_id} is {status.value}; only a job that stopped early can be resumed.",
                f"任务 {job_id} 当前状态为 {status.value}，只有中途停下的任务才能继续。",
            )
        return self.job(job_id)

    def run_again(self, job_id: int) -> JobInfo:
        """A new job with the same settings, from the start. Raises NotFound, and what `submit` raises."""
        old = self.job(job_id)
        return self.submit(old.kind, old.config, old.priority, old.slots, parent=job_id, after=old.after_id)

    def events(
        self,
        job_id: int,
        after: int = 0,
        kinds: Collection[EventKind] | None = None,
        limit: int = 500,
    ) -> list[JobEventInfo]:
        """Events with an id above `after`, oldest first; the last id begins the next page."""
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after)
        if kinds is not None:
            query = query.where(JobEvent.kind.in_(kinds))
        with self._database.read() as session:
            rows = session.scalars(query.order_by(JobEvent.id).limit(limit))
            return [JobEventInfo(row.id, row.job_id, row.at, row.kind, row.step, row.data) for row in rows]

    def log_tail(self, job_id: int, lines: int = 100) -> list[str]:
        """The last lines of the log; empty before the start, or where it lies on another machine."""
        path = self.job(job_id).log_path
        return logfile.tail(path, lines) if path else []

    def workers(self) -> list[WorkerInfo]:
        """Workers heard of lately."""
        with self._database.read() as session:
            return self._fresh(session)

    def artifacts(self, kind: ArtifactKind | None = None) -> list[ArtifactInfo]:
        """What jobs left behind, newest first."""
        with self._database.read() as session:
            return artifacts.listed(session, kind)

    def add_artifact(
        self,
        kind: ArtifactKind,
        name: str,
        path: Path,
        *,
        job: int | None = None,
        parent: int | None = None,
        data_hash: str | None = None,
        config: Config | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> ArtifactInfo:
        """Write down a finished file or folder under its hash. Raises NotFound for an empty `path`."""
        row = Artifact(
            kind=kind,
            name=name,
            path=str(path.resolve()),
            sha256=artifacts.sha256_of(path),
            job_id=job,
            parent_id=parent,
            data_hash=data_hash,
            config=config or {},
            metrics=metrics or {},
        )
        with self._database.write() as session:
            session.add(row)
            session.flush()
            return artifacts.info_of(row)

    def _fresh(self, session: Session) -> list[WorkerInfo]:
        since = now() - timedelta(seconds=self._options.stale_seconds)
        rows = session.scalars(select(WorkerProcess).where(WorkerProcess.heartbeat_at >= since))
        return [WorkerInfo(row.name, row.host, tuple(row.devices), row.heartbeat_at) for row in rows]


def _row(session: Session, job_id: int) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.", f"没有编号为 {job_id} 的任务。")
    return job


def _ended(job_id: int, status: JobStatus) -> Conflict:
    return Conflict(
        f"Job {job_id} is {status.value}; there is nothing to stop.",
        f"任务 {job_id} 当前状态为 {status.value}，没有可停止的内容。",
    )


def _info(session: Session, job: Job, workers: Sequence[WorkerInfo]) -> JobInfo:
    error = Message(job.error_en, job.error_zh or job.error_en) if job.error_en else None
    queued = job.status is JobStatus.QUEUED
    waiting = (waits_for(session, job) or why_waiting(job.slots, workers)) if queued else None
    return JobInfo(
        error=error,
        waiting=waiting,
        devices=tuple(job.devices),
        log_path=Path(job.log_path) if job.log_path else None,
        **{name: getattr(job, name) for name in _PLAIN},
    )


_PLAIN: tuple[str, ...] = (
    "id", "kind", "config", "status", "priority", "slots", "parent_id", "after_id", "attempt", "worker",
    "host", "pid", "progress", "progress_text", "created_at", "started_at", "finished_at", "heartbeat_at",
)  # fmt: skip
