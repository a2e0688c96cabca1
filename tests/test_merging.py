"""Adapters merged into their bases: one merge a machine, in the base's dtype, whole or not at all."""

import json
from typing import Any

import pytest

from tests import warm


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process saw."""
    done = warm.run("tests.merging_probe", str(tmp_path_factory.mktemp("merging")))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_merge_has_the_dtype_of_its_base_and_says_what_the_adapter_says(found: dict[str, Any]) -> None:
    merge = found["merge"]
    assert merge["dtypes"] == ["torch.bfloat16"] and merge["end"] == [1, 2]
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(merge["names"])
    # Both weights are rounded to 8 bits; what the adapter changes is far beyond that.
    assert merge["error"] < 0.05 * merge["change"]
    assert found["same key"]


def test_one_of_several_merges_and_a_killed_one_costs_nothing(found: dict[str, Any]) -> None:
    at_once = found["at once"]
    assert at_once == {"killed": -9, "codes": 0, "merges": 2, "drafts": 0}


def test_a_merge_stays_while_somebody_needs_it(found: dict[str, Any]) -> None:
    keeping = found["keeping"]
    assert keeping["torn is merged again"]
    assert [keeping[reason] for reason in ("used", "resumable", "of an adapter", "fresh")] == [[], [], [], []]
    assert keeping["unneeded"] == 1 and keeping["left"] == []


def test_what_hinders_a_merge_is_said_and_leaves_nothing(found: dict[str, Any]) -> None:
    faults = found["faults"]
    assert "No space left" in faults["full before"] and "No space left" in faults["full while"]
    assert "their shapes differ" in faults["other base"] and "cannot be loaded" in faults["torn base"]
    assert faults["stopped"] == "stopped" and faults["left"] == []
