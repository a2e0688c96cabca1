"""Settings of the training programs and their presets, checked before anything starts. No torch here.

`settings_for("sft", "starter_cpu", {"epochs": 3})` gives the typed settings or raises a UserError that
names the field. What a job row stores is their `model_dump(mode="json")`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import UserError

STARTER = "starter"
LATEST = "latest"
ARTIFACT = "artifact:"
DEFAULT_PRESET = "starter_cpu"
_COMPOSED = "Add what is composed of the clauses in data/starter, written for this project."


class TrainingSettings(BaseModel):
    """What every training program understands."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: str = Field(
        STARTER,
        min_length=1,
        description="Hub id, folder, artifact:N, latest (newest policy) or starter (from scratch).",
    )
    shape: Literal["deep", "wide"] = Field(
        "deep", description="Of the starter: deep (5 × 160) or wide (3 × 128), which learns faster."
    )
    revision: str | None = Field(None, description="Revision of a hub model.")
    name: str | None = Field(None, min_length=1, max_length=120, description="Name of the artifact.")
    snapshot: str | None = Field(None, description="Hash or folder of a data snapshot; default: export one.")
    datasets: tuple[str, ...] = Field(
        (), description="Train on these data sets only; empty means all that people decided or brought."
    )
    panel_pairs: bool = Field(
        False,
        description="Without data sets: also learn from pairs that only a judge labelled (runs of `pairs`).",
    )
    exclude: tuple[str, ...] = Field((), description="Keep requests and texts of these data sets out.")
    seed: int = Field(42, ge=0, lt=2**31)
    epochs: float = Field(1.0, gt=0, le=1000)
    max_steps: int | None = Field(None, ge=1, description="Exactly so many steps, whatever the epochs say.")
    learning_rate: float = Field(2e-4, gt=0, le=1)
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="Lower learns faster in short trainings.")
    warmup: float = Field(0.03, ge=0, le=0.5, description="Share of the steps.")
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_grad_norm: float = Field(1.0, gt=0, le=1000)
    batch_size: int = Field(16, ge=1, le=4096, description="Sequences (or pairs) a device takes at once.")
    accumulation: int = Field(1, ge=1, le=1024, description="Batches to one step.")
    max_length: int = Field(256, ge=16, le=32_768, description="Tokens of request and greeting together.")
    lora_rank: int = Field(0, ge=0, le=512, description="0 trains every weight.")
    lora_alpha: int = Field(32, ge=1, le=1024)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU.")
    gradient_checkpointing: bool = Field(False, description="Less memory, about a fifth more time.")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of torch; 0 leaves its choice.")
    log_every: int = Field(10, ge=1)
    eval_every: int = Field(200, ge=1)
    save_every: int = Field(200, ge=1)
    sample_every: int = Field(100, ge=1)
    samples: int = Field(
        4, ge=0, le=64, description="Fixed requests that are answered every sample_every steps."
    )


class SftSettings(TrainingSettings):
    """Supervised fine-tuning on accepted greetings."""

    composed: bool = Field(False, description=_COMPOSED)
    packing: Literal["none", "wrapped", "bfd"] = Field(
        "none",
        description="wrapped: blocks of max_length tokens that cut requests off; bfd: for FlashAttention.",
    )


class RewardModelSettings(TrainingSettings):
    """A reward model on preference pairs."""

    composed: bool = Field(False, description=_COMPOSED)
    center_rewards: float = Field(
        0.01, ge=0, le=1, description="Weight of the term that keeps rewards near 0."
    )
    length_balanced: bool = Field(False, description="Train on pairs in which length says nothing.")
    debias: bool = Field(False, description="Take the length's part out of the reward (see debias.json).")


SETTINGS: dict[str, str] = {
    "sft": "backend.training_runs.config:SftSettings",
    "reward_model": "backend.training_runs.config:RewardModelSettings",
    "grpo": "backend.training_runs.config_grpo:GrpoSettings",
}
"""Where the settings of each program are; loaded when asked for."""

_QWEN = {"base": "Qwen/Qwen2.5-7B-Instruct", "lora_rank": 16, "lora_alpha": 32, "learning_rate": 2e-4}
_SMALL = {**_QWEN, "base": "Qwen/Qwen2.5-1.5B-Instruct", "gradient_checkpointing": True, "max_length": 512}
_CPU_SFT = {"learning_rate": 3e-3, "epochs": 10, "batch_size": 16, "max_length": 96, "lora_rank": 0}
_STARTER_SFT = {
    **_CPU_SFT,
    "composed": True,
    "shape": "wide",
    "learning_rate": 4e-3,
    "adam_beta2": 0.95,
    "batch_size": 32,
    "epochs": 7,
    "log_every": 50,
    "eval_every": 1000,
    "save_every": 1000,
    "sample_every": 1000,
}
_CPU_RM = {
    "base": LATEST,
    "learning_rate": 5e-4,
    "epochs": 1,
    "batch_size": 32,
    "max_length": 160,
    "lora_rank": 0,
}
_STARTER_RM = {**_CPU_RM, "composed": True, "learning_rate": 2e-3, "epochs": 2}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "sft": {
        "starter_cpu": _CPU_SFT,
        "starter": _STARTER_SFT,
        "one_small_gpu": {**_SMALL, "epochs": 3, "batch_size": 4, "accumulation": 8},
        "one_big_gpu": {**_QWEN, "epochs": 3, "batch_size": 16, "accumulation": 2, "max_length": 768},
        # The publication says "LoRA" of SFT and no more; the reward model's figures stand in.
        "published": {**_QWEN, "epochs": 5, "batch_size": 16, "accumulation": 8, "max_length": 768},
    },
    "reward_model": {
        "starter_cpu": _CPU_RM,
        "starter": _STARTER_RM,
        "one_small_gpu": {**_SMALL, "epochs": 2, "batch_size": 4, "accumulation": 16},
        "one_big_gpu": {**_QWEN, "epochs": 2, "batch_size": 16, "accumulation": 4, "max_length": 768},
        "published": {**_QWEN, "epochs": 5, "batch_size": 16, "accumulation": 8, "max_length": 768},
    },
}
"""Values by program and preset; of the published SFT and reward model: LoRA r = 16, lr 2e-4, 16 × 8."""


def settings_type(program: str) -> type[TrainingSettings]:
    """The settings class of a program. Raises UserError for a program that there is not."""
    try:
        module, name = SETTINGS[program].split(":")
        found: type[TrainingSettings] = getattr(import_module(module), name)
    except (KeyError, ModuleNotFoundError) as error:
        raise UserError(
            f"There is no training program “{program}”; known: {', '.join(SETTINGS)}.",
            f"没有名为“{program}”的训练程序，可用：{'、'.join(SETTINGS)}。",
        ) from error
    return found


def presets(program: str) -> dict[str, dict[str, Any]]:
    """The presets of a program by name."""
    module = import_module(settings_type(program).__module__)
    found: dict[str, dict[str, Any]] = PRESETS.get(program) or module.PRESETS
    return found


def settings_for(program: str, preset: str | None, values: Mapping[str, Any]) -> TrainingSettings:
    """Preset first, then `values`. Raises UserError naming the preset or the field that is wrong."""
    known = presets(program)
    chosen = preset or DEFAULT_PRESET
    if chosen not in known:
        raise UserError(
            f"{program} has no preset “{chosen}”; choose one of: {', '.join(known)}.",
            f"{program} 没有名为“{chosen}”的预设，可选：{'、'.join(known)}。",
        )
    return parse(program, {**known[chosen], **values})


def parse(program: str, values: Mapping[str, Any]) -> TrainingSettings:
    """Typed settings. Raises UserError naming the field that is wrong."""
    try:
        settings = settings_type(program)(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown(program, field) from error
        why = first["msg"].removeprefix("Value error, ")
        raise (_wrong(field, why, first["input"]) if field else _at_odds(why)) from error
    check_base(settings.base)
    return settings


def assignments(program: str, texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` as typed on a command line, into values. Raises UserError for one without “=”."""
    fields = settings_type(program).model_fields
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"“{text}” is not key=value.", f"“{text}”不是 key=value 的形式。")
        if key not in fields:
            raise _unknown(program, key)
        values[key] = _value(value, fields[key].annotation)
    return values


def checker(program: str) -> Callable[[dict[str, Any]], None]:
    """A check of a job's stored configuration, for the queue."""

    def check(config: dict[str, Any]) -> None:
        parse(program, config)

    return check


def check_base(base: str) -> None:
    """Refuse a folder that holds no model. Raises UserError; hub ids are only known when they are loaded."""
    if base in (STARTER, LATEST) or base.startswith(ARTIFACT):
        return
    path = Path(base).expanduser()
    local = path.is_absolute() or path.exists() or base.startswith((".", "~")) or base.count("/") > 1
    if local and not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise UserError(
            f"base “{base}” holds no model (config.json is missing); give a model folder or a hub id.",
            f"base “{base}” 中没有模型（缺少 config.json），请填写模型文件夹或 Hub 上的模型名。",
        )


def _value(text: str, annotation: Any) -> Any:
    if annotation is str:
        return text
    if annotation == str | None:
        return text or None
    if annotation == tuple[str, ...] and not text.startswith("["):
        return [part for part in text.split(",") if part]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unknown(program: str, field: str) -> UserError:
    fields = ", ".join(settings_type(program).model_fields)
    return UserError(
        f"{program} has no setting “{field}”; known: {fields}.",
        f"{program} 没有设置项“{field}”，可用：{fields}。",
    )


def _at_odds(why: str) -> UserError:
    """Of several settings together."""
    return UserError(f"These settings do not go together: {why}.", f"这些设置互相矛盾：{why}，请改正。")


def _wrong(field: str, why: str, given: Any) -> UserError:
    return UserError(
        f"{field} = {given!r} is not usable: {why}; correct {field}.",
        f"{field} 的值 {given!r} 不可用：{why}，请改正。",
    )
