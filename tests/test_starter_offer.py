"""The starter is offered where it is needed, followed while it trains, and never twice."""

from pathlib import Path

import pytest

from backend.core.enums import ArtifactKind, JobStatus
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.job_programs import JOB_PROGRAMS
from backend.jobs import queue, workers
from backend.jobs.queue import WorkerIdentity
from backend.jobs.service import JobService
from backend.training.service import SFT_TIME_SHARE, OfferState, TrainingService, decide_offer, train_unasked

pytestmark = pytest.mark.database

WORKER = WorkerIdentity("w", "here")


@pytest.fixture
def jobs(database: Database, home: Path) -> JobService:
    return JobService(database, home, job_programs=JOB_PROGRAMS)


def end(database: Database, job_id: int, status: JobStatus, **values: object) -> None:
    with database.write() as session:
        assert queue.change_status(session, job_id, list(JobStatus), status, **values)


def works_here(database: Database, home: Path, *devices: str) -> None:
    with database.write() as session:
        workers.register_worker(session, WORKER, home, devices, None)


def test_offered_without_a_gpu_and_not_with_one(jobs: JobService, database: Database, home: Path) -> None:
    assert decide_offer(jobs, "offer").state is decide_offer(jobs, "auto").state is OfferState.OFFERED
    assert decide_offer(jobs, "off").state is OfferState.HIDDEN
    works_here(database, home, "cpu:0")
    assert decide_offer(jobs, "offer").state is OfferState.OFFERED


def test_hidden_where_a_worker_has_a_gpu(jobs: JobService, database: Database, home: Path) -> None:
    works_here(database, home, "0", "1")
    assert decide_offer(jobs, "offer").state is OfferState.HIDDEN


def test_followed_through_both_trainings(jobs: JobService, database: Database, home: Path) -> None:
    policy, judge = TrainingService(jobs).start_starter()
    assert judge.after_id == policy.id
    shown = decide_offer(jobs, "off")
    assert (shown.state, shown.job and shown.job.id, shown.progress) == (OfferState.TRAINING, policy.id, 0.0)
    with database.write() as session:
        session.get_one(Job, policy.id).progress = 0.5
    assert decide_offer(jobs, "offer").progress == pytest.approx(SFT_TIME_SHARE / 2)
    end(database, policy.id, JobStatus.SUCCEEDED, progress=1.0)
    shown = decide_offer(jobs, "offer")
    assert (shown.job and shown.job.id, shown.progress) == (judge.id, pytest.approx(SFT_TIME_SHARE))
    end(database, judge.id, JobStatus.SUCCEEDED)
    made = home / "made"
    made.mkdir()
    (made / "config.json").write_text("{}")
    jobs.add_artifact(ArtifactKind.POLICY, "starter", made, job_id=policy.id)
    assert decide_offer(jobs, "offer").state is OfferState.READY


def test_offered_again_with_the_reason_when_it_failed(jobs: JobService, database: Database) -> None:
    policy, judge = TrainingService(jobs).start_starter()
    end(database, policy.id, JobStatus.FAILED, error_en="The disk is full.", error_zh="磁盘已满。")
    with database.write() as session:
        assert queue.fail_stranded_jobs(session) == [judge.id]
    shown = decide_offer(jobs, "offer")
    assert shown.state is OfferState.OFFERED and shown.failed is not None and shown.failed.zh == "磁盘已满。"
    again, _ = TrainingService(jobs).start_starter()
    assert decide_offer(jobs, "offer").progress == 0.0 and again.id > judge.id


def test_going_on_with_the_policy_goes_on_with_its_reward_model(jobs: JobService, database: Database) -> None:
    trainings = TrainingService(jobs)
    policy, judge = trainings.start_starter()
    end(database, policy.id, JobStatus.LOST)
    with database.write() as session:
        queue.fail_stranded_jobs(session)
    trainings.resume(policy.id)
    assert jobs.job(judge.id).status is JobStatus.QUEUED


def test_alone_only_where_that_is_wished_and_there_is_no_gpu(jobs: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = TrainingService(jobs)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert not train_unasked(trainings, "auto")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not train_unasked(trainings, "offer") and not train_unasked(trainings, "off")
    assert jobs.jobs() == []
    assert train_unasked(trainings, "auto") and len(jobs.jobs()) == 2
    assert not train_unasked(trainings, "auto") and len(jobs.jobs()) == 2
