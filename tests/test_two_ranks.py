"""Two processes that train one model, with gloo: every program, stopped together, resumed, and in shares (FSDP)."""

import json
import math
import os
from typing import Any

import pytest

from tests import warm
from tests.grpo_fixtures import make_tiny_home

pytestmark = pytest.mark.database
PROGRAMS = ("sft", "by_length", "reward_model", "dpo", "grpo")
IN_SHARES = ("fsdp_sft", "fsdp_resumed", "fsdp_lora", "fsdp_dpo", "fsdp_grpo")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each process reported of each run, and one process alone."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core only")
    home, out = make_tiny_home(tmp_path_factory.getbasetemp()), tmp_path_factory.mktemp("two")
    done = warm.run("tests.two_ranks", str(out), env=os.environ | {"ZHUFU_HOME": str(home.home)})
    assert done.returncode == 0, done.stderr[-20000:]
    return dict(json.loads((out / "results.json").read_text("utf-8")))


def losses(run: dict[str, Any]) -> list[float]:
    """By step."""
    return [run["losses"][step] for step in sorted(run["losses"], key=int)]


@pytest.mark.parametrize("name", [*PROGRAMS, *IN_SHARES])
def test_every_program_trains_one_model_in_two_processes(results: dict[str, Any], name: str) -> None:
    """Before, SFT ended with “'DistributedDataParallel' object has no attribute 'get_decoder'”."""
    first, second = (rank[name] for rank in results["ranks"])
    assert (first["ended"], second["ended"]) == ("done", "done")
    assert first["weights"]["sum"] == second["weights"]["sum"] and math.isfinite(first["weights"]["sum"])
    assert first["losses"] and not second["losses"], "one of them reports"
    weights = "artifact/adapter_model.safetensors" if name == "fsdp_lora" else "artifact/model.safetensors"
    assert {weights, "artifact/artifact.json"} <= set(first["files"])
    assert not [file for file in first["files"] if file.endswith((".bin", ".pt")) or file.startswith("checkpoints")]


@pytest.mark.parametrize("name", ["sft", "fsdp_sft"])
def test_two_processes_learn_what_one_does_with_twice_the_batch(results: dict[str, Any], name: str) -> None:
    assert losses(results["ranks"][0][name]) == pytest.approx(losses(results["alone"]), rel=1e-5)
    assert results["ranks"][0][name]["weights"]["sum"] == pytest.approx(results["alone"]["weights"]["sum"], rel=1e-5)


@pytest.mark.parametrize("prefix", ["", "fsdp_"])
def test_a_request_to_one_process_stops_both_and_the_run_goes_on(results: dict[str, Any], prefix: str) -> None:
    """Before, the other one waited for the first until both were killed."""
    assert [rank[f"{prefix}stopped"]["ended"] for rank in results["ranks"]] == ["stopped"] * 2
    parts = [results["ranks"][0][f"{prefix}{part}"] for part in ("stopped", "resumed")]
    assert losses(parts[0]) + losses(parts[1]) == pytest.approx(losses(results["alone"]), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in IN_SHARES if name != "fsdp_dpo"])
def test_each_process_holds_its_share_in_float32(results: dict[str, Any], name: str) -> None:
    """Also of a model that was loaded and computes in bfloat16."""
    held = [rank[name]["weights"] for rank in results["ranks"]]
    assert all(share["sharded"] and share["dtypes"] == ["torch.float32"] for share in held)
    assert sum(share["held"] for share in held) == held[0]["all"]
    assert all(share["held"] < 0.52 * share["all"] for share in held)


def test_dpo_compares_with_the_same_start_in_shares(results: dict[str, Any]) -> None:
    whole, in_shares = (results["ranks"][0][name] for name in ("dpo", "fsdp_dpo"))
    assert losses(in_shares) == pytest.approx(losses(whole), rel=1e-4)
    assert in_shares["accuracy"] == pytest.approx(whole["accuracy"]) and whole["samples"] == [2]


def test_the_monitor_reads_a_policy_in_shares(results: dict[str, Any]) -> None:
    """Before, it took the model for a whole one, and the first process wrote alone until both were killed."""
    first, second = (rank["fsdp_grpo"] for rank in results["ranks"])
    assert first["readings"] == [0, 2] and first["samples"] == [0, 0, 2, 2]
    assert not second["readings"] and not second["samples"]
    assert results["ranks"][0]["by_length"]["samples"] == [2], "SFT's samples too"


def test_the_reward_model_is_loaded_once_the_device_is_known(results: dict[str, Any]) -> None:
    """Before, each process loaded it onto the first GPU, while no process knew its own."""
    assert [rank["grpo"]["placed"] for rank in results["ranks"]] == [["cpu:0 True"]] * 2
