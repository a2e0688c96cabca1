"""The estimate of GPU memory against a trace of torch's own graph, without a GPU: fake tensors that hold no numbers.

    python -m bench.memory_trace [--json] [--only NAME]

Each row builds a model of a real shape with transformers (and PEFT) on a pretended card, runs two updates of a batch
with TRL's fused output layer under autocast, and reads the highest sum of living tensors from the graph.
Exits 1 where the estimate is more than 10 % away. Nothing is computed, so it takes a minute on any machine.
"""

import argparse
import json
import sys
import weakref
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from backend.training.memory import GIGABYTE, MOMENT_COUNT, MemoryEstimator
from backend.training.model_shapes import SHAPES_BY_SIZE, ModelShape
from backend.training.settings import TrainingSettings, parse_settings

TOLERANCE = 0.10
# Every layer is like the others; of eight a trace takes seconds.
LAYERS = 8
QWEN2 = replace(SHAPES_BY_SIZE["Qwen/Qwen2.5-1.5B"], layer_count=LAYERS)
QWEN3 = replace(SHAPES_BY_SIZE["Qwen/Qwen3-1.7B"], layer_count=LAYERS)
QWEN2_BIG = replace(SHAPES_BY_SIZE["Qwen/Qwen2.5-7B"], layer_count=LAYERS)
ADAPTER = {"lora_rank": 16}
BATCH = {"batch_size": 8, "max_length": 512, "accumulation": 2}


@dataclass(frozen=True)
class Row:
    """One training to trace."""

    name: str
    program: str
    shape: ModelShape
    setting_values: dict[str, Any]

    @property
    def settings(self) -> TrainingSettings:
        """Its settings."""
        return parse_settings(self.program, {"base": "starter", **BATCH, **self.setting_values})


ROWS = (
    Row("1.5B, every weight", "sft", QWEN2, {}),
    Row("1.5B, every weight, checkpointing", "sft", QWEN2, {"gradient_checkpointing": True}),
    Row("1.5B, every weight, float32", "sft", QWEN2, {"dtype": "float32"}),
    Row("1.5B, adapter", "sft", QWEN2, ADAPTER),
    Row("1.5B, adapter, no dropout", "sft", QWEN2, {**ADAPTER, "lora_dropout": 0.0}),
    Row("1.5B, adapter, checkpointing", "sft", QWEN2, {**ADAPTER, "gradient_checkpointing": True}),
    Row("1.7B Qwen3, every weight", "sft", QWEN3, {}),
    Row("1.7B Qwen3, adapter", "sft", QWEN3, ADAPTER),
    Row("7B, adapter, checkpointing", "sft", QWEN2_BIG, {**ADAPTER, "gradient_checkpointing": True}),
    Row("7B, every weight, checkpointing", "sft", QWEN2_BIG, {"gradient_checkpointing": True}),
    Row("1.5B, reward model, adapter", "reward_model", QWEN2, {**ADAPTER, "batch_size": 4}),
    Row(
        "1.5B, reward model, adapter, no dropout",
        "reward_model",
        QWEN2,
        {**ADAPTER, "batch_size": 4, "lora_dropout": 0.0},
    ),
    Row(
        "1.5B, reward model, adapter, checkpointing",
        "reward_model",
        QWEN2,
        {**ADAPTER, "batch_size": 4, "gradient_checkpointing": True},
    ),
    Row("1.5B, reward model, every weight", "reward_model", QWEN2, {"batch_size": 4}),
    Row(
        "1.5B, reward model, every weight, checkpointing",
        "reward_model",
        QWEN2,
        {"batch_size": 4, "gradient_checkpointing": True},
    ),
    Row("1.5B, reward model, every weight, float32", "reward_model", QWEN2, {"batch_size": 4, "dtype": "float32"}),
    Row(
        "1.5B, reward model, adapter, float32", "reward_model", QWEN2, {**ADAPTER, "batch_size": 4, "dtype": "float32"}
    ),
)


def build_model(row: Row) -> Any:
    """The model as the program would train it, of fake tensors."""
    from peft import LoraConfig, get_peft_model
    from transformers import (
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen2ForSequenceClassification,
        Qwen3Config,
        Qwen3ForCausalLM,
    )
    from trl.trainer.utils import add_fused_lm_head

    shape, settings = row.shape, row.settings
    sizes = {
        "vocab_size": shape.vocabulary_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layer_count,
        "num_attention_heads": shape.head_count,
        "num_key_value_heads": shape.key_value_head_count,
        "tie_word_embeddings": shape.has_tied_embeddings,
        "attn_implementation": "sdpa",
    }
    if row.program == "reward_model":
        model = Qwen2ForSequenceClassification(Qwen2Config(**sizes, num_labels=1, pad_token_id=0))
    elif shape.has_query_norm:
        model = Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=shape.head_size))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    assert sum(weight.numel() for weight in model.parameters()) == MemoryEstimator(settings, shape).model_parameters + (
        shape.hidden_size if row.program == "reward_model" else 0
    )
    if row.program != "reward_model":
        add_fused_lm_head(model)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if settings.lora_rank:
        lora = LoraConfig(r=settings.lora_rank, lora_dropout=settings.lora_dropout, target_modules="all-linear")
        # Fake weights cannot be moved, and are where they should be.
        with patch.object(torch.nn.Module, "to", lambda module, *_, **_options: module):
            model = get_peft_model(model, lora)
        if settings.gradient_checkpointing:
            model.enable_input_require_grads()
        if settings.dtype != "float32":
            halve_frozen_weights(model)
    return model.train()


def halve_frozen_weights(model: Any) -> None:
    """As the programs load them; fake weights cannot be converted in place."""
    halved_weights: dict[int, torch.nn.Parameter] = {}  # embedding and output may be one and the same
    for module in model.modules():
        for weight_name, weight in list(module.named_parameters(recurse=False)):
            if not weight.requires_grad:
                halved = torch.nn.Parameter(torch.empty_like(weight, dtype=torch.bfloat16), requires_grad=False)
                setattr(module, weight_name, halved_weights.setdefault(id(weight), halved))


class LivingStorages(TorchDispatchMode):
    """The bytes of every storage that an operation has made and that is still referred to, and the most there were."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.living_bytes = self.peak_bytes = 0
        self._references: dict[int, weakref.ref[Any]] = {}
        for tensor in tensors:
            self._count(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for every operation, of the forward and of the backward pass."""
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, result)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._references:
            return

        def forget(_reference: Any) -> None:
            del self._references[key]
            self.living_bytes -= size

        self._references[key] = weakref.ref(storage, forget)
        self.living_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.living_bytes)


def trace_peak(row: Row) -> float:
    """GB of living tensors at the highest moment of two updates."""
    import trl.kernels.chunked_logprob as logprob

    def fold_nothing(*_arguments: Any, **_options: Any) -> None:
        """A card's kernels work in place, where TRL copies whole tiles without one."""

    no_kernels = patch.multiple(
        logprob, _forward_tile=fold_nothing, _backward_tile=fold_nothing, _addmm_fp32=fold_nothing
    )

    def drop(numbers: torch.Tensor, share: float, training: bool = True, **_options: Any) -> torch.Tensor:
        """A card's own kernel, which keeps a byte for each number; a CPU's keeps a float."""
        return torch.native_dropout(numbers, share, training)[0]

    card_dropout = patch(
        "torch.nn.functional.dropout", lambda x, p=0.5, training=True, _in_place=False: drop(x, p, training)
    )
    with FakeTensorMode(allow_non_fake_inputs=True), no_kernels, card_dropout:
        model = build_model(row)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        moments = [torch.zeros_like(weight) for weight in trained for _ in range(MOMENT_COUNT)]
        with LivingStorages([*model.parameters(), *model.buffers(), *moments]) as storages:
            # With accumulation the gradients of the first batch are there while the second one goes backward.
            for _ in range(2 if row.settings.accumulation > 1 else 1):
                run_update(row, model)
    return storages.peak_bytes / GIGABYTE


def run_update(row: Row, model: Any) -> None:
    """A forward and backward pass of one batch."""
    settings = row.settings
    sequences = settings.batch_size * (2 if row.program == "reward_model" else 1)
    tokens = torch.zeros((sequences, settings.max_length), dtype=torch.long)
    is_half = settings.dtype != "float32"
    inputs = {"input_ids": tokens, "use_cache": False}
    if row.program != "reward_model":
        inputs |= {"labels": tokens, "fused_lm_head": True}
    with torch.autocast("cpu", torch.bfloat16) if is_half else nullcontext():
        outputs = model(**inputs)
        loss = outputs.logits.sum() if row.program == "reward_model" else outputs.log_probs.sum()
    loss.backward()


def estimate_peak(row: Row) -> float:
    """What the estimate says of the same."""
    return MemoryEstimator(row.settings, row.shape).estimate().total


def main() -> None:
    """Print a line for each row; exit 1 beyond the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    options = parser.parse_args()
    is_close = True
    for row in ROWS:
        if options.only not in row.name:
            continue
        traced, estimated = trace_peak(row), estimate_peak(row)
        difference = estimated / traced - 1
        is_close &= abs(difference) <= TOLERANCE
        figures = {"name": row.name, "traced_gb": traced, "estimated_gb": estimated, "difference": difference}
        line = f"{row.name:36} traced {traced:7.2f} GB  estimate {estimated:7.2f} GB  {difference:+.1%}"
        print(json.dumps(figures) if options.json else line, flush=True)
    sys.exit(not is_close)


if __name__ == "__main__":
    main()
