"""Whether a training fits the cards of the workers, and the smallest change with which it would. No torch here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from backend.core.errors import Message, UserError
from backend.training.grpo_settings import GrpoSettings
from backend.training.memory import MemoryEstimate, MemoryEstimator, RewardShape
from backend.training.model_shapes import ModelShape
from backend.training.settings import TrainingSettings, parse_settings

# A frozen model learns through an adapter of this rank, at the rates that the presets for cards have.
ADAPTER_CHANGES: Mapping[str, Mapping[str, Any]] = {
    "sft": {"lora_rank": 16, "learning_rate": 2e-4},
    "reward_model": {"lora_rank": 16, "learning_rate": 2e-4},
    "grpo": {"lora_rank": 16, "learning_rate": 1e-5},
    "dpo": {"lora_rank": 16, "learning_rate": 1e-5},
}
FOUR_BIT_CHANGE = {"quantization": "4bit"}


@dataclass(frozen=True)
class Hardware:
    """What a training may take: GB of each card of one worker, largest first; of a CPU, the machine's memory once."""

    card_memory: tuple[float, ...]
    on_gpu: bool = True

    def memory_for(self, process_count: int) -> float:
        """GB that each of so many processes has: the smallest card that they need, or their share of the machine."""
        if not self.on_gpu:
            return self.card_memory[0] / process_count
        return self.card_memory[min(process_count, len(self.card_memory)) - 1]


@dataclass(frozen=True)
class ModelShapes:
    """Shapes of the models that a training loads: the one to train, and the reward model of a GRPO that has one."""

    base: ModelShape
    reward: RewardShape | None = None


@dataclass(frozen=True)
class MemoryVerdict:
    """How a training fits: `estimate` on cards of `card_gb`, and where it does not, what would.

    `change` holds values by setting, empty where nothing helps; `changed` is the estimate with them.
    """

    estimate: MemoryEstimate
    card_gb: float
    on_gpu: bool
    change: Mapping[str, Any]
    changed: MemoryEstimate | None = None

    @property
    def fits(self) -> bool:
        """Whether the estimate is within the card."""
        return self.estimate.total <= self.card_gb

    @property
    def message(self) -> Message:
        """One sentence: what is needed, of how much, and what to change where that is too much."""
        needed, available = format_gb(self.estimate.total), format_gb(self.card_gb)
        place_en, place_zh = ("GPU memory", "显存") if self.on_gpu else ("memory", "内存")
        figures = Message(
            f"needs about {needed} of {available} GB of {place_en}", f"约需 {needed} GB，{place_zh}有 {available} GB"
        )
        if self.fits:
            return Message(f"This {figures.en}.", f"{figures.zh}。")
        if self.changed is None:
            return Message(
                f"This {figures.en}, and no setting makes it fit any card here; choose a smaller base.",
                f"{figures.zh}，这里没有放得下的设备，改设置也不够；请换小一些的 base。",
            )
        change_text, needed_then = format_change(self.change), format_gb(self.changed.total)
        return Message(
            f"This {figures.en}; set {change_text}, and it needs about {needed_then}.",
            f"{figures.zh}；请设 {change_text}，改后约需 {needed_then} GB。",
        )


def judge_memory(settings: TrainingSettings, shapes: ModelShapes, hardware: Hardware) -> MemoryVerdict:
    """Whether the settings fit, and if not the smallest change that does, checked by the same estimate."""
    estimate = estimate_memory(settings, shapes, hardware)
    card_gb = hardware.memory_for(process_count(settings))
    if estimate.total <= card_gb:
        return MemoryVerdict(estimate, card_gb, hardware.on_gpu, {})
    for change in list_changes(settings, hardware):
        changed_settings = apply_change(settings, change)
        if changed_settings is None:
            continue
        changed = estimate_memory(changed_settings, shapes, hardware)
        if changed.total <= hardware.memory_for(process_count(changed_settings)):
            return MemoryVerdict(estimate, card_gb, hardware.on_gpu, change, changed)
    return MemoryVerdict(estimate, card_gb, hardware.on_gpu, {})


def estimate_memory(settings: TrainingSettings, shapes: ModelShapes, hardware: Hardware) -> MemoryEstimate:
    """GB on one card of this hardware."""
    estimator = MemoryEstimator(
        settings,
        shapes.base,
        reward=shapes.reward,
        card_gb=hardware.memory_for(process_count(settings)),
        uses_vllm=writes_with_vllm(settings, hardware.on_gpu),
        on_gpu=hardware.on_gpu,
    )
    return estimator.estimate()


def process_count(settings: TrainingSettings) -> int:
    """Processes of a training."""
    return int(getattr(settings, "processes", 1))


def writes_with_vllm(settings: TrainingSettings, on_gpu: bool) -> bool:
    """Whether vLLM takes a share of the same card."""
    mode = getattr(settings, "vllm", "off")
    return mode == "colocate" or (mode == "auto" and on_gpu and find_spec("vllm") is not None)


def list_changes(settings: TrainingSettings, hardware: Hardware) -> Iterator[dict[str, Any]]:
    """What could be changed, the least first: settings that leave the result as it is before those that do not."""
    for larger_change in _list_larger_changes(settings, hardware):
        changed_settings = apply_change(settings, larger_change)
        if changed_settings is not None:
            for smaller_change in _list_smaller_changes(changed_settings):
                if larger_change or smaller_change:
                    yield {**larger_change, **smaller_change}


def _list_smaller_changes(settings: TrainingSettings) -> Iterator[dict[str, Any]]:
    """Checkpointing, smaller batches with as many more of them, and shorter rollouts; all with the same update."""
    checkpointing = [{}] if settings.gradient_checkpointing else [{}, {"gradient_checkpointing": True}]
    for rollout_change in _list_rollout_changes(settings):
        batch_size, accumulation = settings.batch_size, settings.accumulation
        while True:
            halved = {"batch_size": batch_size, "accumulation": accumulation}
            batch_change = halved if batch_size != settings.batch_size else {}
            yield from (
                {**checkpointing_change, **batch_change, **rollout_change} for checkpointing_change in checkpointing
            )
            if batch_size % 2:
                break
            batch_size, accumulation = batch_size // 2, accumulation * 2


def _list_rollout_changes(settings: TrainingSettings) -> Iterator[dict[str, Any]]:
    yield {}
    if isinstance(settings, GrpoSettings):
        prompts = settings.prompts
        while prompts % 2 == 0 and prompts > 1:
            prompts //= 2
            yield {"prompts": prompts}


def _list_larger_changes(settings: TrainingSettings, hardware: Hardware) -> Iterator[dict[str, Any]]:
    """Nothing, an adapter, the same over 4-bit weights, or shards on several cards."""
    shards = list(_list_shardings(settings, hardware))
    # Where several cards are taken anyway, splitting the model between them changes nothing of the result.
    if process_count(settings) > 1:
        yield from ({}, *shards)
        shards = []
    else:
        yield {}
    adapter_change = {} if settings.lora_rank else dict(ADAPTER_CHANGES.get(settings.program, {}))
    if adapter_change:
        yield adapter_change
    if hardware.on_gpu and "quantization" in type(settings).model_fields and find_spec("bitsandbytes"):
        yield {**adapter_change, **FOUR_BIT_CHANGE}
    yield from shards


def _list_shardings(settings: TrainingSettings, hardware: Hardware) -> Iterator[dict[str, Any]]:
    fields, card_count = type(settings).model_fields, len(hardware.card_memory)
    if (
        not hardware.on_gpu
        or card_count < 2
        or "sharding" not in fields
        or getattr(settings, "sharding", "none") != "none"
    ):
        return
    processes = process_count(settings)
    sharding_change: dict[str, Any] = {"sharding": "fsdp"}
    if processes == 1:
        sharding_change["processes"] = card_count
        # As many sequences to an update as before.
        if settings.accumulation % card_count == 0:
            sharding_change["accumulation"] = settings.accumulation // card_count
    yield sharding_change
    if "offload" in fields:
        yield {**sharding_change, "offload": True}


def apply_change(settings: TrainingSettings, change: Mapping[str, Any]) -> TrainingSettings | None:
    """The settings with the change; None where they would not go together."""
    try:
        return parse_settings(settings.program, {**settings.model_dump(mode="json"), **change})
    except UserError:
        return None


def format_change(change: Mapping[str, Any]) -> str:
    """`batch_size = 2, accumulation = 16`, as settings are typed in commands."""
    shown = {True: "true", False: "false"}
    return ", ".join(f"{name} = {shown[value] if isinstance(value, bool) else value}" for name, value in change.items())


def format_gb(gigabytes: float) -> str:
    """Whole GB, below 10 with one decimal."""
    return f"{gigabytes:.0f}" if gigabytes >= 9.95 else f"{gigabytes:.1f}"


def best_hardware(worker_hardware: Sequence[Hardware], settings: TrainingSettings) -> Hardware | None:
    """The worker's whose cards give each process most; None where none says how much it has."""
    wanted = [hardware for hardware in worker_hardware if hardware.on_gpu != (settings.device == "cpu")]
    if settings.device == "auto":
        wanted = wanted or list(worker_hardware)
    processes = process_count(settings)
    # Enough cards before large ones: with too few of them the job would wait for ever.
    return max(
        wanted,
        key=lambda hardware: (len(hardware.card_memory) >= processes, hardware.memory_for(processes)),
        default=None,
    )
