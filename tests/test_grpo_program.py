"""The GRPO program on tiny models: trains, resumes, survives a bad reward, keeps the best."""

import json
import math
import os
from statistics import fmean, stdev
from typing import Any

import pytest

from backend.core.enums import ArtifactKind, EventKind, JobStatus
from backend.db.engine import Database
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.service import JobService
from tests import warm
from tests.grpo_fixtures import TinyHome, make_tiny_home
from tests.job_helpers import members, sweep, until, worker
from tests.llm_fixtures import running

pytestmark = pytest.mark.database


@pytest.fixture(scope="module")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> TinyHome:
    return make_tiny_home(tmp_path_factory.getbasetemp())


JOB = {
    "prompts": 2,
    "generations": 2,
    "batch_size": 4,
    "max_new_tokens": 8,
    "max_length": 60,
    "max_steps": 2,
    "log_every": 1,
    "eval_prompts": 4,
    "gold": "off",
}


@pytest.fixture(scope="module")
def results(tiny_home: TinyHome, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("grpo")
    with running() as fake:
        fake.script(api_key="right")
        environment = os.environ | {
            "ZHUFU_HOME": str(tiny_home.home),
            "ZHUFU_LLM_BASE_URL": fake.base_url,
            "ZHUFU_LLM_MODEL": "fake",
            "ZHUFU_LLM_API_KEY": "wrong",
        }
        done = warm.run("tests.grpo_runs", str(out), env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((out / "results.json").read_text("utf-8"))
    return found


def steps(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["metrics"] if "loss" in row]


def test_a_run_leaves_a_policy_and_its_curves(results: dict[str, Any]) -> None:
    whole = results["whole"]
    assert whole["ended"] == "done"
    assert [row["step"] for row in steps(whole)] == [1, 2, 3, 4]
    last = steps(whole)[-1]
    for name in ("reward", "reward_std", "kl", "completions/mean_length", "frac_reward_zero_std", "unscored"):
        assert math.isfinite(last[name]), name
    assert last["kl"] > 0, "beta above 0 compares with the start"
    readings = [row for row in whole["metrics"] if "gold" in row]
    assert [row["step"] for row in readings] == [0, 2, 4]
    assert readings[0]["gold_excellence"] < 0.05, "nobody has taught it anything"
    assert all(math.isfinite(row[f"held_out/{name}"]) for row in readings for name in ("distinct_2", "self_bleu_4"))
    assert [row["step"] for row in whole["samples"]] == [0, 0, 2, 2, 4, 4]
    assert len({row["prompt"] for row in whole["samples"]}) == 2, "the same requests each time"
    assert {"artifact/model.safetensors", "artifact/artifact.json"} <= set(whole["files"])
    card = whole["card"]["metrics"]
    assert card["best_step"] in (0, 2, 4) and card["stopped"] is None and "start/gold" in card


def test_tokens_are_those_of_greetings_alone(results: dict[str, Any]) -> None:
    whole = results["whole"]
    written = [round(16 * row["completions/mean_length"]) for row in steps(whole)]
    assert whole["tokens"] == sum(written) < steps(whole)[-1]["num_tokens"]


def test_rollouts_and_training_see_the_same_policy(results: dict[str, Any]) -> None:
    [first] = steps(results["dropout"])
    assert results["dropout"]["ended"] == "done" and first["kl"] == pytest.approx(0, abs=1e-6)


def test_a_cap_on_calls_holds_for_all_attempts_together(results: dict[str, Any]) -> None:
    capped = results["capped"]
    assert capped["first"]["ended"] == "stopped" and capped["second"]["ended"].startswith("error: ")
    assert "max_calls = 40" in capped["second"]["ended"]
    assert 0 < capped["calls"][0] < 40 == sum(capped["calls"])


def test_resume_gives_the_curve_of_an_uninterrupted_run(results: dict[str, Any]) -> None:
    assert results["interrupted"]["ended"] == "stopped" and results["resumed"]["ended"] == "done"
    parts = steps(results["interrupted"]) + steps(results["resumed"])
    for name in ("loss", "reward", "kl", "completions/mean_length"):
        assert [row[name] for row in parts] == pytest.approx([row[name] for row in steps(results["whole"])], rel=1e-3)
    readings = [row for part in ("interrupted", "resumed") for row in results[part]["metrics"] if "gold" in row]
    whole = [row for row in results["whole"]["metrics"] if "gold" in row]
    # Gold says that it cannot tell (NaN) of what an untrained model writes.
    assert [row["gold"] for row in readings] == pytest.approx([row["gold"] for row in whole], nan_ok=True)


def test_a_memory_whose_writing_is_broken_off_leaves_the_one_before(results: dict[str, Any]) -> None:
    assert results["torn"] == 1234


def test_an_adapter_is_kept_as_one(results: dict[str, Any]) -> None:
    assert results["lora"]["ended"] == "done"
    assert "artifact/adapter_model.safetensors" in results["lora"]["files"]


def test_groups_without_variance_are_drawn_again_within_bounds(results: dict[str, Any]) -> None:
    resampled = results["resampled"]
    assert resampled["ended"] == "done", resampled["ended"]
    # Two groups of four stale: drawn again, of the two drawn one stale again, and so the one that is left, twice.
    assert resampled["calls"][:4] == [16, 8, 4, 4]
    first = steps(resampled)[0]
    assert (first["resampled_groups"], first["groups_without_variance"]) == (1, 1)
    assert all(math.isfinite(row["loss"]) for row in steps(resampled)) and any(row["loss"] for row in steps(resampled))


def test_rollouts_are_the_policys_own_without_its_guard_against_repetition(results: dict[str, Any]) -> None:
    assert results["resampled"]["guards"] == [0], "what the loss takes for the policy's must have been drawn from it"


def test_words_around_a_request_are_part_of_the_model(results: dict[str, Any]) -> None:
    wrapped = "请只写一条“{request}”，\n不要 {# 解释 #}："
    assert results["templates"]["rendered"] == [[True, wrapped, True]] * 3
    assert results["templates"]["saved"] == wrapped


def test_a_failing_reward_does_not_kill_the_training(results: dict[str, Any]) -> None:
    failing = results["failing"]
    assert failing["ended"] == "done"
    assert [(row["unscored"], row["reward"], row["loss"]) for row in steps(failing)] == [(1.0, None, 0.0)] * 2
    assert [line for line in failing["logs"] if "the judge fell over" in line] == [
        "“odd”没给出评判：RuntimeError: the judge fell over | unscored by odd: RuntimeError: the judge fell over"
    ]


def test_what_trl_makes_of_none(results: dict[str, Any]) -> None:
    """An unscored row moves nothing: advantage 0, and no part in its group's mean and spread."""
    rows = [results["contract"][i : i + 4] for i in range(0, 16, 4)]
    scored = [1.0, 0.0, 1.0]
    expected = [(value - fmean(scored)) / (stdev(scored) + 1e-4) for value in scored]
    assert rows[0] == pytest.approx([expected[0], 0.0, expected[1], expected[2]], abs=1e-4)
    assert rows[1] == rows[2] == [0.0] * 4
    assert rows[3][0] > 0 and rows[3][1] == rows[3][2] == rows[3][3] < 0


def test_a_fitted_judge_as_reward_has_a_gold_that_learnt_from_others(results: dict[str, Any]) -> None:
    assert results["ngram"]["ended"] == "done"
    assert all(0 <= row["reward"] <= 1 for row in steps(results["ngram"]))
    assert any("gold" in row for row in results["ngram"]["metrics"])


def test_a_judge_that_gives_one_value_to_everything_is_named_once(results: dict[str, Any]) -> None:
    assert results["same"]["ended"] == "done"
    told = [line for line in results["same"]["logs"] if line.startswith("警告：")]
    assert len(told) == 1 and "gave 1 to all of the first 32 items" in told[0]
    assert not any(line.startswith("警告") for line in results["ngram"]["logs"])


def test_the_monitor_ends_a_run_and_says_why(results: dict[str, Any]) -> None:
    constant = results["constant"]
    assert constant["ended"] == "done" and steps(constant)[-1]["step"] == 4
    told = [line for line in constant["logs"] if "stops the run" in line]
    assert len(told) == 1 and "equal rewards" in told[0] and "奖励完全相同" in told[0]
    card = constant["card"]["metrics"]
    assert card["best_step"] == 0 and "equal rewards" in card["stopped"]


def test_a_judge_that_nobody_answers_for_ends_the_run(results: dict[str, Any]) -> None:
    refused = results["refused"]
    assert refused["ended"].startswith("error: The reward principle has scored nothing for 2 rollouts in a row")
    assert "拒绝连接" in refused["ended"] and "\n" not in refused["ended"]
    assert [row["unscored"] for row in steps(refused)] == [1.0], "the second rollout ends it"


def test_a_ranking_tells_groups_apart_where_verdicts_do_not(results: dict[str, Any]) -> None:
    verdicts, ranking = results["compared"]["verdicts"], results["compared"]["ranking"]
    assert verdicts["ended"] == ranking["ended"] == "done"
    assert {row["frac_reward_zero_std"] for row in steps(verdicts)} == {1.0}
    assert [(row["frac_reward_zero_std"], row["unscored"]) for row in steps(ranking)] == [(0.0, 0.0)] * 2
    # Four places of a group are worth 1, 2/3, 1/3 and 0: the mean is one half whatever was written.
    assert [row["reward"] for row in steps(ranking)] == pytest.approx([0.5, 0.5])
    assert {row["loss"] for row in steps(verdicts)} == {0.0} and all(row["grad_norm"] > 0 for row in steps(ranking))


def test_a_server_that_is_away_for_two_rollouts_costs_these_two(results: dict[str, Any]) -> None:
    outage = results["outage"]
    assert outage["ended"] == "done"
    assert [row["unscored"] for row in steps(outage)] == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert any("拒绝连接" in line for line in outage["logs"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unauthorised", "does not accept the API key (401)"),
        ("vllm", "vLLM is not installed"),
        ("missing_rm", "cannot be loaded"),
        ("torn_rm", "cannot be loaded (its weights (*.safetensors) are missing or torn)"),
        ("spread", "CPU cores can be used here"),
        ("too_many", "at least 600 are needed"),
    ],
)
def test_what_cannot_work_is_one_sentence(results: dict[str, Any], name: str, words: str) -> None:
    assert results[name]["ended"].startswith("error: ") and words in results[name]["ended"]


@pytest.mark.parametrize("processes", [1, 2])
def test_end_to_end_as_a_job(tiny_home: TinyHome, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    if len(os.sched_getaffinity(0)) < processes:
        pytest.skip("one core only")
    for name in [name for name in os.environ if name.startswith("ZHUFU_")]:
        monkeypatch.delenv(name)
    database = Database(f"sqlite:///{tiny_home.home / 'zhufu.db'}")
    service = JobService(database, tiny_home.home, job_programs=JOB_PROGRAMS)
    config = JOB | {
        "base": str(tiny_home.policy),
        "reward_artifact": str(tiny_home.rm),
        "snapshot": tiny_home.snapshot,
        "processes": processes,
        "batch_size": 4 // processes,
    }
    try:
        with worker(tiny_home.home, OMP_NUM_THREADS="1"):
            job_id = service.submit("grpo", config).id
            until(lambda: service.job(job_id).ended, 90)
        job = service.job(job_id)
        assert job.status is JobStatus.SUCCEEDED, service.log_tail(job_id)
        assert members(database, job) == []
        assert sum(line.startswith("requests: ") for line in service.log_tail(job_id)) == processes
        assert (
            len([event for event in service.events(job_id, event_kinds=[EventKind.METRIC]) if "loss" in event.data])
            == 2
        )
        artifact = max(service.artifacts(ArtifactKind.POLICY), key=lambda one: one.id)
        assert artifact.job_id == job_id and (artifact.path / "model.safetensors").is_file()
    finally:
        sweep(database)
        database.close()
