"""Settings of the programs: presets, and one sentence that names the field for whatever is wrong."""

from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import UserError
from backend.training.presets import PRESET_NAMES
from backend.training.service import STARTER_PRESET
from backend.training.settings import (
    SETTINGS_CLASSES,
    RewardModelSettings,
    build_config_check,
    find_presets,
    parse_assignments,
    parse_settings,
    settings_for,
)


@pytest.mark.parametrize("program", SETTINGS_CLASSES)
@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_presets_are_usable_and_survive_storage(program: str, preset: str) -> None:
    settings = settings_for(program, preset, {})
    assert parse_settings(program, settings.model_dump(mode="json")) == settings
    assert tuple(find_presets(program)) == PRESET_NAMES, "one set of names for all programs"


def test_presets_of_earlier_versions_mean_what_they_did() -> None:
    older = {program: settings_for(program, "starter_cpu", {}) for program in ("sft", "reward_model", "grpo")}
    assert (older["sft"].epochs, older["sft"].batch_size, older["sft"].learning_rate) == (10, 16, 3e-3)
    assert not older["sft"].model_dump()["composed"] and older["reward_model"].learning_rate == 5e-4
    assert older["grpo"].model_dump()["prompts"] == 8 and older["grpo"].max_steps == 56
    with pytest.raises(UserError, match="choose one of: starter, one_small_gpu, one_big_gpu, four_gpus, published"):
        settings_for("sft", "starter_gpu", {})


def test_only_the_one_click_adds_the_writing_corpus() -> None:
    for program in ("sft", "reward_model"):
        composed = {name for name, values in find_presets(program).items() if values.get("composed")}
        assert composed == {STARTER_PRESET} and settings_for(program, STARTER_PRESET, {}).lora_rank == 0


def test_published_reward_model() -> None:
    settings = settings_for("reward_model", "published", {})
    assert isinstance(settings, RewardModelSettings)
    assert (settings.lora_rank, settings.learning_rate, settings.epochs) == (16, 2e-4, 5)
    assert (settings.batch_size, settings.accumulation, settings.center_rewards) == (16, 8, 0)


def test_dpo_starts_from_a_writer_and_takes_options_that_go_together() -> None:
    for values, words in (
        ({"base": "starter"}, "untrained"),
        ({"label_smoothing": 0.1}, "robust only"),
        ({"loss_type": "ipo", "ld_alpha": 0.5}, "ld_alpha does not go with loss_type = ipo"),
    ):
        with pytest.raises(UserError, match=words):
            settings_for("dpo", None, values)
    assert settings_for("dpo", "one_small_gpu", {"loss_type": "sigmoid_norm"}).lora_rank == 16


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"learning_rate": 3}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_length": 1}, "max_length"),
        ({"packing": "tight"}, "packing"),
        ({"lora_rank": -1}, "lora_rank"),
        ({"learning_rat": 1e-3}, "learning_rat"),
        ({"base": "/nowhere/at/all"}, "base"),
        ({"base": ""}, "base"),
    ],
)
def test_what_is_wrong_is_named_before_the_start(values: dict[str, Any], names: str) -> None:
    with pytest.raises(UserError) as caught:
        settings_for("sft", None, values)
    assert names in str(caught.value) and names in caught.value.text("zh")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        build_config_check("sft")(values)


def test_bases(tmp_path: Path) -> None:
    for base in ("starter", "latest", "artifact:3", "Qwen/Qwen2.5-7B-Instruct", "gpt2"):
        assert parse_settings("sft", {"base": base}).base == base
    with pytest.raises(UserError, match="holds no model"):
        parse_settings("sft", {"base": str(tmp_path)})
    (tmp_path / "config.json").write_text("{}")
    assert parse_settings("sft", {"base": str(tmp_path)})


def test_assignments() -> None:
    given = parse_assignments("sft", ["epochs=3", "base=1", "datasets=a,b", 'exclude=["c"]', "name=", "packing=bfd"])
    assert given == {
        "epochs": 3,
        "base": "1",
        "datasets": ["a", "b"],
        "exclude": ["c"],
        "name": None,
        "packing": "bfd",
    }
    assert settings_for("sft", None, given).datasets == ("a", "b")
    with pytest.raises(UserError, match="not key=value"):
        parse_assignments("sft", ["epochs"])
    with pytest.raises(UserError, match="no setting “epoch”"):
        parse_assignments("sft", ["epoch=1"])


def test_unknown_program_and_preset() -> None:
    with pytest.raises(UserError, match="no training program"):
        settings_for("ppo", None, {})
    with pytest.raises(UserError, match="no preset"):
        settings_for("sft", "huge", {})
