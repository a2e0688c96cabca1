"""The estimate of GPU memory against arithmetic by hand, and what it offers where a card is too small."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from backend.cli import train_commands
from backend.core.errors import Message, UserError
from backend.core.settings import PROJECT_ROOT
from backend.db.job_tables import WorkerProcess
from backend.jobs import workers
from backend.jobs.device_memory import find_device_memory, machine_memory
from backend.services import Services
from backend.training.memory import FOUR_BIT_BYTES, MemoryEstimator, RewardShape
from backend.training.memory_check import (
    Hardware,
    MemoryVerdict,
    ModelShapes,
    best_hardware,
    estimate_memory,
    format_change,
    judge_memory,
)
from backend.training.memory_lookup import build_hardware
from backend.training.model_shapes import SHAPES_BY_SIZE, find_named_shape, parse_shape
from backend.training.service import TrainingService
from backend.training.settings import TrainingSettings, parse_settings, settings_for
from tests import warm
from ui.components.language import Translator
from ui.training.fields import shown_values
from ui.training.memory import change_label, estimate_html, find_verdict

SEVEN = SHAPES_BY_SIZE["Qwen/Qwen2.5-7B"]
SMALL = SHAPES_BY_SIZE["Qwen/Qwen2.5-1.5B"]
# Of the files on the hub, as their index.json counts them.
PARAMETERS = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
}
# What the publication's GRPO would be without sharding: every weight in float32 under plain DDP.
PUBLISHED: dict[str, Any] = {
    "lora_rank": 0,
    "beta": 0.001,
    "prompts": 32,
    "generations": 4,
    "batch_size": 8,
    "accumulation": 2,
    "processes": 4,
    "max_new_tokens": 512,
    "max_length": 768,
    "gradient_checkpointing": True,
    "reward": "ngram",
    "vllm": "off",
}


def settings(program: str, **values: Any) -> TrainingSettings:
    return parse_settings(program, {"base": "starter", **values})


@pytest.mark.parametrize("name", SHAPES_BY_SIZE)
def test_weights_are_counted_as_the_hub_counts_them(name: str) -> None:
    assert SHAPES_BY_SIZE[name].parameter_count == PARAMETERS[name]


def test_seven_billion_weights_in_float32_are_152_gb() -> None:
    estimator = MemoryEstimator(settings("grpo", **PUBLISHED), SEVEN)
    weights = 7.615616512 * 4
    resident = {part: size / 1e9 for part, size in estimator.resident_parts.items()}
    assert resident == pytest.approx({"weights": weights, "optimizer": 2 * weights, "reference model": weights})
    assert estimator.gradient_bytes / 1e9 == pytest.approx(2 * weights), "a gradient, and DDP's bucket of it"
    # Weights, one gradient, two moments and the reference: 20 bytes each, before anything else.
    assert sum(resident.values()) + weights == pytest.approx(152.3, abs=0.05)
    assert estimator.estimate().total > 180


def test_an_adapter_trains_a_hundredth() -> None:
    # Rank 16 on 28 layers: q, o 3584 + 3584; k, v 3584 + 512; gate, up, down 3584 + 18944.
    numbers = 28 * 16 * (2 * 7168 + 2 * 4096 + 3 * 22_528)
    estimator = MemoryEstimator(settings("sft", lora_rank=16), SEVEN)
    assert estimator.trained_parameters == numbers == 40_370_176
    assert estimator.weight_bytes == 2 * SEVEN.parameter_count + 4 * numbers
    assert (estimator.gradient_bytes, estimator.optimizer_bytes) == (4 * numbers, 8 * numbers)
    assert estimator.reference_bytes == 0
    with_kl = MemoryEstimator(settings("grpo", lora_rank=16, beta=0.1, reward="ngram"), SEVEN)
    assert with_kl.reference_bytes == 0, "the adapter is taken off instead"


def test_four_bits_leave_embeddings_and_norms_as_they_are() -> None:
    four_bits = settings("sft", lora_rank=16).model_copy(update={"quantization": "4bit"})
    matrices = 28 * SEVEN.layer_matrix_parameters
    others = 2 * (SEVEN.parameter_count - matrices)
    assert MemoryEstimator(four_bits, SEVEN).base_bytes == pytest.approx(others + matrices * FOUR_BIT_BYTES)
    assert 5.5e9 < MemoryEstimator(four_bits, SEVEN).base_bytes < 5.6e9


def test_caches_and_reward_models_of_a_rollout() -> None:
    # 28 layers, 2 of keys and values, 4 heads of 128, 2 bytes: 57,344 bytes a token.
    grpo = settings("grpo", **PUBLISHED | {"lora_rank": 16, "processes": 1, "prompts": 64, "reward": "reward_model"})
    reward = RewardShape(SMALL)
    estimator = MemoryEstimator(grpo, SEVEN, reward=reward)
    assert estimator.cache_token_bytes == 57_344
    # Logits in the model's dtype, in float32, over the temperature, and as probabilities.
    last_token = 256 * 768 * 57_344 + 256 * 152_064 * (2 + 4 + 4 + 4)
    # The stream, its norm, and three pieces of the gated part.
    reading = 256 * 256 * (57_344 + 3 * 2 * 3584 + 3 * 2 * 18_944)
    assert estimator.generation_bytes == max(last_token, reading)
    assert estimator.reward_bytes == 2 * (PARAMETERS["Qwen/Qwen2.5-1.5B"]), "tied: no output matrix to leave out"
    assert estimator.estimate().phase == "rollout"
    written_by_vllm = MemoryEstimator(grpo, SEVEN, reward=reward, card_gb=80, uses_vllm=True)
    assert written_by_vllm.vllm_bytes == pytest.approx(0.3 * 80e9)
    assert "rollout" not in written_by_vllm.rollout_parts
    asleep = replace(written_by_vllm, settings=grpo.model_copy(update={"vllm_sleep": True}))
    assert "vLLM" in written_by_vllm.resident_parts and "vLLM" not in asleep.resident_parts
    assert asleep.rollout_parts["vLLM"] == written_by_vllm.vllm_bytes


def test_shards_are_parts_and_offloaded_ones_are_elsewhere() -> None:
    def shares(sharding: str, **more: Any) -> tuple[float, ...]:
        sharded = settings("grpo", **PUBLISHED).model_copy(update={"sharding": sharding, **more})
        estimator = MemoryEstimator(sharded, SEVEN)
        sizes = (estimator.weight_bytes, estimator.gradient_bytes, estimator.optimizer_bytes)
        return tuple(size / SEVEN.parameter_count for size in sizes)

    assert shares("fsdp") == pytest.approx((1, 1, 2))
    assert shares("fsdp", offload=True) == pytest.approx((0, 1, 0))
    assert shares("zero2") == pytest.approx((2, 0.5, 3))
    assert shares("zero3") == pytest.approx((0.5, 0.5, 3))


# What docs/en/gpu.md says of each preset, with every text as long as max_length.
PRESET_GB = {
    ("sft", "one_small_gpu"): (SMALL, 24, 4.0),
    ("reward_model", "one_small_gpu"): (SMALL, 24, 4.7),
    ("dpo", "one_small_gpu"): (SMALL, 24, 4.0),
    ("grpo", "one_small_gpu"): (SMALL, 24, 8.2),
    ("sft", "one_big_gpu"): (SEVEN, 80, 24.7),
    ("reward_model", "one_big_gpu"): (SEVEN, 80, 32.4),
    ("dpo", "one_big_gpu"): (SEVEN, 80, 23.5),
    ("grpo", "one_big_gpu"): (SEVEN, 80, 45.9),
    ("sft", "published"): (SEVEN, 80, 24.7),
    ("reward_model", "published"): (SEVEN, 80, 32.4),
    ("dpo", "published"): (SEVEN, 80, 23.5),
    ("grpo", "published"): (SEVEN, 80, 55.3),
}


@pytest.mark.parametrize(("program", "preset"), PRESET_GB)
def test_every_preset_fits_the_card_it_is_for(program: str, preset: str) -> None:
    shape, card_gb, documented_gb = PRESET_GB[program, preset]
    preset_settings = settings_for(program, preset, {})
    reward = RewardShape(shape) if program == "grpo" else None
    hardware = Hardware((float(card_gb),) * preset_settings.slot_count)
    verdict = judge_memory(preset_settings, ModelShapes(shape, reward), hardware)
    assert verdict.fits and verdict.estimate.total == pytest.approx(documented_gb, abs=0.06)
    for language in ("en", "zh"):
        page = (PROJECT_ROOT / "docs" / language / "gpu.md").read_text("utf-8")
        assert f"{documented_gb:.1f}" in page, (language, program, preset)


def test_shapes_are_read_and_never_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert find_named_shape("Qwen/Qwen2.5-7B-Instruct") == SEVEN
    assert find_named_shape("someone/else") is None
    config = {
        "model_type": "qwen3", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }  # fmt: skip
    shape = parse_shape(config)
    assert shape is not None and (shape.query_size, shape.number_bytes) == (128, 2)
    assert parse_shape(config | {"model_type": "mamba"}) is None and parse_shape({"model_type": "llama"}) is None
    base, adapter, cached = tmp_path / "base", tmp_path / "adapter", tmp_path / "hub" / "models--a--b/snapshots/1"
    for folder, name, text in (
        (base, "config.json", json.dumps(config)),
        (adapter, "adapter_config.json", json.dumps({"base_model_name_or_path": str(base)})),
        (cached, "config.json", json.dumps(config)),
        (tmp_path / "broken", "config.json", "{"),
    ):
        folder.mkdir(parents=True)
        (folder / name).write_text(text, "utf-8")
    assert find_named_shape(str(adapter)) == find_named_shape(str(base)) == find_named_shape("a/b") == shape
    assert find_named_shape(str(tmp_path / "broken")) is None
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(adapter)}), "utf-8")
    assert find_named_shape(str(adapter)) is None, "a circle"


LARGE_SFT = {"lora_rank": 16, "batch_size": 16, "max_length": 768, "accumulation": 2}


@pytest.mark.parametrize(
    ("program", "values", "cards", "change"),
    [
        ("sft", LARGE_SFT, (80.0,), {"gradient_checkpointing": True}),
        ("sft", LARGE_SFT, (24.0,), {"gradient_checkpointing": True, "batch_size": 8, "accumulation": 4}),
        ("sft", LARGE_SFT | {"lora_rank": 0, "gradient_checkpointing": True}, (80.0,), None),
        ("sft", LARGE_SFT, (8.0,), {}),
    ],
)
def test_the_smallest_change_that_fits_is_offered(
    program: str, values: dict[str, Any], cards: tuple[float, ...], change: dict[str, Any] | None
) -> None:
    shapes, hardware, wanted = ModelShapes(SEVEN), Hardware(cards), settings(program, **values)
    verdict = judge_memory(wanted, shapes, hardware)
    assert not verdict.fits
    if change is None:
        assert "lora_rank" in verdict.change, "nothing smaller helps"
    else:
        assert verdict.change == change
    if not verdict.change:
        assert verdict.changed is None and "no setting makes it fit" in verdict.message.en
        return
    changed = parse_settings(program, {**wanted.model_dump(), **verdict.change})
    assert verdict.changed == estimate_memory(changed, shapes, hardware)
    assert verdict.changed.total <= cards[0] and judge_memory(changed, shapes, hardware).fits
    assert format_change(verdict.change) in verdict.message.en and format_change(verdict.change) in verdict.message.zh
    assert f"{cards[0]:.0f} GB of GPU memory" in verdict.message.en
    if "lora_rank" not in verdict.change:
        assert changed.batch_size * changed.accumulation == wanted.batch_size * wanted.accumulation


def test_a_rollout_that_is_too_large_gets_fewer_requests() -> None:
    wide = settings("grpo", **PUBLISHED | {"lora_rank": 16, "processes": 1, "prompts": 512, "generations": 8})
    verdict = judge_memory(wide, ModelShapes(SEVEN), Hardware((80.0,)))
    assert verdict.estimate.phase == "rollout" and set(verdict.change) == {"prompts"}


def with_card(services: Services, gigabytes: float | None) -> TrainingService:
    """Trainings on a worker with one card."""
    with services.database.write() as session:
        own = workers.current_process()
        memory = [gigabytes]
        row = {"host": "a", "home": "/", "pid": own.pid, "process_start": own.start_time}
        session.add(WorkerProcess(name="w", devices=["0"], device_memory=memory, **row))
    return TrainingService(services.jobs)


LARGE = {"base": "Qwen/Qwen2.5-7B-Instruct", **LARGE_SFT}


@pytest.mark.database
def test_what_no_card_holds_is_not_queued(services: Services) -> None:
    trainings = with_card(services, 24.0)
    large = parse_settings("sft", LARGE)
    (problem,) = trainings.find_problems(large, [], [])
    assert problem.change == {"gradient_checkpointing": True, "batch_size": 8, "accumulation": 4}
    assert problem.field == "gradient_checkpointing" and problem.is_estimated
    assert problem.message.en.startswith("This needs about ") and "batch_size = 8" in problem.message.zh
    assert not trainings.find_problems(parse_settings("sft", {**LARGE, **problem.change}), [], [])
    assert not trainings.find_problems(parse_settings("sft", {**LARGE, "memory_check": "warn"}), [], [])
    for unknown in ({"base": "someone/else"}, {"base": "latest"}):
        settings_of_unknown = parse_settings("sft", {**LARGE, **unknown})
        verdict = trainings.judge_memory(settings_of_unknown)
        assert isinstance(verdict, Message) and "cannot tell" in verdict.en
    assert not trainings.find_problems(parse_settings("sft", {**LARGE, "base": "someone/else"}), [], [])


@pytest.mark.database
def test_a_model_that_is_not_there_yet_is_called_what_it_is(services: Services) -> None:
    trainings = with_card(services, 24.0)
    following = parse_settings("sft", {**LARGE, "base": "latest"})
    none_yet = trainings.judge_memory(following)
    assert isinstance(none_yet, Message) and none_yet.zh == "显存：无法估计，还没有训练好的写作模型。"
    trainings.queue(parse_settings("sft", {"base": "starter"}))
    coming = trainings.judge_memory(following)
    assert isinstance(coming, Message) and "before the policy that is being trained is there" in coming.en


@pytest.mark.database
def test_a_card_whose_driver_says_nothing_is_not_judged(services: Services) -> None:
    trainings = with_card(services, None)
    verdict = trainings.judge_memory(parse_settings("sft", LARGE))
    assert isinstance(verdict, Message) and "no worker says" in verdict.en
    assert not trainings.find_problems(parse_settings("sft", LARGE), [], [])


@pytest.mark.database
def test_the_page_offers_the_change(services: Services) -> None:
    trainings = with_card(services, 24.0)
    boxes = shown_values("sft", LARGE)
    verdict = find_verdict(trainings, "sft", boxes)
    assert isinstance(verdict, MemoryVerdict) and "约需" in estimate_html(Translator("zh"), verdict)
    assert change_label(Translator("zh"), verdict) == "改为：省显存（慢约五分之一） = 是，每批条数 = 8，梯度累积 = 4"
    after = find_verdict(trainings, "sft", {**boxes, **verdict.change})
    assert isinstance(after, MemoryVerdict) and after.fits and not change_label(Translator("zh"), after)
    assert "zf-warn" not in estimate_html(Translator("en"), after), "a caption and no warning"
    unknown = find_verdict(trainings, "sft", boxes | {"base": "someone/else"})
    assert "cannot tell" in estimate_html(Translator("en"), unknown) and not change_label(Translator("en"), unknown)
    assert (
        find_verdict(trainings, "sft", boxes | {"epochs": None}) is None and estimate_html(Translator("en"), None) == ""
    )


@pytest.mark.database
def test_a_command_refuses_and_anyway_overrides(services: Services) -> None:
    with_card(services, 24.0)
    app = typer.Typer()
    app.callback()(lambda: None)
    train_commands.register(app)
    sets = [f"--set={name}={value}" for name, value in LARGE.items()]
    refused = CliRunner().invoke(app, ["train", "sft", *sets])
    assert isinstance(refused.exception, UserError) and "--anyway starts it all the same" in str(refused.exception)
    assert not services.jobs.jobs()
    started = CliRunner().invoke(app, ["train", "sft", *sets, "--anyway", "--json"], catch_exceptions=False)
    assert started.exit_code == 0 and "of 24 GB of GPU memory" in started.stderr
    assert services.jobs.jobs()[0].config["memory_check"] == "warn"


def test_cards_say_how_much_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf '0, GPU-a, 24564\\n1, GPU-b, 81559\\n2, GPU-c, [N/A]\\n'\n", "ascii")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert find_device_memory(("1", "GPU-a", "2"), "cpu:") == (79.6, 24.0, None)
    machine = machine_memory()
    assert find_device_memory(("cpu:0", "cpu:1"), "cpu:") == (machine, machine) and machine > 0.5
    assert build_hardware(("1", "0", "2"), (79.6, 24.0, None)) == Hardware((79.6, 24.0))
    assert build_hardware(("cpu:0", "cpu:1"), (16.0, 16.0)) == Hardware((16.0,), on_gpu=False)
    assert build_hardware(("0",), (None,)) is None and build_hardware(("0",), ()) is None
    driver.write_text("#!/bin/sh\nexit 9\n", "ascii")
    assert find_device_memory(("0",), "cpu:") == (None,)


def test_the_worker_with_enough_cards_is_taken() -> None:
    two, one, cpu = Hardware((24.0, 24.0)), Hardware((80.0,)), Hardware((64.0,), on_gpu=False)
    assert best_hardware([two, one, cpu], settings("grpo", **PUBLISHED | {"processes": 2})) == two
    assert best_hardware([two, one, cpu], settings("sft")) == one
    assert best_hardware([cpu], settings("sft")) == cpu and best_hardware([], settings("sft")) is None
    assert best_hardware([two, cpu], settings("sft", device="cpu")) == cpu
    assert best_hardware([cpu], settings("sft", device="cuda")) is None


def test_the_estimate_is_what_torch_would_hold() -> None:
    """A real shape traced on tensors without numbers; `python -m bench.memory_trace` has more."""
    traced = warm.run("bench.memory_trace", "--only", "1.7B Qwen3, adapter", "--json")
    rows = [json.loads(line) for line in traced.stdout.splitlines()]
    assert traced.returncode == 0 and len(rows) == 1, traced.stderr
    assert all(abs(row["difference"]) < 0.03 for row in rows), rows
