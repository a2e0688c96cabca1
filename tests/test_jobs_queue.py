"""One job, one run: two workers on one queue, order, slots, refusals."""

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from backend.core.enums import EventKind, JobStatus
from backend.core.errors import Conflict, NotFound, UserError
from backend.core.processes import identify_process
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.jobs import queue
from backend.jobs.queue import WorkerIdentity
from backend.jobs.records import JobOptions
from backend.jobs.service import JobService
from backend.jobs.worker import Worker
from tests.job_helpers import statuses, sweep, worker
from tests.postgres import EITHER

pytestmark = [pytest.mark.database, EITHER]

ME = WorkerIdentity("me", "here")


@pytest.fixture
def service(database: Database, home: Path) -> Iterator[JobService]:
    yield JobService(database, home)
    sweep(database)


def _claim(database: Database, devices: list[str], *, light: bool = True, owner: WorkerIdentity = ME) -> int | None:
    with database.write() as session:
        held = queue.claim_job(session, owner, devices, allow_light=light)
    return held.job_id if held else None


def test_two_workers_never_take_one_job(service: JobService, home: Path) -> None:
    ids = [service.submit("selftest", {"steps": 1, "seconds": 0.5}).id for _ in range(14)]
    with worker(home, "--once", "--name", "a") as first, worker(home, "--once", "--name", "b") as second:
        assert first.wait(50) == 0
        assert second.wait(50) == 0
    done = [service.job(job_id) for job_id in ids]
    assert {job.status for job in done} == {JobStatus.SUCCEEDED}
    assert {job.attempt for job in done} == {1}
    assert {job.worker for job in done} == {"a", "b"}
    for job in done:
        assert statuses(service, job.id) == ["queued", "running", "succeeded"]
        starts = service.events(job.id, event_kinds=[EventKind.LOG])
        assert len(starts) == 1, "the program ran once"


def test_a_race_for_every_job_has_one_winner(service: JobService, database: Database) -> None:
    rounds, names = 20, "abc"
    ids = [service.submit("selftest", {}).id for _ in range(rounds * len(names))]
    at_once = threading.Barrier(len(names))

    def take(name: str) -> list[int | None]:
        taken = []
        for _ in range(rounds):
            at_once.wait(30)
            taken.append(_claim(database, [], owner=WorkerIdentity(name, "here")))
        return taken

    with ThreadPoolExecutor(len(names)) as pool:
        assert sorted(chain(*pool.map(take, names))) == ids, "every job once"


def test_priority_goes_first_then_age(service: JobService, database: Database) -> None:
    low, first, second = (service.submit("selftest", {}, priority=p).id for p in (0, 5, 5))
    assert [_claim(database, []) for _ in range(4)] == [first, second, low, None]


def test_a_device_is_never_given_away_twice_on_one_host(service: JobService, database: Database) -> None:
    big = service.submit("selftest", {}, slot_count=3).id
    pair, single, other = (service.submit("selftest", {}, slot_count=n).id for n in (2, 1, 1))
    assert _claim(database, ["0", "1"]) == pair
    assert service.job(pair).devices == ("0", "1")
    assert _claim(database, ["0", "1"]) is None
    assert _claim(database, ["0", "1"], owner=WorkerIdentity("sibling", "here")) is None
    assert _claim(database, ["0", "1"], owner=WorkerIdentity("stranger", "there")) == single
    assert service.job(other).status is JobStatus.QUEUED
    assert service.job(big).status is JobStatus.QUEUED


def test_a_full_worker_still_takes_jobs_with_slots(service: JobService, database: Database) -> None:
    service.submit("selftest", {}, priority=1)
    with_slot = service.submit("selftest", {}, slot_count=1).id
    assert _claim(database, ["0"], light=False) == with_slot
    assert _claim(database, ["0"], light=False) is None


def test_only_the_holder_has_the_last_word(service: JobService, database: Database) -> None:
    service.submit("selftest", {})
    with database.write() as session:
        held = queue.claim_job(session, ME, [], allow_light=True)
    assert held is not None
    succeeded = lambda _status: (JobStatus.SUCCEEDED, None)  # noqa: E731
    with database.write() as session:
        assert not queue.finish_attempt(session, "other", held, succeeded)
        assert queue.finish_attempt(session, ME.name, held, succeeded)
        assert not queue.finish_attempt(session, ME.name, held, succeeded)
    assert service.job(held.job_id).progress == 1.0


def test_a_command_holds_a_job_until_its_process_is_gone(service: JobService, database: Database, home: Path) -> None:
    job_id, this_process = service.submit("selftest", {}).id, identify_process(os.getpid())
    assert this_process is not None
    for attempt in (1, None):
        with database.write() as session:
            job = session.get_one(Job, job_id)
            held = queue.claim_in_foreground(session, job, socket.gethostname(), this_process)
            assert (held.attempt if held else None) == attempt, "whoever comes second gets nothing"
    assert _claim(database, []) is None and service.job(job_id).in_foreground
    with database.read() as session:
        worker_here = WorkerIdentity("me", socket.gethostname())
        assert queue.find_orphans(session, worker_here, [], utc_now()) == [], "its process lives"
    with database.write() as session:
        session.get_one(Job, job_id).process_start = "an earlier process of this number"
    assert Worker(database, home).run(once=True) == [job_id]
    ended_job = service.job(job_id)
    assert ended_job.status is JobStatus.LOST and ended_job.error is not None and "disappeared" in ended_job.error.en
    assert statuses(service, job_id) == ["queued", "running", "lost"] and not ended_job.in_foreground


def test_submit_refuses_what_cannot_work(service: JobService, database: Database, home: Path) -> None:
    with pytest.raises(UserError, match="no kind of job called “sing”"):
        service.submit("sing", {})
    with pytest.raises(UserError, match="cannot be stored"):
        service.submit("selftest", {"steps": float("nan")})
    with pytest.raises(UserError, match="slots"):
        service.submit("selftest", {}, slot_count=-1)
    with pytest.raises(NotFound, match="no job 99"):
        service.submit("selftest", {}, parent_id=99)
    full = JobService(database, home, JobOptions.model_construct(min_free_disk_mb=10**12))
    with pytest.raises(UserError, match="MB of disk are free") as refused:
        full.submit("selftest", {})
    assert "磁盘" in refused.value.text("zh")
    assert service.jobs() == []


def test_a_worker_refuses_to_start_on_a_full_disk(service: JobService, database: Database, home: Path) -> None:
    job = service.submit("selftest", {})
    Worker(database, home, options=JobOptions.model_construct(min_free_disk_mb=10**12)).run(once=True)
    failed = service.job(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None and "MB of disk are free" in failed.error.en
    assert failed.pid is None


def test_steering_an_ended_job_says_so(service: JobService, database: Database) -> None:
    job = service.submit("selftest", {}).id
    assert service.cancel(job).status is JobStatus.CANCELLED
    assert service.cancel(job).status is JobStatus.CANCELLED
    with pytest.raises(Conflict, match="nothing to stop"):
        service.pause(job)
    assert service.resume(job).status is JobStatus.QUEUED
    with pytest.raises(Conflict, match="can be resumed"):
        service.resume(job)
    assert service.pause(job).status is JobStatus.PAUSED
    assert _claim(database, []) is None
    again = service.run_again(job)
    assert (again.parent_id, again.kind, again.status) == (job, "selftest", JobStatus.QUEUED)


def test_a_queued_job_says_what_it_waits_for(service: JobService) -> None:
    waiting = service.submit("selftest", {}).waiting
    assert waiting is not None and "No worker is running" in waiting.en


def test_a_second_worker_of_the_same_name_is_refused(home: Path, database: Database) -> None:
    from tests.job_helpers import until

    service = JobService(database, home)
    with worker(home, "--name", "twin"):
        until(service.workers)
        with pytest.raises(Conflict, match="already running"):
            Worker(database, home, worker_name="twin").run(once=True)


def _end(database: Database, job_id: int, status: JobStatus) -> None:
    with database.write() as session:
        assert queue.change_status(session, job_id, list(JobStatus), status)


def test_a_job_waits_until_the_one_it_builds_on_has_succeeded(service: JobService, database: Database) -> None:
    first = service.submit("selftest", {}).id
    second = service.submit("selftest", {}, priority=9, after_id=first).id
    waiting = service.job(second).waiting
    assert waiting is not None and f"until job {first}" in waiting.en
    assert [_claim(database, []) for _ in range(2)] == [first, None]
    _end(database, first, JobStatus.PAUSED)
    assert _claim(database, []) is None
    _end(database, first, JobStatus.SUCCEEDED)
    assert _claim(database, []) == second


@pytest.mark.parametrize("end", [JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.LOST])
def test_what_builds_on_a_job_that_stopped_early_ends_with_a_sentence(
    service: JobService, database: Database, end: JobStatus
) -> None:
    first = service.submit("selftest", {}).id
    second = service.submit("selftest", {}, after_id=first).id
    third = service.submit("selftest", {}, after_id=second).id
    assert _claim(database, []) == first
    _end(database, first, end)
    with database.write() as session:
        assert queue.fail_stranded_jobs(session) == [second, third]
    job = service.job(second)
    assert job.status is JobStatus.FAILED and job.attempt == 0
    assert job.error is not None and f"Job {first}" in job.error.en and f"任务 {first}" in job.error.zh
    with database.read() as session:
        assert not queue.has_startable_job(session)
    service.resume(first)
    service.resume(second)
    assert [_claim(database, []) for _ in range(2)] == [first, None]
    _end(database, first, JobStatus.SUCCEEDED)
    assert _claim(database, []) == second


def test_a_worker_ends_what_waits_for_a_failed_job_in_the_same_run(
    service: JobService, database: Database, home: Path
) -> None:
    first = service.submit("selftest", {"steps": 1, "fail_at": 1}).id
    second = service.submit("selftest", {"steps": 1}, after_id=first).id
    ran = Worker(database, home, options=JobOptions(poll_seconds=0.05)).run(once=True)
    assert (service.job(first).status, service.job(second).status) == (JobStatus.FAILED, JobStatus.FAILED)
    assert set(ran) == {first, second}
    assert service.job(second).attempt == 0


def test_a_job_cannot_wait_for_one_that_is_not_there(service: JobService) -> None:
    with pytest.raises(NotFound):
        service.submit("selftest", {}, after_id=99)
