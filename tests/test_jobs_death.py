"""Worker, program, launcher and application die in turn; the final status is right each time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.enums import EventKind, JobStatus
from backend.core.processes import ProcessIdentity
from backend.core.settings import PROJECT_ROOT
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.jobs.service import JobService
from tests.job_helpers import QUICK, counting, ended, kill, members, sweep, until, worker

pytestmark = pytest.mark.database

LONG = {"steps": 100_000, "seconds": 0.02}


@pytest.fixture
def service(database: Database, home: Path) -> Iterator[JobService]:
    yield JobService(database, home)
    sweep(database)


def test_a_killed_workers_job_is_adopted_and_goes_on(
    service: JobService, database: Database, home: Path, tmp_path: Path
) -> None:
    with worker(home, "--name", "first") as first:
        goes_on = counting(service, service.submit("selftest", LONG | {"until": str(tmp_path / "finish")}).id)
        stops = counting(service, service.submit("selftest", LONG).id)
        kill(first)
    service.cancel(stops.id)
    with worker(home, "--name", "second"):
        assert ended(service, stops.id).status is JobStatus.CANCELLED
        assert service.job(goes_on.id).status is JobStatus.RUNNING
        (tmp_path / "finish").touch()
        done = ended(service, goes_on.id)
    assert (done.status, done.attempt, done.worker) == (JobStatus.SUCCEEDED, 1, "second")
    assert done.pid == goes_on.pid, "the same process was watched to its end"
    assert members(database, stops) == []


def test_what_ended_while_no_worker_lived_is_known_afterwards(service: JobService, home: Path) -> None:
    with worker(home) as first:
        good = counting(service, service.submit("selftest", {"steps": 20, "seconds": 0.05}).id)
        bad = counting(service, service.submit("selftest", {"steps": 20, "seconds": 0.05, "fail_at": 9}).id)
        kill(first)
    for job in (good, bad):
        folder = job.folder
        assert folder is not None
        until((folder / "exit-1.json").exists)
    with worker(home):
        assert ended(service, good.id).status is JobStatus.SUCCEEDED
        failed = ended(service, bad.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.en == "The program failed: ValueError: step 9 went wrong"


def test_a_worker_that_leaves_politely_leaves_its_jobs_running(service: JobService, home: Path, tmp_path: Path) -> None:
    with worker(home) as first:
        job = counting(service, service.submit("selftest", LONG | {"until": str(tmp_path / "finish")}).id)
        first.terminate()
        assert first.wait(10) == 0
        assert service.workers() == []
        assert service.job(job.id).status is JobStatus.RUNNING
    (tmp_path / "finish").touch()
    with worker(home):
        assert ended(service, job.id).status is JobStatus.SUCCEEDED


def test_a_killed_program_has_failed_and_a_killed_launcher_is_lost(
    service: JobService, database: Database, home: Path
) -> None:
    with worker(home):
        program = counting(service, service.submit("selftest", LONG).id)
        launcher = counting(service, service.submit("selftest", LONG).id)
        [victim] = [pid for pid in members(database, program) if pid != program.pid]
        os.kill(victim, signal.SIGKILL)
        assert launcher.pid is not None
        os.kill(launcher.pid, signal.SIGKILL)
        failed, lost = ended(service, program.id), ended(service, launcher.id)
        assert failed.status is JobStatus.FAILED
        assert failed.error is not None and "system killed the program" in failed.error.en
        assert "内存不足" in failed.error.zh
        assert lost.status is JobStatus.LOST
        assert lost.error is not None and "disappeared" in lost.error.en
        assert members(database, lost) == [], "the program does not outlive its launcher"
        service.resume(lost.id)
        until(lambda: service.job(lost.id).attempt == 2)
        service.cancel(lost.id)
        assert ended(service, lost.id).status is JobStatus.CANCELLED


def test_everything_gone_at_once_is_lost(service: JobService, database: Database, home: Path) -> None:
    with worker(home) as first:
        job = counting(service, service.submit("selftest", LONG).id)
        kill(first)
    for pid in members(database, job):
        os.kill(pid, signal.SIGKILL)
    with worker(home):
        assert ended(service, job.id).status is JobStatus.LOST


def test_claimed_but_never_started_goes_back_to_the_queue(service: JobService, database: Database, home: Path) -> None:
    import socket

    from backend.jobs import queue
    from backend.jobs.queue import WorkerIdentity

    job = service.submit("selftest", {"steps": 1}).id
    with database.write() as session:
        assert queue.claim_job(session, WorkerIdentity("dead", socket.gethostname()), [], allow_light=True)
    with worker(home):
        done = ended(service, job)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2)
    assert len(service.events(job, event_kinds=[EventKind.LOG])) == 1


def test_a_used_process_number_is_not_mistaken(service: JobService, database: Database, home: Path) -> None:
    """A row from before a restart names a number that another process has now: it is left alone."""
    bystander = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    try:
        with worker(home) as first:
            job = counting(service, service.submit("selftest", LONG).id)
            kill(first)
        sweep(database)
        with database.write() as session:
            session.get_one(Job, job.id).pid = bystander.pid
        service.cancel(job.id)
        with worker(home):
            assert ended(service, job.id).status is JobStatus.CANCELLED
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_another_machine_gone_silent_loses_its_jobs(service: JobService, database: Database, home: Path) -> None:
    from datetime import timedelta

    from backend.db.base import utc_now

    job = service.submit("selftest", {}).id
    with database.write() as session:
        row = session.get_one(Job, job)
        row.status, row.host, row.worker, row.attempt = JobStatus.RUNNING, "elsewhere", "w", 1
        row.heartbeat_at = utc_now() - timedelta(hours=1)
    with worker(home):
        lost = ended(service, job)
    assert lost.status is JobStatus.LOST
    assert lost.error is not None and "elsewhere" in lost.error.en


APP = """
import sys, time
from backend.db.engine import Database
from backend.jobs.workers import WorkerKeeper
from backend.core.settings import Settings
from backend.worker import WORKER_COMMAND
settings = Settings.load()
keeper = WorkerKeeper(settings, Database(settings.url), WORKER_COMMAND, interval=0.2)
keeper.start()
print("up", flush=True)
time.sleep(600)
"""


def _app(home: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", APP],
        env=os.environ | QUICK | {"ZHUFU_HOME": str(home), "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=subprocess.DEVNULL,
        cwd=PROJECT_ROOT,
    )


def _kept_worker(database: Database) -> ProcessIdentity | None:
    from backend.db.job_tables import WorkerProcess

    with database.read() as session:
        row = session.query(WorkerProcess).one_or_none()
    found = row and ProcessIdentity(row.pid, row.process_start)
    return found if found and found.is_alive else None


def test_the_application_dies_and_comes_back(
    service: JobService, database: Database, home: Path, tmp_path: Path
) -> None:
    """App, worker and app again: the job goes on, one worker at a time, and none stays behind."""
    app = _app(home)
    try:
        job = counting(service, service.submit("selftest", LONG | {"until": str(tmp_path / "finish")}).id)
        first = _kept_worker(database)
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: _kept_worker(database) not in (None, first))
        second = _kept_worker(database)
        kill(app)
        assert service.job(job.id).status is JobStatus.RUNNING
        assert second is not None and second.is_alive, "a job runs, so the worker stays"
        app = _app(home)
        until(lambda: _parent_pid(database) == app.pid)
        assert _kept_worker(database) == second, "the new application keeps the worker it finds"
        kill(app)
        (tmp_path / "finish").touch()
        done = ended(service, job.id)
        assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 1)
        assert done.pid == job.pid
        until(lambda: not second.is_alive)
        assert _kept_worker(database) is None
    finally:
        if app.poll() is None:
            kill(app)


def _parent_pid(database: Database) -> int | None:
    from backend.db.job_tables import WorkerProcess

    with database.read() as session:
        row = session.query(WorkerProcess).one_or_none()
        return row.parent_pid if row else None
