"""The lifecycle of a run: a run is a job, whoever plays it, and is submitted, paused, cancelled and resumed as one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import update
from sqlalchemy.orm import Session

from backend.core.enums import RESUMABLE_STATUSES, JobStatus
from backend.core.errors import Conflict, NotFound, UserError
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.db.pair_tables import PairRun
from backend.db.principle_tables import PrincipleRun
from backend.jobs.records import JobInfo
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.runs.attempt import JobAttempt, open_attempt
from backend.runs.hold import (
    JobHold,
    RunTitle,
    held_elsewhere_error,
    hold_job_row,
    release_dead_command,
)

RunRow = PairRun | PrincipleRun
_ENDED_STATUSES = (*RESUMABLE_STATUSES, JobStatus.SUCCEEDED)


@dataclass(frozen=True)
class RunKind:
    """What differs between runs: their rows, the kind of their jobs, the words for them.

    caps_column: the JSON column that holds the caps. queued_values and started_values: columns of the row that
    change when the run is queued and when somebody begins to play it.
    """

    row_class: type[PairRun] | type[PrincipleRun]
    job_kind: str
    title_zh: str
    pause_command: str
    caps_column: str
    is_done: Callable[[Any], bool]
    done_error: Callable[[int], Conflict]
    job_config: Callable[[Any], dict[str, Any]]
    queued_values: Mapping[str, Any] = field(default_factory=dict)
    started_values: Mapping[str, Any] = field(default_factory=dict)

    def title(self, run_id: int) -> RunTitle:
        """What a run is called."""
        return RunTitle(f"Run {run_id}", f"{self.title_zh} {run_id}", self.pause_command)


class RunAttempt:
    """One attempt at a run by this process; its row takes values only as long as this process holds its job."""

    def __init__(self, database: Database, run_kind: RunKind, run_id: int, job_attempt: JobAttempt) -> None:
        self._database, self._run_kind, self._run_id = database, run_kind, run_id
        self._job_attempt = job_attempt

    @property
    def report(self) -> JobReport:
        """Through which pages follow the run."""
        return self._job_attempt.report

    def should_stop(self) -> bool:
        """Be heard of; whether to stop after the calls in flight. Raises HoldLost."""
        return self._job_attempt.should_stop()

    def mark_stopped(self) -> None:
        """The run stopped before its end, because it was asked to."""
        self._job_attempt.is_stopped = True

    def store_values(self, **values: Any) -> None:
        """Store these columns in the row of the run."""
        row_class = self._run_kind.row_class
        is_held = self._job_attempt.hold.is_intact()
        with self._database.write() as session:
            session.execute(update(row_class).where(row_class.id == self._run_id, is_held).values(**values))


class RunService:
    """Runs of one kind. Errors are UserError, NotFound, Conflict, and HeldElsewhere for whoever comes second."""

    def __init__(self, database: Database, jobs: JobService, run_kind: RunKind) -> None:
        self._database, self._jobs, self._run_kind = database, jobs, run_kind

    def queue(self, run_id: int) -> JobInfo:
        """Queue a run for the workers: its own job again where that stopped early, else a new one.

        Raises Conflict where it is in the works already.
        """
        with self._database.write() as session:
            run_row = self._load_run(session, run_id)
            self._refuse_busy(session, run_row)
            earlier_job, job_config = run_row.job_id, self._run_kind.job_config(run_row)
        # Outside the transaction: the job room opens its own, and SQLite has one writer only.
        earlier_info = self._jobs.job(earlier_job) if earlier_job is not None else None
        # The same job again keeps log, folder and history of a run in one place.
        if earlier_info is not None and earlier_info.resumable:
            queued_job = self._jobs.resume(earlier_info.id)
        else:
            queued_job = self._jobs.submit(self._run_kind.job_kind, job_config)
        self._note_queued(run_id, queued_job.id)
        return self._jobs.job(queued_job.id)

    def resume(self, run_id: int, **caps: Any) -> JobInfo:
        """Queue a run again that stopped early; caps that are given replace its own. Raises Conflict."""
        self.raise_caps(run_id, **caps)
        return self.queue(run_id)

    def raise_caps(self, run_id: int, **caps: Any) -> None:
        """Replace the caps that are given. Raises Conflict for a run that is done or in the works."""
        new_caps = {cap_name: cap_value for cap_name, cap_value in caps.items() if cap_value is not None}
        caps_column = self._run_kind.caps_column
        with self._database.write() as session:
            run_row = self._load_run(session, run_id)
            if self._run_kind.is_done(run_row):
                raise self._run_kind.done_error(run_id)
            self._refuse_busy(session, run_row)
            # A new dictionary, since SQLAlchemy does not see changes inside a JSON value.
            if new_caps:
                setattr(run_row, caps_column, {**getattr(run_row, caps_column), **new_caps})

    def pause(self, run_id: int) -> None:
        """Let a run stop, whoever plays it; what is finished stays. Raises Conflict where nobody does."""
        self._jobs.pause(self._active_job_id(run_id))

    def cancel(self, run_id: int) -> None:
        """End a run, whoever plays it; it can be resumed later. Raises Conflict where nobody does."""
        self._jobs.cancel(self._active_job_id(run_id))

    def is_busy(self, run_id: int) -> bool:
        """Whether somebody plays the run, or will."""
        with self._database.write() as session:
            # A writing transaction, for looking may end the attempt of a command that is gone.
            return _active_job(session, self._load_run(session, run_id)) is not None

    @contextmanager
    def play(self, run_id: int) -> Iterator[RunAttempt]:
        """Play a run in the foreground: hold its job until the end. Raises HeldElsewhere, NotFound."""
        hold = self._hold_run(run_id)
        with open_attempt(self._database, hold) as job_attempt:
            yield RunAttempt(self._database, self._run_kind, run_id, job_attempt)

    def join(self, run_id: int, job_attempt: JobAttempt) -> RunAttempt:
        """Play a run by a job that this process holds. Raises Conflict where another job does."""
        job_id = job_attempt.hold.job_id
        with self._database.write() as session:
            run_row = self._load_run(session, run_id)
            # A worker may start an older job of a run that has meanwhile been queued as another one.
            if run_row.job_id != job_id:
                self._refuse_busy(session, run_row)
            self._bind_job(run_row, job_id, self._run_kind.started_values)
        job_attempt.hold.title = self._run_kind.title(run_id)
        return RunAttempt(self._database, self._run_kind, run_id, job_attempt)

    def _hold_run(self, run_id: int) -> JobHold:
        run_kind = self._run_kind
        with self._database.write() as session:
            run_row = self._load_run(session, run_id)
            job = _load_job(session, run_row)
            # A job that has succeeded stays as it is: its row is a record of what was done.
            if job is None or job.status is JobStatus.SUCCEEDED:
                job = Job(kind=run_kind.job_kind, config=run_kind.job_config(run_row), devices=[], attempt=0)
                session.add(job)
                session.flush()
            hold = hold_job_row(session, self._database, job, run_kind.title(run_id))
            self._bind_job(run_row, job.id, run_kind.started_values)
            return hold

    def _load_run(self, session: Session, run_id: int) -> RunRow:
        run_row = cast(RunRow | None, session.get(self._run_kind.row_class, run_id, with_for_update=True))
        if run_row is None:
            raise NotFound(f"There is no run {run_id}.", f"没有编号为 {run_id} 的{self._run_kind.title_zh}。")
        return run_row

    def _refuse_busy(self, session: Session, run_row: RunRow) -> None:
        job = _active_job(session, run_row)
        if job is None:
            return
        title = self._run_kind.title(run_row.id)
        if job.worker is None and job.status is not JobStatus.QUEUED:
            raise held_elsewhere_error(title, job)
        raise Conflict(f"{title.en} is in the works as job {job.id}.", f"{title.zh} 正在进行（任务 {job.id}）。")

    def _active_job_id(self, run_id: int) -> int:
        with self._database.write() as session:
            job = _active_job(session, self._load_run(session, run_id))
            if job is None:
                title = self._run_kind.title(run_id)
                raise Conflict(f"{title.en} is not in the works.", f"{title.zh} 没有在进行。")
            return job.id

    def _note_queued(self, run_id: int, job_id: int) -> None:
        with self._database.write() as session:
            run_row = self._load_run(session, run_id)
            # A worker may have begun meanwhile, and what the run says by then is newer.
            is_waiting = session.get_one(Job, job_id, with_for_update=True).status is JobStatus.QUEUED
            self._bind_job(run_row, job_id, self._run_kind.queued_values if is_waiting else {})

    def _bind_job(self, run_row: RunRow, job_id: int, row_values: Mapping[str, Any]) -> None:
        run_row.job_id = job_id
        for column_name, column_value in row_values.items():
            setattr(run_row, column_name, column_value)


def named_run(job_config: Mapping[str, Any], missing_zh: str) -> int:
    """The run that a job is for. Raises UserError, with `missing_zh` in Chinese, where its settings name none."""
    run_id = job_config.get("run")
    if not isinstance(run_id, int):
        raise UserError("The job names no run.", missing_zh)
    return run_id


def _load_job(session: Session, run_row: RunRow) -> Job | None:
    """The job of a run, locked; a command that plays it and is gone has ended it by then."""
    job = session.get(Job, run_row.job_id, with_for_update=True) if run_row.job_id is not None else None
    if job is not None:
        release_dead_command(session, job)
    return job


def _active_job(session: Session, run_row: RunRow) -> Job | None:
    """The job that plays a run, or will."""
    job = _load_job(session, run_row)
    if job is None or job.status in _ENDED_STATUSES:
        return None
    return job
