"""Cancel in every phase leaves no process; pause and resume go on counting."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.enums import EventKind, JobStatus
from backend.core.errors import Conflict
from backend.db.engine import Database
from backend.jobs.outcome import read_stop_seconds, stop_seconds_path
from backend.jobs.service import JobService
from tests.job_helpers import checkpoint, counting, ended, leader, members, statuses, sweep, until, worker

pytestmark = pytest.mark.database

LONG = {"steps": 100_000, "seconds": 0.02}


@pytest.fixture
def service(database: Database, home: Path) -> Iterator[JobService]:
    yield JobService(database, home)
    sweep(database)


def test_cancel_in_every_phase_leaves_no_process(service: JobService, database: Database, home: Path) -> None:
    with worker(home):
        starting = service.submit("selftest", LONG).id
        until(lambda: leader(database, starting))
        service.cancel(starting)  # its program is being loaded and knows no SIGTERM yet
        polite = service.submit("selftest", LONG).id
        deaf = service.submit("selftest", LONG | {"ignore_sigterm": True}).id
        group = service.submit("selftest", LONG | {"child": "group"}).id
        session = service.submit("selftest", LONG | {"child": "session"}).id
        for job_id in (polite, deaf, group, session):
            job = counting(service, job_id)
            alone = 2 if job_id in (polite, deaf) else 3
            assert len(members(database, job)) == alone, "launcher, program and perhaps a grandchild"
            assert service.cancel(job_id).status is JobStatus.CANCELLING
        for job_id in (starting, polite, deaf, group, session):
            job = ended(service, job_id)
            assert job.status is JobStatus.CANCELLED
            assert members(database, job) == []
            assert job.error is None
            assert statuses(service, job_id) == ["queued", "running", "cancelling", "cancelled"]
        exits = [path.name for path in (home / "runs" / str(polite)).glob("exit-*.json")]
        assert exits == ["exit-1.json"], "the polite one ended by itself"


def test_not_cancelled_while_a_process_is_left(service: JobService, database: Database, home: Path) -> None:
    with worker(home, ZHUFU_JOB_GRACE_SECONDS="600"):
        job = counting(service, service.submit("selftest", LONG | {"ignore_sigterm": True}).id)
        service.cancel(job.id)
        seen = checkpoint(job)
        until(lambda: checkpoint(job) > seen + 20)
        assert service.job(job.id).status is JobStatus.CANCELLING
        assert len(members(database, job)) == 2


def test_the_grace_grows_with_what_the_program_needs(service: JobService, home: Path) -> None:
    deaf = LONG | {"ignore_sigterm": True}
    with worker(home, ZHUFU_JOB_GRACE_SECONDS="0.2"):
        quick = counting(service, service.submit("selftest", deaf).id)
        slow = counting(service, service.submit("selftest", deaf | {"stop_seconds": 1}).id)
        assert stop_seconds_path(slow.folder).read_text() == "1.0"
        for job in (quick, slow):
            service.cancel(job.id)
        took = [_seconds_until_ended(service, job.id) for job in (quick, slow)]
    assert took[0] < took[1] and 2 <= took[1] < 8


def _seconds_until_ended(service: JobService, job_id: int) -> float:
    ended(service, job_id)
    at = {event.data.get("status"): event.at for event in service.events(job_id, event_kinds=[EventKind.STATE])}
    return float((at["cancelled"] - at["cancelling"]).total_seconds())


def test_what_a_program_says_of_its_end_is_taken_within_reason(tmp_path: Path) -> None:
    for text, seconds in (("12.5", 12.5), ("nan", 0), ("-3", 0), ("1e9", 3600), ("", 0), ("soon", 0)):
        stop_seconds_path(tmp_path).write_text(text)
        assert read_stop_seconds(tmp_path) == seconds
    assert read_stop_seconds(tmp_path / "nowhere") == 0


def test_pause_and_resume_go_on_counting_in_the_same_folder(service: JobService, home: Path, tmp_path: Path) -> None:
    signal = tmp_path / "finish"
    with worker(home):
        job = counting(service, service.submit("selftest", LONG | {"until": str(signal)}).id)
        assert service.pause(job.id).status is JobStatus.PAUSING
        with pytest.raises(Conflict):
            service.resume(job.id)
        paused = ended(service, job.id)
        stopped_at = checkpoint(paused)
        assert paused.status is JobStatus.PAUSED
        signal.touch()
        service.resume(job.id)
        done = ended(service, job.id)
    assert (done.status, done.attempt, done.progress) == (JobStatus.SUCCEEDED, 2, 1.0)
    assert done.folder == paused.folder
    metrics = service.events(job.id, event_kinds=[EventKind.METRIC])
    assert [event.step for event in metrics] == list(range(1, stopped_at + 2)), "no step lost, none twice"
    assert metrics[-1].data["attempt_start"] == stopped_at


def test_a_cancelled_job_can_go_on(service: JobService, home: Path, tmp_path: Path) -> None:
    signal = tmp_path / "finish"
    with worker(home):
        job = counting(service, service.submit("selftest", LONG | {"until": str(signal)}).id)
        service.cancel(job.id)
        cancelled = ended(service, job.id)
        assert cancelled.status is JobStatus.CANCELLED
        signal.touch()
        service.resume(job.id)
        done = ended(service, job.id)
    assert done.status is JobStatus.SUCCEEDED
    steps = [event.step for event in service.events(job.id, event_kinds=[EventKind.METRIC])]
    assert steps == list(range(1, checkpoint(cancelled) + 1))


def test_two_homes_know_nothing_of_each_other(database: Database, home: Path, tmp_path: Path) -> None:
    from backend.db.migrate import migrate

    other_home = tmp_path / "other"
    other = Database(f"sqlite:///{other_home / 'zhufu.db'}")
    migrate(other)
    here, there = JobService(database, home), JobService(other, other_home)
    try:
        with worker(home), worker(other_home):
            mine, theirs = here.submit("selftest", LONG).id, there.submit("selftest", LONG).id
            assert mine == theirs
            counting(here, mine)
            left = counting(there, theirs)
            here.cancel(mine)
            assert ended(here, mine).status is JobStatus.CANCELLED
            seen = checkpoint(left)
            until(lambda: checkpoint(left) > seen)
            assert there.job(theirs).status is JobStatus.RUNNING
    finally:
        sweep(database)
        sweep(other)
        other.close()
