"""What a killed, stopped or crashed training costs: nothing but the steps since its last checkpoint."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.grpo_fixtures import TinyHome, make_tiny_home
from tests.training_helpers import arguments, broken, card, losses, run

pytestmark = pytest.mark.database

STEPS = 6


@pytest.fixture(scope="module")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> TinyHome:
    return make_tiny_home(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZHUFU_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def values(tiny_home: TinyHome) -> dict[str, Any]:
    """An adapter on top of another one, which has to be merged first."""
    return {
        "base": tiny_home.lora,
        "snapshot": _snapshot(tiny_home),
        "lora_rank": 2,
        "max_steps": STEPS,
        "save_every": 2,
        "samples": 0,
        "learning_rate": 0.01,
    }


def _snapshot(tiny_home: TinyHome) -> Path:
    return next((tiny_home.home / "snapshots").iterdir())


def test_killed_and_out_of_disk_at_every_turn_is_like_never(values: dict[str, Any], tmp_path: Path) -> None:
    whole = run("sft", tmp_path / "whole", **values)
    assert whole.returncode == 0, whole.stderr
    out, said = tmp_path / "out", []
    faults = (
        ("kill", ".part/tokenizer_config.json", 1, -9),
        ("kill", "checkpoint-2/trainer_state.json", 1, -9),
        ("full", "checkpoint-4/optimizer.pt", 1, 2),
        ("full", "artifact.new/tokenizer_config.json", 1, 2),
        ("kill", "artifact/README.md", 1, -9),
    )
    merged = Path(os.environ["ZHUFU_HOME"]) / "merged"
    # Out of the way, so that the next run has to merge for itself.
    merged.rename(merged.with_name("merged before"))
    for fault, file, count, code in faults:
        done = broken(fault, file, count, "sft", *arguments(out, "--resume", **values))
        assert done.returncode == code, (file, done.stderr)
        said.append(done.stdout)
        assert not (out / "artifact").exists() or file.startswith("artifact/")
        if fault == "full":
            assert f"error: The disk of {out} is full; free some space and resume." in done.stderr
            assert not list((out / "checkpoints").glob("*.saving"))
    last = run("sft", out, "--resume", **values)
    assert last.returncode == 0, last.stderr
    assert "checkpoint-2 was not written to its end and is removed; going on from the first step" in said[2]
    assert "going on from checkpoint-2" in said[3] and "going on from checkpoint-6" in said[4]
    found: dict[int, float] = {}
    for output in (*said, last.stdout):
        found |= losses(output)
    assert found == losses(whole.stdout)
    assert card(out)["metrics"]["train_loss"] == pytest.approx(card(tmp_path / "whole")["metrics"]["train_loss"])
    assert sorted(path.name for path in out.iterdir()) == ["artifact", "snapshot.txt"]
    assert not list(merged.glob(".*.part"))


def test_a_stop_in_an_evaluation_does_not_wait_for_its_end(values: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = values | {"eval_every": 3, "save_every": 100, "batch_size": 2}
    done = broken("stop", "evaluation", 2, "sft", *arguments(out, **given))
    assert done.returncode == 75, done.stderr
    assert "eval_loss" not in done.stdout and max(losses(done.stdout)) == 3
    assert [path.name for path in (out / "checkpoints").glob("*-*")] == ["checkpoint-3"]
    done = run("sft", out, "--resume", **given)
    assert done.returncode == 0, done.stderr
    assert sorted(losses(done.stdout)) == [4, 5, 6] and "going on from checkpoint-3" in done.stdout


def test_grpo_killed_between_its_artifact_and_its_card_ends_well(tiny_home: TinyHome, tmp_path: Path) -> None:
    out = tmp_path / "out"
    grpo = {
        "base": tiny_home.policy,
        "snapshot": _snapshot(tiny_home),
        "reward": "ngram",
        "gold": "off",
        "prompts": 2,
        "generations": 2,
        "max_new_tokens": 8,
        "max_length": 60,
        "eval_prompts": 4,
        "max_steps": 1,
    }
    done = broken("kill", "artifact/artifact.json", 1, "grpo", *arguments(out, **grpo))
    assert done.returncode == -9, done.stderr
    done = run("grpo", out, "--resume", **grpo)
    assert done.returncode == 0, done.stderr
    assert card(out)["kind"] == "policy" and (out / "artifact" / "model.safetensors").is_file()


def test_a_checkpoint_is_whole_or_not_taken(values: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = broken("kill", "artifact.new/tokenizer_config.json", 1, "sft", *arguments(out, **values | {"max_steps": 2}))
    assert done.returncode == -9, done.stderr
    probed = warm.run("tests.checkpoint_probe", str(out / "checkpoints" / "checkpoint-2"), str(tmp_path / "probe"))
    assert probed.returncode == 0, probed.stderr
    found = json.loads(probed.stdout.splitlines()[-1])
    taken = {name for name, is_taken in found["torn"].items() if is_taken}
    spare = ("README.md", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "training_args.bin")
    # What resuming does not read may be missing; adapter_config.json comes from the settings.
    assert {name for name in taken - {"whole"} if not name.endswith((*spare, "adapter_config.json"))} == set()
    assert found["torn"]["whole"]
    assert found["chosen"] == {
        "removed": ["checkpoint-10", "checkpoint-11"],
        "last": "checkpoint-9",
        "left": ["checkpoint-2", "checkpoint-9", "checkpoint-notes"],
    }
    assert found["quick"] == [12, 24, 36, 48, 60, 72, 84, 96, 108, 120]
    assert found["slow"] == list(range(4, 201, 4)) and found["short"] == [1, 2, 3]
    assert found["explicit"] == [] and found["loss"] == pytest.approx((2 * 2 + 4 * 2 + 6 * 2) / 6)
