"""Where a model computes, in which numbers, and with which options it is loaded for that.

What is kept in which numbers, by where and how a model is trained:

| | weights | gradients, optimizer | matrix products |
|---|---|---|---|
| CPU | float32 | float32 | float32, bfloat16 where the CPU has it (autocast) |
| GPU, every weight, no sharding | float32 | float32 | bfloat16 or float16 (autocast) |
| GPU, every weight, FSDP | float32 in shares | float32 in shares | bfloat16 or float16, gathered layer by layer |
| GPU, every weight, ZeRO | bfloat16 or float16 | float32 beside float32 weights, in shares | bfloat16 or float16 |
| GPU, LoRA | base bfloat16 or float16, adapter float32 | adapter alone, float32 | bfloat16 or float16 |
| GPU, LoRA on 4 bits | base NF4, adapter bfloat16 (TRL's choice) | adapter alone | bfloat16 or float16 |
"""

import importlib.util
import os
from typing import TYPE_CHECKING, Any

import torch

from backend.core.errors import UserError
from backend.training.programs.environment import assigned_gpus
from backend.training.settings import TrainingSettings

if TYPE_CHECKING:
    from backend.training.programs.program import TrainingRun

FLASH_ATTENTION = "flash_attention_2"
# Names of accelerate's and the trainer's mixed precision.
MIXED_PRECISION_NAMES = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


def choose_device(requested_device: str) -> str:
    """“cuda” or “cpu”. Raises UserError where a GPU was asked for or assigned, and torch sees none."""
    if torch.cuda.is_available():
        return "cpu" if requested_device == "cpu" else "cuda"
    if requested_device == "cuda":
        raise UserError(
            f"device = cuda, but this machine shows no usable GPU ({_missing_gpu_reason()[0]}); "
            "set device=auto or cpu.",
            f"device = cuda，但本机没有可用的 GPU（{_missing_gpu_reason()[1]}），请改为 auto 或 cpu。",
        )
    if requested_device == "auto":
        refuse_unseen_gpu("set device=cpu", "设 device=cpu")
    return "cpu"


def refuse_unseen_gpu(way_out_en: str, way_out_zh: str) -> None:
    """Raises UserError where this process was assigned a GPU that torch does not see.

    On the CPU in its place the work would take a hundred times as long and say nothing, while the GPU is held for it.
    """
    if torch.cuda.is_available() or not (gpu_names := assigned_gpus()):
        return
    en, zh = _missing_gpu_reason()
    raise UserError(
        f"GPU {', '.join(gpu_names)} is assigned to this job, but torch sees none ({en}); mend that, or {way_out_en}.",
        f"已为此任务分配 GPU {'、'.join(gpu_names)}，但 torch 看不到任何 GPU（{zh}），请修复，或{way_out_zh}。",
    )


def _missing_gpu_reason() -> tuple[str, str]:
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build for CPUs", f"torch {torch.__version__} 是 CPU 版"
    return "its driver does not answer", "显卡驱动没有响应"


def choose_compute_dtype(requested_dtype: str, device: str) -> torch.dtype:
    """The numbers of the matrix products on `device`. Raises UserError for float16 on a CPU."""
    if requested_dtype == "float16" and device == "cpu":
        raise UserError(
            "dtype = float16 needs a GPU; on a CPU set dtype=auto, float32 or bfloat16.",
            "dtype = float16 需要 GPU，在 CPU 上请设为 auto、float32 或 bfloat16。",
        )
    if requested_dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[requested_dtype]
    if device == "cuda":
        # Cards before Ampere (T4, V100) only emulate bfloat16, slower than float32; float16 they have.
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    # Without these instructions bfloat16 is emulated, and slower than float32.
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_instructions else torch.float32


def choose_storage_dtype(settings: TrainingSettings, device: str, compute_dtype: torch.dtype) -> torch.dtype:
    """The numbers that the weights of the model to train are loaded in (see the table above)."""
    if device == "cpu":
        return torch.float32
    # A frozen base needs no more digits than it computes with. Of a model that is trained whole, small updates
    # would be rounded away; FSDP raises what is trained to float32 itself while it hands out the shares, and
    # ZeRO keeps float32 weights beside these. So both start from half of the memory.
    keeps_own_copy = settings.lora_rank > 0 or settings.sharding != "none"
    return compute_dtype if keeps_own_copy else torch.float32


def choose_attention(settings: TrainingSettings, device: str, compute_dtype: torch.dtype) -> str | None:
    """Name of the attention's kernel; None leaves it to transformers. Raises UserError for one that cannot run."""
    if settings.attention == FLASH_ATTENTION:
        _check_flash_attention(device, compute_dtype)
    if settings.attention != "auto":
        return settings.attention
    # Of a sequence as short as a greeting the fused kernel of the CPU takes twice as long backwards.
    if device == "cpu":
        return "eager"
    # A padding-free batch is one long sequence, of which the other kernels compute the whole square.
    is_padding_free = getattr(settings, "packing", "none") == "bfd"
    can_flash = is_padding_free and compute_dtype != torch.float32 and _is_installed("flash_attn")
    return FLASH_ATTENTION if can_flash else None


def _check_flash_attention(device: str, compute_dtype: torch.dtype) -> None:
    if device == "cpu" or compute_dtype == torch.float32:
        raise UserError(
            "attention = flash_attention_2 needs a GPU and dtype bfloat16 or float16; set attention=auto.",
            "attention = flash_attention_2 需要 GPU，且 dtype 为 bfloat16 或 float16，请设 attention=auto。",
        )
    if not _is_installed("flash_attn"):
        raise UserError(
            "attention = flash_attention_2, but the package flash-attn is not installed; install it or set "
            "attention=auto.",
            "attention = flash_attention_2，但没有安装 flash-attn，请安装或设 attention=auto。",
        )


def raise_trained_weights(model: torch.nn.Module, compute_dtype: torch.dtype) -> None:
    """Before training in float16: what is trained goes to float32, since the scaler of gradients takes no other.

    TRL puts adapters on 4 bits into bfloat16, which cards that compute in float16 do not have.
    """
    if compute_dtype != torch.float16:
        return
    for weight in model.parameters():
        if weight.requires_grad and weight.dtype in (torch.float16, torch.bfloat16):
            weight.data = weight.data.float()


def build_loading_options(training_run: "TrainingRun[Any]") -> dict[str, Any]:
    """Options of `from_pretrained` for the model to train. Raises UserError for what this machine cannot do."""
    settings, device, compute_dtype = training_run.settings, training_run.device, training_run.compute_dtype
    loading_options: dict[str, Any] = {"dtype": choose_storage_dtype(settings, device, compute_dtype)}
    if attention_name := choose_attention(settings, device, compute_dtype):
        loading_options["attn_implementation"] = attention_name
    if settings.quantization != "none":
        loading_options |= _build_quantization_options(device, compute_dtype)
    return loading_options


def _build_quantization_options(device: str, compute_dtype: torch.dtype) -> dict[str, Any]:
    if device == "cpu":
        raise UserError(
            "quantization = 4bit needs a GPU, and this training runs on the CPU; set quantization=none.",
            "quantization = 4bit 需要 GPU，而此训练在 CPU 上运行，请设 quantization=none。",
        )
    if not _is_installed("bitsandbytes"):
        raise UserError(
            "quantization = 4bit, but bitsandbytes is not installed; install it or set quantization=none.",
            "quantization = 4bit，但没有安装 bitsandbytes，请安装或设 quantization=none。",
        )
    from transformers import BitsAndBytesConfig

    # As in QLoRA (arXiv 2305.14314): NF4, with the scales themselves quantised.
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        # The output layers: a reward model's is fresh and trained whole.
        llm_int8_skip_modules=["lm_head", "score"],
    )
    # Quantised where it is used: a model in 4 bits cannot be moved by the trainer.
    return {"quantization_config": four_bits, "device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}}


def _is_installed(package_name: str) -> bool:
    return importlib.util.find_spec(package_name) is not None
