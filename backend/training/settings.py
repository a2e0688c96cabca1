"""Settings of the training programs, checked before anything starts.

Settings are parsed twice on their way: once where they are entered (a form, a command), and once by the program,
which reads what its job's row holds. In between they travel typed. No torch here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backend.core.errors import UserError
from backend.generation.serving import ARTIFACT_PREFIX, LATEST
from backend.training.presets import DEFAULT_PRESET, OLDER_PRESETS, PRESETS

STARTER = "starter"
_COMPOSED_DESCRIPTION = "Add what is composed of the clauses in data/starter, written for this project."


class TrainingSettings(BaseModel):
    """What every training program understands; `program` is the kind of job that a class of settings is for."""

    program: ClassVar[str]
    # A setting that is misspelt would otherwise train with its default, and nobody would see it.
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
    remote_code: str | None = Field(
        None, description="The base once more, where Python code that comes with it may run; else none does."
    )
    chat_template: Literal["own", "chatml", "plain"] = Field(
        "own", description="Of a base without one: chatml (<|im_start|>…) or plain (request, line break, greeting)."
    )
    thinking: bool = Field(False, description="Bases that can think (Qwen3) think before they answer.")
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
    test_datasets: tuple[str, ...] = Field(
        (),
        description="Data sets that are the test set: none of their requests and texts is trained on, all others are; "
        "empty: a tenth of the requests.",
    )
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
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Numbers of the computation; auto: bfloat16 on a GPU that has it, float16 on an older one."
    )
    quantization: Literal["none", "4bit"] = Field(
        "none", description="4bit: the frozen base in 4 bits (QLoRA, by bitsandbytes); needs LoRA and a GPU."
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        "auto", description="Kernel of the attention; auto: eager on a CPU, the library's choice (sdpa) on a GPU."
    )
    processes: int = Field(
        1, ge=1, le=64, description="Processes, each with its GPU (or CPU core) of one machine (accelerate)."
    )
    sharding: Literal["none", "fsdp", "zero2", "zero3"] = Field(
        "none",
        description="How several GPUs share one model: none (each holds all of it), fsdp or zero3 (weights, "
        "gradients and optimizer in shares), zero2 (gradients and optimizer). The last two need DeepSpeed.",
    )
    offload: bool = Field(False, description="With sharding: the shares rest in the machine's memory (slower).")
    gradient_checkpointing: bool = Field(False, description="Less memory, about a fifth more time.")
    memory_check: Literal["refuse", "warn"] = Field(
        "refuse", description="Where the estimate of memory exceeds the card's: refuse to start, or start anyway."
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of torch; 0 leaves its choice.")
    log_every: int = Field(10, ge=1)
    eval_every: int = Field(200, ge=1)
    save_every: int = Field(
        0, ge=0, description="Steps between two checkpoints; 0: a tenth of all steps, and every 10 minutes."
    )
    sample_every: int = Field(100, ge=1)
    samples: int = Field(4, ge=0, le=64, description="Fixed requests that are answered every sample_every steps.")

    @property
    def slot_count(self) -> int:
        """GPUs that the training takes at a time (or slots of a CPU): one for each process."""
        return self.processes

    @model_validator(mode="after")
    def _check_devices(self) -> Self:
        if self.sharding != "none" and self.processes == 1:
            raise ValueError(f"sharding = {self.sharding} shares a model between processes; set processes above 1")
        if self.sharding != "none" and self.device == "cpu":
            raise ValueError(f"sharding = {self.sharding} needs GPUs; set device = auto or sharding = none")
        if self.offload and self.sharding == "none":
            raise ValueError("offload moves the shares of a sharded model; set sharding as well, or offload = false")
        if self.quantization != "none":
            self._check_quantization()
        if self.device == "cpu" and self.dtype == "float16":
            raise ValueError("dtype = float16 needs a GPU; a CPU computes in float32 or bfloat16")
        if self.device == "cpu" and self.attention == "flash_attention_2":
            raise ValueError("attention = flash_attention_2 needs a GPU; set attention = auto")
        return self

    def _check_quantization(self) -> None:
        if not self.lora_rank:
            raise ValueError("quantization = 4bit freezes the base and trains an adapter; set lora_rank (16, say)")
        if self.sharding != "none":
            raise ValueError("quantization = 4bit keeps a whole base on every GPU; set sharding = none")
        if self.device == "cpu":
            raise ValueError("quantization = 4bit needs a GPU; set device = auto or quantization = none")


class SftSettings(TrainingSettings):
    """Supervised fine-tuning on accepted greetings."""

    program = "sft"

    composed: bool = Field(False, description=_COMPOSED_DESCRIPTION)
    packing: Literal["none", "wrapped", "bfd"] = Field(
        "none",
        description="wrapped: blocks of max_length tokens that cut requests off; bfd: for FlashAttention.",
    )


class RewardModelSettings(TrainingSettings):
    """A reward model on preference pairs."""

    program = "reward_model"

    composed: bool = Field(False, description=_COMPOSED_DESCRIPTION)
    center_rewards: float = Field(0.01, ge=0, le=1, description="Weight of the term that keeps rewards near 0.")
    length_balanced: bool = Field(False, description="Train on pairs in which length says nothing.")
    debias: bool = Field(False, description="Take the length's part out of the reward (see debias.json).")


class DpoSettings(TrainingSettings):
    """A policy trained on preference pairs directly (DPO): no reward model, no judge, one GPU."""

    program = "dpo"

    base: str = Field(LATEST, min_length=1, description="The policy to improve, normally one from SFT.")
    learning_rate: float = Field(1e-5, gt=0, le=1)
    composed: bool = Field(False, description=_COMPOSED_DESCRIPTION)
    length_balanced: bool = Field(False, description="Train on pairs in which length says nothing.")
    beta: float = Field(0.1, gt=0, le=100, description="How strongly the start holds the policy; τ of ipo.")
    loss_type: Literal["sigmoid", "sigmoid_norm", "ipo", "hinge", "robust", "apo_zero", "apo_down"] = Field(
        "sigmoid",
        description="sigmoid: DPO; sigmoid_norm and ipo: by the mean over tokens, so that length counts less.",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Of robust: share of pairs taken for turned.")
    ld_alpha: float = Field(
        1.0, ge=0, le=1, description="Weight of the tokens by which one greeting is longer; below 1 it is LD-DPO."
    )
    sft_weight: float = Field(0.0, ge=0, le=100, description="Weight of learning the chosen greeting as SFT does.")
    precompute_reference: bool = Field(
        False, description="Compute the start's likelihoods once before training: no second model in memory."
    )

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        if self.base == STARTER:
            raise ValueError("base = starter is an untrained model; dpo improves a policy that SFT has trained")
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError("label_smoothing goes with loss_type = robust only")
        # TRL takes the means over all tokens, whatever the weight of the last ones.
        if self.ld_alpha < 1 and self.loss_type in ("sigmoid_norm", "ipo"):
            raise ValueError(f"ld_alpha does not go with loss_type = {self.loss_type}, which takes out length itself")
        return self


# Where the settings of each program are; loaded when asked for.
SETTINGS_CLASSES: dict[str, str] = {
    "sft": "backend.training.settings:SftSettings",
    "reward_model": "backend.training.settings:RewardModelSettings",
    "dpo": "backend.training.settings:DpoSettings",
    "grpo": "backend.training.grpo_settings:GrpoSettings",
}


def find_settings_class(program: str) -> type[TrainingSettings]:
    """The settings class of a program. Raises UserError for a program that there is not."""
    try:
        module_name, class_name = SETTINGS_CLASSES[program].split(":")
        settings_class: type[TrainingSettings] = getattr(import_module(module_name), class_name)
    except (KeyError, ModuleNotFoundError) as error:
        raise UserError(
            f"There is no training program “{program}”; known: {', '.join(SETTINGS_CLASSES)}.",
            f"没有名为“{program}”的训练程序，可用：{'、'.join(SETTINGS_CLASSES)}。",
        ) from error
    return settings_class


def find_presets(program: str, *, with_older: bool = False) -> dict[str, dict[str, Any]]:
    """The presets of a program by name, `with_older` those of earlier versions too.

    Raises UserError for a program that there is not.
    """
    find_settings_class(program)
    return PRESETS[program] | (OLDER_PRESETS.get(program, {}) if with_older else {})


def settings_for(program: str, preset: str | None, setting_values: Mapping[str, Any]) -> TrainingSettings:
    """The preset's values under `setting_values`. Raises UserError naming the preset or the field that is wrong."""
    known_presets = find_presets(program, with_older=True)
    chosen_preset = preset or DEFAULT_PRESET
    if chosen_preset not in known_presets:
        shown_names = find_presets(program)
        raise UserError(
            f"{program} has no preset “{chosen_preset}”; choose one of: {', '.join(shown_names)}.",
            f"{program} 没有名为“{chosen_preset}”的预设，可选：{'、'.join(shown_names)}。",
        )
    return parse_settings(program, {**known_presets[chosen_preset], **setting_values})


def parse_settings(program: str, setting_values: Mapping[str, Any]) -> TrainingSettings:
    """Typed settings. Raises UserError naming the field that is wrong."""
    try:
        settings = find_settings_class(program)(**setting_values)
    except ValidationError as error:
        first_error = error.errors()[0]
        setting_name = ".".join(str(location_part) for location_part in first_error["loc"])
        if first_error["type"] == "extra_forbidden":
            raise _unknown_setting(program, setting_name) from error
        # Pydantic puts this before the words of our own validators.
        explanation = first_error["msg"].removeprefix("Value error, ")
        raise (
            _unusable_setting(setting_name, explanation, first_error["input"])
            if setting_name
            else _conflicting_settings(explanation)
        ) from error
    check_base(settings.base)
    return settings


def parse_assignments(program: str, assignment_texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` as typed on a command line, into values. Raises UserError for one without “=”."""
    setting_fields = find_settings_class(program).model_fields
    setting_values: dict[str, Any] = {}
    for assignment_text in assignment_texts:
        setting_name, equals_sign, value_text = assignment_text.partition("=")
        if not equals_sign or not setting_name:
            raise UserError(f"“{assignment_text}” is not key=value.", f"“{assignment_text}”不是 key=value 的形式。")
        if setting_name not in setting_fields:
            raise _unknown_setting(program, setting_name)
        setting_values[setting_name] = _parse_value(value_text, setting_fields[setting_name].annotation)
    return setting_values


def build_config_check(program: str) -> Callable[[dict[str, Any]], None]:
    """A check of a job's stored configuration, for the queue."""

    def check_config(job_config: dict[str, Any]) -> None:
        parse_settings(program, job_config)

    return check_config


def check_base(base_model: str) -> None:
    """Refuse a folder that holds no model. Raises UserError; hub ids are only known when they are loaded."""
    if base_model in (STARTER, LATEST) or base_model.startswith(ARTIFACT_PREFIX):
        return
    base_path = Path(base_model).expanduser()
    # A hub id has exactly one slash; what looks like a path must exist before the queue takes it.
    is_local = (
        base_path.is_absolute() or base_path.exists() or base_model.startswith((".", "~")) or base_model.count("/") > 1
    )
    if is_local and not any((base_path / file_name).is_file() for file_name in ("config.json", "adapter_config.json")):
        raise UserError(
            f"base “{base_model}” holds no model (config.json is missing); give a model folder or a hub id.",
            f"base “{base_model}” 中没有模型（缺少 config.json），请填写模型文件夹或 Hub 上的模型名。",
        )


def _parse_value(value_text: str, annotation: Any) -> Any:
    if annotation is str:
        return value_text
    if annotation == str | None:
        return value_text or None
    # Names of data sets are typed without quotes and brackets; a JSON list works too.
    if annotation == tuple[str, ...] and not value_text.startswith("["):
        return [list_item for list_item in value_text.split(",") if list_item]
    try:
        return json.loads(value_text)
    # Kept as text: the field's own check says what it wants instead.
    except ValueError:
        return value_text


def _unknown_setting(program: str, setting_name: str) -> UserError:
    setting_names = ", ".join(find_settings_class(program).model_fields)
    return UserError(
        f"{program} has no setting “{setting_name}”; known: {setting_names}.",
        f"{program} 没有设置项“{setting_name}”，可用：{setting_names}。",
    )


def _conflicting_settings(explanation: str) -> UserError:
    """Of several settings together."""
    return UserError(f"These settings do not go together: {explanation}.", f"这些设置互相矛盾：{explanation}，请改正。")


def _unusable_setting(setting_name: str, explanation: str, rejected_input: Any) -> UserError:
    return UserError(
        f"{setting_name} = {rejected_input!r} is not usable: {explanation}; correct {setting_name}.",
        f"{setting_name} 的值 {rejected_input!r} 不可用：{explanation}，请改正。",
    )
