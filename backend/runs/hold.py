"""Who works on a job: the one process that its row names, be it a worker's program or a command in a terminal.

Of two that try to hold a job only one succeeds. A command whose process is gone, or on another machine was not
heard of for a while, holds nothing any more; what a worker started is for workers to end.
"""

import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from backend.core.enums import ACTIVE_STATUSES, JobStatus
from backend.core.errors import Conflict, NotFound
from backend.core.processes import ProcessIdentity, identify_process
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.jobs import queue
from backend.jobs.outcome import ProgramExit, decide_status
from backend.jobs.queue import HeldJob

# Twelve signs of life must fail before a run counts as free for another machine.
HEARTBEAT_S = 5.0
# Silence after which a process on another machine, which cannot be looked for from here, counts as gone.
STALE_AFTER_S = 60.0
_STOPPING_STATUSES = (JobStatus.PAUSING, JobStatus.CANCELLING)


@dataclass(frozen=True)
class RunHolder:
    """The process that plays a run; `stopping` where it was asked to stop after the calls in flight."""

    host: str
    pid: int
    stopping: bool = False


@dataclass(frozen=True)
class RunTitle:
    """What a run is called in sentences for people, and the command that pauses it."""

    en: str
    zh: str
    pause_command: str

    @classmethod
    def of_job(cls, job_id: int) -> "RunTitle":
        """The title of work that is a job and nothing else."""
        return cls(f"Job {job_id}", f"任务 {job_id}", f"jobs pause {job_id}")


class HeldElsewhere(Conflict):
    """Another process plays this run; this one leaves it alone and changes nothing of it."""


class HoldLost(HeldElsewhere):
    """This process played the run until another one took it over."""


class JobHold:
    """The right of this process to work on a job, for one attempt."""

    def __init__(self, database: Database, held_job: HeldJob, title: RunTitle, *, in_foreground: bool) -> None:
        self._database = database
        self._held_job = held_job
        self._in_foreground = in_foreground
        self._last_heartbeat = time.monotonic()
        self.title = title
        self.job_id = held_job.job_id

    def check(self) -> bool:
        """Be heard of; whether the job was asked to stop. Raises HoldLost."""
        with self._database.read() as session:
            # One query for both answers: the row is still ours, and whether it asks to stop.
            job_status = session.scalar(select(Job.status).where(*self._held_conditions()))
        if job_status is None:
            raise HoldLost(
                f"{self.title.en} was taken over by another process; this one leaves it alone.",
                f"{self.title.zh} 已由另一个进程接手，这里不再继续。",
            )
        # A worker is heard of for its programs; nobody but the command itself is for a command.
        if self._in_foreground and time.monotonic() - self._last_heartbeat >= HEARTBEAT_S:
            self._last_heartbeat = time.monotonic()
            with self._database.write() as session:
                queue.record_foreground_heartbeat(session, self._held_job)
        return job_status in _STOPPING_STATUSES

    def is_intact(self) -> ColumnElement[bool]:
        """A condition for updates of other rows: this process still holds the job."""
        return exists().where(*self._held_conditions())

    def finish(self, exit_code: int, log_lines: Sequence[str]) -> None:
        """End the attempt of a command as a worker ends that of its program; a worker's program leaves it to it.

        exit_code: what the program would have ended with; log_lines: the end of what it would have printed.
        """
        if not self._in_foreground:
            return
        program_exit = ProgramExit(exit_code=exit_code)
        with self._database.write() as session:
            queue.finish_attempt(
                session, None, self._held_job, lambda job_status: decide_status(job_status, program_exit, log_lines)
            )

    def _held_conditions(self) -> tuple[ColumnElement[bool], ...]:
        # Every hold raises the attempt, so that it names this one; a worker may hand a job on to another worker.
        return (Job.id == self.job_id, Job.attempt == self._held_job.attempt, Job.status.in_(ACTIVE_STATUSES))


def find_run_holders(session: Session, job_ids: Iterable[int | None]) -> dict[int | None, RunHolder]:
    """By job, the process that works on it now; jobs that none works on, or no longer, are left out."""
    job_query = select(Job).where(Job.id.in_({job_id for job_id in job_ids if job_id is not None}))
    holders = {
        job.id: find_job_holder(job) for job in session.scalars(job_query.where(Job.status.in_(ACTIVE_STATUSES)))
    }
    return {job_id: run_holder for job_id, run_holder in holders.items() if run_holder is not None}


def find_job_holder(job: Job) -> RunHolder | None:
    """The process that works on a job now; None where none does, or no longer."""
    if job.status not in ACTIVE_STATUSES or job.host is None or job.pid is None or job.process_start is None:
        return None
    # The start time goes with the number, since numbers of processes are used again.
    if job.host == socket.gethostname():
        is_present = ProcessIdentity(job.pid, job.process_start).is_alive
    else:
        is_present = job.heartbeat_at is not None and utc_now() - job.heartbeat_at < timedelta(seconds=STALE_AFTER_S)
    return RunHolder(job.host, job.pid, job.status in _STOPPING_STATUSES) if is_present else None


def hold_job(database: Database, job_id: int) -> JobHold:
    """Hold a job in this process: as its program, where a worker started it, else as a command.

    Raises NotFound, and HeldElsewhere where another process works on it.
    """
    with database.write() as session:
        # PostgreSQL lets two read the row before either writes; SQLite's write lock covers it anyway.
        job = session.get(Job, job_id, with_for_update=True)
        if job is None:
            raise NotFound(f"There is no job {job_id}.", f"没有编号为 {job_id} 的任务。")
        return hold_job_row(session, database, job, RunTitle.of_job(job_id))


def hold_job_row(session: Session, database: Database, job: Job, title: RunTitle) -> JobHold:
    """The same within a transaction that has locked the row. Raises HeldElsewhere."""
    if _is_own_program(job):
        held_job = HeldJob(job.id, job.kind, job.attempt, tuple(job.devices), None, None)
        return JobHold(database, held_job, title, in_foreground=False)
    # Otherwise a killed command would hold its run until a worker comes by, and there may be none.
    release_dead_command(session, job)
    this_process = identify_process(os.getpid())
    assert this_process is not None
    claimed_job = queue.claim_in_foreground(session, job, socket.gethostname(), this_process)
    if claimed_job is None:
        raise held_elsewhere_error(title, job)
    return JobHold(database, claimed_job, title, in_foreground=True)


def release_dead_command(session: Session, job: Job) -> None:
    """End the attempt of a command whose process is gone, as a worker would when it comes by."""
    if job.status in ACTIVE_STATUSES and job.worker is None and find_job_holder(job) is None:
        queue.give_up_foreground(session, job)
        session.refresh(job)


def held_elsewhere_error(title: RunTitle, job: Job) -> HeldElsewhere:
    """The sentence for whoever comes second."""
    process_en = f"process {job.pid} on {job.host}" if job.pid else f"worker {job.worker}"
    process_zh = f" {job.host} 上的进程 {job.pid} " if job.pid else f"工作进程 {job.worker} "
    return HeldElsewhere(
        f"{title.en} is being played by {process_en}; wait for it, or pause it (`{title.pause_command}`) first.",
        f"{title.zh} 正由{process_zh}进行，请等它结束，或先暂停它。",
    )


def _is_own_program(job: Job) -> bool:
    """Whether a worker started this process for the present attempt: its launcher leads this very session."""
    if job.worker is None or job.status not in ACTIVE_STATUSES or job.host != socket.gethostname():
        return False
    session_leader = identify_process(os.getsid(0))
    return session_leader is not None and (session_leader.pid, session_leader.start_time) == (
        job.pid,
        job.process_start,
    )
