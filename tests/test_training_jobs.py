"""Training through the real queue and worker, started as a person would: `python -m backend train …`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from backend.cli import train_commands
from backend.core.enums import ArtifactKind, EventKind, JobStatus
from backend.core.errors import UserError
from backend.db.engine import Database
from backend.db.job_tables import Artifact
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.service import JobService
from tests import warm
from tests.job_helpers import QUICK, ended, members, sweep, worker
from tests.training_helpers import TINY, broken, snapshot, within

pytestmark = pytest.mark.database
GONE = {"base": "starter", "reward": "rubric", "endpoint": "gone", "max_length": 160, "batch_size": 64}


@pytest.fixture
def service(database: Database, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobService]:
    """The job room of a home with a little data; nothing is left running."""
    for name, value in (QUICK | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}).items():
        monkeypatch.setenv(name, value)
    snapshot(database, home, tmp_path)
    yield JobService(database, home, job_programs=JOB_PROGRAMS)
    sweep(database)


def train(*arguments: str, **values: Any) -> tuple[int, dict[str, Any]]:
    """Exit code and object of `train … --json`."""
    app = typer.Typer()
    app.callback()(lambda: None)
    train_commands.register(app)
    # On the data of the home alone, which is cheap; DPO came after that preset.
    preset = "starter" if arguments[0] == "dpo" else "starter_cpu"
    sets = [f"--set={name}={value}" for name, value in (TINY | values).items()]
    result = CliRunner().invoke(app, ["train", *arguments, "--preset", preset, *sets, "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout)


def test_policy_then_reward_model(service: JobService, database: Database) -> None:
    code, policy = train("sft", "--wait", max_steps=3, sample_every=3, name="first")
    assert code == 0, policy
    assert set(policy) == {"job", "status", "artifact", "path", "metrics", "error"}
    assert policy["status"] == "succeeded" and policy["metrics"]["steps"] == 3
    events = service.events(policy["job"])
    assert {EventKind.METRIC, EventKind.SAMPLE, EventKind.LOG} <= {event.kind for event in events}
    assert any("loss" in event.data and event.step == 3 for event in events if event.kind == EventKind.METRIC)
    code, rewards = train("reward_model", "--wait", max_steps=2, max_length=128)
    assert code == 0, rewards
    made = {artifact.kind: artifact for artifact in service.artifacts()}
    assert made[ArtifactKind.REWARD_MODEL].parent_id == made[ArtifactKind.POLICY].id == policy["artifact"]
    assert made[ArtifactKind.POLICY].name == "first"
    hashes = {artifact.data_hash for artifact in made.values()}
    assert len(hashes) == 1 and made[ArtifactKind.DATASET_SNAPSHOT].sha256 in hashes
    code, tuned = train("dpo", "--wait", max_steps=1, max_length=192, composed="false")
    assert code == 0 and {"all_accuracy", "ngram_all_accuracy"} <= set(tuned["metrics"]), tuned
    newest = service.artifacts(ArtifactKind.POLICY)[0]
    assert (newest.id, newest.parent_id) == (tuned["artifact"], policy["artifact"]) and newest.data_hash in hashes
    _killed_job_ends_as_if_nothing_had_been(service, database, tuned["artifact"])


def _killed_job_ends_as_if_nothing_had_been(service: JobService, database: Database, policy_id: int) -> None:
    job, count = train("reward_model", max_steps=2, max_length=128)[1]["job"], len(service.artifacts())
    killed = broken("kill", "artifact.new/tokenizer_config.json", 1, "reward_model", "--job", str(job))
    assert killed.returncode == -9 and len(service.artifacts()) == count, killed.stderr
    with database.write() as session:
        first = session.get_one(Artifact, policy_id)
        session.add(Artifact(kind=first.kind, name="newer", path=first.path, sha256=first.sha256))
    for attempt in (2, 3):
        # The third comes after the row was written, as if the second had been killed there.
        done = warm.run("backend.training.programs.reward_model", "--job", str(job))
        assert done.returncode == 0, done.stderr
        assert "step" not in done.stdout and ("checkpoint-2" in done.stdout) == (attempt == 2), done.stdout
    made = [artifact for artifact in service.artifacts() if artifact.job_id == job]
    assert [artifact.parent_id for artifact in made] == [policy_id], "its base is the latest of its first attempt"
    assert made[0].metrics["steps"] == 2 and made[0].metrics["train_loss"] > 0


def test_cancelled_and_resumed(service: JobService, database: Database, home: Path) -> None:
    code, told = train("sft", max_steps=40)
    assert code == 0 and told["status"] == "queued" and told["artifact"] is None
    job = told["job"]
    with worker(home, ZHUFU_JOB_GRACE_SECONDS="60"):
        within(60, lambda: service.events(job, event_kinds=[EventKind.METRIC]))
        service.cancel(job)
        stopped = within(60, lambda: (info := service.job(job)).ended and info)
        assert stopped.status is JobStatus.CANCELLED and members(database, stopped) == []
        assert list((stopped.folder / "checkpoints").glob("checkpoint-*"))
        service.resume(job)
        within(90, lambda: service.job(job).ended)
    assert ended(service, job).status is JobStatus.SUCCEEDED, service.log_tail(job)
    steps = [event.step for event in service.events(job, event_kinds=[EventKind.METRIC]) if "loss" in event.data]
    assert steps == list(range(1, 41))
    assert any("going on from" in line for line in service.log_tail(job))


def test_a_failure_is_said(service: JobService) -> None:
    code, told = train("sft", "--wait", exclude="few")
    assert code == 1 and told["status"] == "failed"
    assert told["error"].startswith("the database holds 0 usable training rows for sft, at least 20 are needed")


def test_bad_settings_never_become_a_job(service: JobService) -> None:
    for program, wrong, told in (
        ("sft", {"learning_rate": 7}, "learning_rate"),
        ("sft", {"base": "artifact:99"}, "base: There is no trained policy “artifact:99”"),
        ("reward_model", {}, "base: There is no trained policy “latest”"),
        ("sft", {"datasets": "nowhere"}, "datasets: There is no data set “nowhere”"),
        ("grpo", GONE, "endpoint: There is no endpoint"),
    ):
        with pytest.raises(UserError, match=told):
            train(program, **wrong)
    assert service.jobs() == [] and "ZHUFU_HOME" in os.environ
