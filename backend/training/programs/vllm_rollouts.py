"""Rollouts by vLLM: what has to be true before TRL starts it, what TRL is given, and a base that stays exact.

TRL loads vLLM after the policy, minutes into a job; what it would stumble over there is looked for before. The
figures of memory are estimates from the model's configuration, on the careful side.
"""

import importlib.util
import math
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from packaging.version import Version
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoConfig

from backend.core.errors import Message, UserError
from backend.training.grpo_settings import GrpoSettings
from backend.training.messages import VLLM_OFF
from backend.training.model_shapes import ModelShape, parse_shape
from backend.training.programs.loading import load_or_explain
from backend.training.programs.program import TrainingRun

# What TRL 1.16 names as supported (`trl.import_utils.is_vllm_available`); it only warns about others.
OLDEST_VERSION, NEWEST_VERSION = "0.22.0", "0.31.0"
# Below, vLLM's kernels gain nothing, and some do not know so narrow a head.
FEWEST_PARAMETERS = 50_000_000
BYTES_A_WEIGHT = 2  # vLLM loads in 16 bits, whatever the policy trains in
# CUDA graphs, buffers and the activations of the 4,096 tokens that TRL lets vLLM read at once.
OVERHEAD_BYTES = 1.5e9
# With fewer requests in the cache at once vLLM is no faster than transformers.
FEWEST_SEQUENCES = 8
SERVER_SECONDS = 5.0
_DIRECT_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class RolloutMachine:
    """What there is for rollouts: vLLM's version (None where it is not installed) and the bytes of one GPU."""

    vllm_version: str | None
    gpu_bytes: int | None

    @classmethod
    def look(cls, device: str) -> "RolloutMachine":
        """This machine, for a policy on `device`."""
        gpu_bytes = torch.cuda.get_device_properties(0).total_memory if device == "cuda" else None
        if importlib.util.find_spec("vllm") is None:
            return cls(None, gpu_bytes)
        try:
            return cls(version("vllm"), gpu_bytes)
        # Run from a checkout, without metadata of a package.
        except PackageNotFoundError:
            return cls(NEWEST_VERSION, gpu_bytes)


def vllm_arguments(training_run: TrainingRun[GrpoSettings], base_model: str) -> dict[str, Any]:
    """What TRL is given about vLLM, for the policy that begins as `base_model`.

    With vllm = auto an obstacle is reported and transformers writes the rollouts. Raises UserError for an obstacle to
    a mode that was asked for by name.
    """
    settings = training_run.settings
    if settings.vllm == "off" or (settings.vllm == "auto" and training_run.device != "cuda"):
        return {"use_vllm": False}
    machine = RolloutMachine.look(training_run.device)
    obstacle = find_obstacle(settings, machine, lambda: read_shape(base_model, settings.revision))
    if obstacle is None:
        return _server_arguments(settings) if settings.vllm == "server" else _colocated_arguments(settings)
    if settings.vllm != "auto":
        raise UserError(f"vllm = {settings.vllm}, but {obstacle.en}", f"vllm = {settings.vllm}，但{obstacle.zh}")
    training_run.report.log(VLLM_OFF.fill(reason_en=obstacle.en, reason_zh=obstacle.zh))
    return {"use_vllm": False}


def read_shape(base_model: str, revision: str | None) -> ModelShape | None:
    """The sizes of a model from its configuration alone; None for an architecture whose weights are not counted."""
    config = load_or_explain(
        base_model, lambda: AutoConfig.from_pretrained(base_model, revision=revision, trust_remote_code=False)
    )
    return parse_shape(config.to_dict())


def find_obstacle(
    settings: GrpoSettings, machine: RolloutMachine, get_shape: Callable[[], ModelShape | None]
) -> Message | None:
    """The first thing that vLLM would stumble over, as the end of a sentence; None where there is none."""
    if obstacle := _version_obstacle(machine.vllm_version):
        return obstacle
    if getattr(settings, "quantization", "none") not in ("none", None):
        return Message(
            "TRL would merge the adapter into 4-bit weights for every rollout, and each merge rounds them; "
            "set vllm=off, or train without quantization.",
            "TRL 每次生成都会把适配器合并进 4 比特权重，每次合并都会带来舍入误差；请设 vllm=off，或不用量化训练。",
        )
    if settings.vllm == "server":
        return _server_obstacle(settings.vllm_server)
    if machine.gpu_bytes is None:
        return Message("this training runs without a GPU; set vllm=off.", "这次训练没有使用 GPU；请设 vllm=off。")
    shape = get_shape()
    if shape is None:
        return None
    if settings.vllm == "auto" and shape.parameter_count < FEWEST_PARAMETERS:
        return Message("a model this small gains nothing by it.", "这么小的模型用它并不更快。")
    return _memory_obstacle(settings, machine.gpu_bytes, shape)


def _version_obstacle(vllm_version: str | None) -> Message | None:
    if vllm_version is None:
        return Message(
            "vLLM is not installed; install “trl[vllm]” or set vllm=off.",
            "没有安装 vLLM，请安装 trl[vllm] 或设为 off。",
        )
    # Without the “+cu129” of a build, which counts as newer than the release.
    if Version(OLDEST_VERSION) <= Version(Version(vllm_version).base_version) <= Version(NEWEST_VERSION):
        return None
    return Message(
        f"TRL works with vLLM {OLDEST_VERSION} to {NEWEST_VERSION}, and {vllm_version} is installed; "
        "install one of those or set vllm=off.",
        f"TRL 支持 vLLM {OLDEST_VERSION} 至 {NEWEST_VERSION}，装的是 {vllm_version}；请换版本或设 vllm=off。",
    )


def _server_obstacle(server_address: str) -> Message | None:
    """None where the server answers that it is well."""
    try:
        with _DIRECT_OPENER.open(f"{server_address.rstrip('/')}/health", timeout=SERVER_SECONDS) as response:
            if response.status == 200:
                return None
    except (urllib.error.URLError, OSError, ValueError):
        pass
    start_command = (
        'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' '
        "--logprobs-mode processed_logprobs --max-logprobs -1"
    )
    return Message(
        f"nothing answers at {server_address}; start it there first ({start_command}) or correct vllm_server.",
        f"{server_address} 没有响应；请先在那里启动（{start_command}），或改正 vllm_server。",
    )


def _memory_obstacle(settings: GrpoSettings, gpu_bytes: int, shape: ModelShape) -> Message | None:
    weights = shape.parameter_count * BYTES_A_WEIGHT
    cache_bytes = 2 * shape.layer_count * shape.key_value_size * BYTES_A_WEIGHT
    sequences = min(FEWEST_SEQUENCES, settings.rollout_size)
    logits = 4 * shape.vocabulary_size * min(settings.rollout_size, 256)
    needed = weights + sequences * settings.max_length * cache_bytes + logits + OVERHEAD_BYTES
    share = settings.vllm_memory
    if needed > share * gpu_bytes:
        return _memory_message(needed, gpu_bytes, share, math.ceil(100 * needed / gpu_bytes) / 100)
    # The policy itself, and what it learns with; asleep, vLLM leaves the whole GPU to them.
    policy = shape.parameter_count * (BYTES_A_WEIGHT if settings.lora_rank else 4 * 4)
    policy = policy / settings.processes if getattr(settings, "sharding", "none") != "none" else policy
    if settings.vllm_sleep or policy + share * gpu_bytes <= gpu_bytes:
        return None
    return Message(
        f"the policy needs {policy / 1e9:.0f} GB and vllm_memory = {share:g} leaves it "
        f"{(1 - share) * gpu_bytes / 1e9:.0f} of {gpu_bytes / 1e9:.0f} GB; lower vllm_memory, or set vllm_sleep=true.",
        f"策略模型需要 {policy / 1e9:.0f} GB，而 vllm_memory = {share:g} 只给它留下 "
        f"{(1 - share) * gpu_bytes / 1e9:.0f} GB（共 {gpu_bytes / 1e9:.0f} GB）；"
        "请减小 vllm_memory，或设 vllm_sleep=true。",
    )


def _memory_message(needed: float, gpu_bytes: int, share: float, enough_share: float) -> Message:
    needed_gb, granted_gb, gpu_gb = needed / 1e9, share * gpu_bytes / 1e9, gpu_bytes / 1e9
    if enough_share >= 0.9:
        return Message(
            f"it needs about {needed_gb:.1f} GB beside the training, and the GPU has {gpu_gb:.0f}; "
            "set vllm=off, or use a server on another GPU.",
            f"它在训练之外约需 {needed_gb:.1f} GB，而显卡共 {gpu_gb:.0f} GB；请设 vllm=off，或在另一张卡上用 server。",
        )
    return Message(
        f"it needs about {needed_gb:.1f} GB, and vllm_memory = {share:g} gives it {granted_gb:.1f} of {gpu_gb:.0f} GB; "
        f"set vllm_memory={enough_share:g}, or vllm=off.",
        f"它约需 {needed_gb:.1f} GB，而 vllm_memory = {share:g} 只给它 {granted_gb:.1f} GB（共 {gpu_gb:.0f} GB）；"
        f"请设 vllm_memory={enough_share:g}，或 vllm=off。",
    )


def _server_arguments(settings: GrpoSettings) -> dict[str, Any]:
    return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": settings.vllm_server}


def _colocated_arguments(settings: GrpoSettings) -> dict[str, Any]:
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": settings.vllm_memory,
        # The whole context of a hub model would need a cache that no share of the GPU holds.
        "vllm_max_model_length": settings.max_length,
        "vllm_enable_sleep_mode": settings.vllm_sleep,
    }


def keep_base_exact(model: Any) -> None:
    """Let `unmerge_adapter` of a PEFT model bring back the very weights that `merge_adapter` met.

    TRL 1.16 gives vLLM an adapter by merging it into the base and taking it out again; in bfloat16 each round leaves
    a rounding error, which after 1,000 rounds is two thirds of a weight (huggingface/trl issue 6688). The frozen
    weights are copied into the machine's memory at the first merge. Nothing happens to a model without an adapter.
    """
    if not isinstance(model, PeftModel):
        return
    tuner, frozen_copies = model.base_model, {}
    merge, unmerge = tuner.merge_adapter, tuner.unmerge_adapter

    def merge_adapter(*arguments: Any, **options: Any) -> None:
        if not frozen_copies:
            frozen_copies.update({name: weight.to("cpu", copy=True) for name, weight in _adapted_weights(model)})
        merge(*arguments, **options)

    def unmerge_adapter() -> None:
        unmerge()
        for name, weight in _adapted_weights(model):
            weight.copy_(frozen_copies[name])

    # What the model itself answers for these two names is looked up there.
    tuner.merge_adapter, tuner.unmerge_adapter = merge_adapter, unmerge_adapter


def _adapted_weights(model: PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """The frozen weights under adapters by the name of their layer, of a sharded model this process's part."""
    for layer_name, layer in model.named_modules():
        if (
            isinstance(layer, BaseTunerLayer)
            and (weight := getattr(layer.get_base_layer(), "weight", None)) is not None
        ):
            # DeepSpeed gathers copies for the merge and drops them afterwards, so nothing drifts.
            if hasattr(weight, "ds_id"):
                continue
            local_weight = weight.detach()
            yield layer_name, local_weight.to_local() if hasattr(local_weight, "to_local") else local_weight
