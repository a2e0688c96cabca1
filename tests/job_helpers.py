"""Real workers and programs for the job tests; only processes that a test started are ever signalled."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from backend.core.enums import EventKind, JobStatus
from backend.core.processes import ProcessIdentity, find_run_members, kill_run
from backend.core.settings import PROJECT_ROOT
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService

QUICK = {
    "ZHUFU_JOB_GRACE_SECONDS": "3",
    "ZHUFU_JOB_POLL_SECONDS": "0.05",
    "ZHUFU_JOB_HEARTBEAT_SECONDS": "0.2",
    "ZHUFU_JOB_STALE_SECONDS": "2",
    "ZHUFU_JOB_MIN_FREE_DISK_MB": "1",
    "ZHUFU_JOB_MIN_FREE_MEMORY_MB": "1",
}


@contextmanager
def worker(home: Path, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process on this home, asked to leave at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "backend.worker", *arguments],
        env=os.environ | QUICK | {"ZHUFU_HOME": str(home), "PYTHONPATH": str(PROJECT_ROOT)} | settings,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a worker that the test started."""
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def until(look: Callable[[], object], seconds: float = 25) -> None:
    """Wait until `look` returns something true."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.03)


def ended(service: JobService, job_id: int) -> JobInfo:
    """The job, once it has come to its end."""
    until(lambda: service.job(job_id).ended)
    return service.job(job_id)


def counting(service: JobService, job_id: int) -> JobInfo:
    """The job, once its program has finished a step."""
    until(lambda: checkpoint(service.job(job_id)) > 0)
    return service.job(job_id)


def checkpoint(job: JobInfo) -> int:
    """How far the program has saved."""
    path = job.folder and job.folder / "checkpoint.txt"
    return int(path.read_text()) if path and path.exists() else 0


def leader(database: Database, job_id: int) -> ProcessIdentity | None:
    """The session leader that the row names."""
    with database.read() as session:
        job = session.get_one(Job, job_id)
        return ProcessIdentity(job.pid, job.process_start) if job.pid and job.process_start else None


def members(database: Database, job: JobInfo) -> list[int]:
    """Living processes of the job."""
    return find_run_members(leader(database, job.id), job.folder)


def sweep(database: Database) -> None:
    """End whatever the test's jobs left behind."""
    with database.read() as session:
        rows = session.scalars(select(Job).where(Job.log_path.is_not(None))).all()
    for row in rows:
        started = ProcessIdentity(row.pid, row.process_start) if row.pid and row.process_start else None
        kill_run(started, Path(row.log_path or "").parent)


def statuses(service: JobService, job_id: int) -> list[JobStatus]:
    """Every status that the job went through."""
    return [JobStatus(event.data["status"]) for event in service.events(job_id, event_kinds=[EventKind.STATE])]
