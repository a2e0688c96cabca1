"""How much GPU memory a training needs at its peak: an estimate from its settings and the shape of its model.

Counted is what torch's allocator holds at the highest moment (`torch.cuda.max_memory_allocated`), in GB of 10⁹ bytes:
what stays (weights, optimizer states, other models) and the greater of two moments, the backward pass of a batch
and, in GRPO, the writing of a rollout. Every sequence counts as long as `max_length`, the longest there may be.

Two libraries decide most of it, and the figures follow their sources (torch 2.13, transformers 5.23, TRL 1.16):
TRL's language model losses never hold logits of a whole batch but tiles of 4,096 × 32,768
(`trl/kernels/chunked_logprob.py`), and what a layer keeps for its backward pass was counted operation by operation
(`bench/memory_trace.py` compares with a trace of torch's own graph). No torch here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backend.training.grpo_settings import GrpoSettings
from backend.training.model_shapes import ModelShape
from backend.training.settings import TrainingSettings

GIGABYTE = 1e9
# AdamW's two moments, in the dtype of the weight that is trained (torch.optim.AdamW, fused).
MOMENT_COUNT = 2
# NF4 in blocks of 64, whose scales are stored in a byte each and theirs in a float32 for 256 of them (QLoRA with
# “double quantization”, arXiv 2305.14314, section 3).
FOUR_BIT_BYTES = 0.5 + (1 + 4 / 256) / 64
# Tiles in which TRL projects onto the vocabulary.
TILE_TOKENS, TILE_VOCABULARY = 4096, 32_768
# `RewardModelReward` scores so many texts at once.
REWARD_BATCH_SIZE = 64
# A sampled token needs its logits in the model's dtype, in float32, divided by the temperature, and as probabilities.
SAMPLING_COPIES_BYTES = 2 + 3 * 4
# Sorting for top_p adds the sorted logits, their indices, and sums of their probabilities.
SORTING_BYTES = 4 + 8 + 3 * 4
# How many layers' weights are gathered at once: the one that computes and the next one, which is fetched meanwhile.
GATHERED_LAYERS = 2


@dataclass(frozen=True)
class MemoryEstimate:
    """`parts`: GB by name at the peak, which is that of `phase` (“update” or “rollout”)."""

    phase: str
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """GB at the peak on one card."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class RewardShape:
    """The model that gives a GRPO its rewards, and the longest text that it reads, in tokens."""

    shape: ModelShape
    max_length: int = 1024


@dataclass(frozen=True)
class MemoryEstimator:
    """The arithmetic for one program on one card; sizes in bytes unless a name says otherwise.

    `reward` is the reward model of GRPO where it has one. `card_gb` is the memory of the card, of which vLLM takes
    its share; `uses_vllm` is whether it writes the rollouts on the same card. `on_gpu` is false for a CPU, where
    attention is eager and nothing is frozen in half precision.
    """

    settings: TrainingSettings
    shape: ModelShape
    reward: RewardShape | None = None
    card_gb: float = 0.0
    uses_vllm: bool = False
    on_gpu: bool = True

    def estimate(self) -> MemoryEstimate:
        """The greater of the two moments, part by part."""
        phases = [MemoryEstimate("update", self._in_gigabytes(self.resident_parts | self.update_parts))]
        if isinstance(self.settings, GrpoSettings):
            phases.append(MemoryEstimate("rollout", self._in_gigabytes(self.resident_parts | self.rollout_parts)))
        return max(phases, key=lambda phase: phase.total)

    @property
    def resident_parts(self) -> dict[str, float]:
        """What is there from the first update to the last."""
        parts = {
            "weights": self.weight_bytes,
            "optimizer": self.optimizer_bytes,
            "reference model": self.reference_bytes,
            "reward model": self.reward_bytes,
            "vLLM": 0.0 if self.setting("vllm_sleep", False) else self.vllm_bytes,
        }
        return {part_name: part_bytes for part_name, part_bytes in parts.items() if part_bytes}

    @property
    def update_parts(self) -> dict[str, float]:
        """What a forward and backward pass adds at the highest of its moments."""
        moments = (self.output_moment, self.layer_moment, self.embedding_moment)
        parts = {
            "gradients": self.gradient_bytes,
            "gathered layers": self.gathered_bytes,
            **max(moments, key=lambda moment: sum(moment.values())),
        }
        return {part_name: part_bytes for part_name, part_bytes in parts.items() if part_bytes}

    @property
    def rollout_parts(self) -> dict[str, float]:
        """What writing a rollout adds; gradients are gone by then (`zero_grad(set_to_none=True)`)."""
        parts = {
            "rollout": 0.0 if self.uses_vllm else self.generation_bytes,
            "half-precision copies": 0.0 if self.uses_vllm else self.cast_bytes,
            "gathered layers": 0.0 if self.uses_vllm else self.gathered_bytes,
            # Asleep it has let go of its share, and is woken for each rollout.
            "vLLM": self.vllm_bytes if self.setting("vllm_sleep", False) else 0.0,
        }
        # The reward model reads the rollout once it is written, when its cache is free again.
        scoring_bytes = self.scoring_bytes
        if scoring_bytes > sum(parts.values()):
            parts = {"scoring": scoring_bytes}
        return {part_name: part_bytes for part_name, part_bytes in parts.items() if part_bytes}

    # What the numbers are stored in.

    @property
    def trains_adapter(self) -> bool:
        """Whether an adapter is trained and the weights are frozen."""
        return self.settings.lora_rank > 0

    @property
    def is_half(self) -> bool:
        """Whether products are computed in bfloat16 or float16."""
        return self.settings.dtype != "float32" and self.on_gpu

    @property
    def is_quantized(self) -> bool:
        """Whether the frozen matrices are stored in 4 bits (QLoRA)."""
        return bool(self.setting("quantization", "none") == "4bit")

    @property
    def weight_number_bytes(self) -> int:
        """Of a weight of the model: frozen ones are loaded in half precision, trained ones in float32.

        Sharded training computes with half-precision copies of float32 shards, so there the stream is half as well.
        """
        return 2 if self.is_half and self.trains_adapter else 4

    @property
    def stream_bytes(self) -> int:
        """Of a number that goes from layer to layer: that of the embedding's weights as they compute."""
        return 2 if self.is_half and (self.trains_adapter or self.sharding != "none") else 4

    @property
    def compute_bytes(self) -> int:
        """Of a number that a product is computed with."""
        return 2 if self.is_half else 4

    # How many cards there are, and what is split between them.

    def setting(self, setting_name: str, default: Any) -> Any:
        """A setting that not every program has."""
        return getattr(self.settings, setting_name, default)

    @property
    def process_count(self) -> int:
        """Processes, each with a card of its own."""
        return int(self.setting("processes", 1))

    @property
    def sharding(self) -> str:
        """none, fsdp, zero2 or zero3."""
        return str(self.setting("sharding", "none"))

    @property
    def is_offloaded(self) -> bool:
        """Whether shards wait in the machine's memory instead of the card's."""
        return self.sharding != "none" and bool(self.setting("offload", False))

    def share(self, kind: str) -> float:
        """Which share of a kind of number (“weights”, “gradients”, “optimizer”) one card holds.

        ZeRO stage 2 splits gradients and optimizer states, stage 3 and FSDP the weights too (arXiv 1910.02054,
        figure 1; torch FSDP2 `fully_shard`). Offloading leaves none of what is split on the card, but gradients until
        they are copied.
        """
        if self.sharding == "none" or (self.sharding == "zero2" and kind == "weights"):
            return 1.0
        return 0.0 if self.is_offloaded and kind != "gradients" else 1 / self.process_count

    # What stays.

    @property
    def trained_parameters(self) -> int:
        """Numbers that are trained."""
        if self.trains_adapter:
            return self.shape.adapter_parameters(self.settings.lora_rank)
        return self.model_parameters

    @property
    def model_parameters(self) -> int:
        """Numbers of the model; a reward model has one output instead of a vocabulary of them."""
        return self.shape.body_parameters if self.settings.program == "reward_model" else self.shape.parameter_count

    @property
    def adapter_number_bytes(self) -> int:
        """PEFT keeps adapters in float32 (`autocast_adapter_dtype`); TRL casts them to bfloat16 over 4-bit weights."""
        return 2 if self.is_quantized else 4

    @property
    def trained_number_bytes(self) -> int:
        """Of a number that is trained."""
        return self.adapter_number_bytes if self.trains_adapter else 4

    @property
    def base_bytes(self) -> float:
        """One whole copy of the model, without an adapter."""
        matrices = self.shape.layer_count * self.shape.layer_matrix_parameters if self.is_quantized else 0
        return (self.model_parameters - matrices) * self.weight_number_bytes + matrices * FOUR_BIT_BYTES

    @property
    def weight_bytes(self) -> float:
        """The model, and the adapter beside it.

        DeepSpeed keeps a half-precision copy to compute with and counts the float32 weights among the optimizer's.
        """
        adapter_bytes = self.trained_parameters * self.adapter_number_bytes if self.trains_adapter else 0
        base_bytes = self.model_parameters * 2 if self.is_deepspeed and self.is_half else self.base_bytes
        return (base_bytes + adapter_bytes) * self.share("weights")

    @property
    def is_deepspeed(self) -> bool:
        """Whether DeepSpeed does the sharding."""
        return self.sharding in ("zero2", "zero3")

    @property
    def optimizer_bytes(self) -> float:
        """The two moments of AdamW (`torch.optim.AdamW`, arXiv 1711.05101), with DeepSpeed the float32 weights too."""
        number_bytes = MOMENT_COUNT * self.trained_number_bytes
        if self.is_deepspeed and self.is_half:
            number_bytes = (MOMENT_COUNT + 1) * 4
        return self.trained_parameters * number_bytes * self.share("optimizer")

    @property
    def reference_bytes(self) -> float:
        """A second copy that stays as it was at the start: only where every weight is trained and held near it.

        TRL loads it in the policy's dtype where beta > 0 (`grpo_trainer.py`, “Reference model”) and takes an adapter
        off instead of loading one; DPO does without it where its figures are computed before (`dpo_trainer.py`).
        Where a model is sharded it is loaded in half precision, and only what is trained is raised to float32.
        """
        needs_reference = self.setting("beta", 0) > 0 and not self.setting("precompute_reference", False)
        if self.trains_adapter or not needs_reference:
            return 0.0
        number_bytes = 2 if self.is_half and self.sharding != "none" else self.weight_number_bytes
        return self.model_parameters * number_bytes * self.share("weights")

    @property
    def reward_bytes(self) -> float:
        """The reward model, whole on every card, in the dtype of its file."""
        if self.reward is None:
            return 0.0
        return self.reward.shape.body_parameters * (self.reward.shape.number_bytes if self.on_gpu else 4)

    @property
    def vllm_bytes(self) -> float:
        """What vLLM reserves when it starts on the same card (`gpu_memory_utilization`): weights and cache."""
        return self.setting("vllm_memory", 0.0) * self.card_gb * GIGABYTE if self.uses_vllm else 0.0

    # What an update adds.

    @property
    def gradient_bytes(self) -> float:
        """A gradient of every trained number; without sharding DDP copies them into buckets (`torch…DDP`).

        accelerate leaves `gradient_as_bucket_view` off, so buckets are a second copy.
        """
        number_bytes = 2 if self.is_deepspeed and self.is_half else self.trained_number_bytes
        copies = 2 if self.sharding == "none" and self.process_count > 1 else 1
        return self.trained_parameters * number_bytes * copies * self.share("gradients")

    @property
    def batch_tokens(self) -> int:
        """Tokens of the sequences that one card takes at once; of a pair there are two."""
        sequences = 2 if self.settings.program in ("reward_model", "dpo") else 1
        return sequences * self.settings.batch_size * self.settings.max_length

    @cached_property
    def layer(self) -> "LayerActivations":
        """What one layer keeps."""
        return LayerActivations(self)

    @property
    def activation_bytes(self) -> float:
        """What the layers keep until their backward pass; with checkpointing their inputs alone (arXiv 1604.06174)."""
        kept_bytes = self.layer.token_bytes
        if self.settings.gradient_checkpointing:
            kept_bytes = self.shape.hidden_size * self.stream_bytes
        return self.batch_tokens * self.shape.layer_count * kept_bytes

    @property
    def output_moment(self) -> dict[str, float]:
        """The tokens are scored: every layer holds what it keeps.

        Half-precision copies of weights are among it, but with checkpointing they go when the forward pass has ended,
        before the output's own gradient is computed.
        """
        copies, matrix_bytes = self.cast_bytes, self.output_matrix_bytes
        if self.settings.gradient_checkpointing:
            copies, matrix_bytes = max((copies, 0.0), (0.0, matrix_bytes), key=sum)
        return {
            "activations": self.activation_bytes,
            "output layer": self.scoring_tile_bytes + matrix_bytes,
            "half-precision copies": copies,
        }

    @property
    def layer_moment(self) -> dict[str, float]:
        """The last layer goes backward; with checkpointing it has first computed again what it did not keep.

        The gradient of an output that is the embedding as well waits until the embedding's own is there.
        """
        computed_again = self.layer.token_bytes if self.settings.gradient_checkpointing else 0
        one_layer_share = 1 / self.shape.layer_count if self.settings.gradient_checkpointing else 1
        return {
            "activations": self.activation_bytes,
            "layer's backward pass": self.batch_tokens * (self.layer.backward_bytes + computed_again),
            "output layer": self.output_matrix_bytes if self.shape.has_tied_embeddings else 0.0,
            "half-precision copies": self.cast_bytes * one_layer_share,
        }

    @property
    def embedding_moment(self) -> dict[str, float]:
        """The embedding's gradient, a whole matrix though few rows are used (`embedding_dense_backward`)."""
        matrix_bytes = 0.0 if self.trains_adapter else self.shape.embedding_parameters * 4.0
        waiting_bytes = self.output_matrix_bytes if self.shape.has_tied_embeddings else 0.0
        return {"embedding's gradient": matrix_bytes + waiting_bytes}

    @property
    def scored_tokens(self) -> int:
        """Tokens of a batch that are projected onto the vocabulary."""
        if isinstance(self.settings, GrpoSettings):
            return self.settings.batch_size * self.settings.max_new_tokens
        return 0 if self.settings.program == "reward_model" else self.batch_tokens

    @property
    def scoring_tile_bytes(self) -> float:
        """The last hidden states with their gradient in float32, and a tile of logits."""
        hidden_bytes = self.scored_tokens * self.shape.hidden_size * (self.stream_bytes + 4)
        return hidden_bytes + min(self.scored_tokens, TILE_TOKENS) * TILE_VOCABULARY * self.compute_bytes

    @property
    def output_matrix_bytes(self) -> float:
        """The output's gradient, in float32 before it is added to the weight's (`ChunkedLogProbFunction.backward`)."""
        is_trained = not self.trains_adapter and self.scored_tokens
        return self.shape.embedding_parameters * 4.0 if is_trained else 0.0

    @property
    def cast_bytes(self) -> float:
        """Half-precision copies that autocast makes of float32 matrices and holds until the forward pass has ended."""
        if not self.is_half or self.sharding != "none":
            return 0.0
        if self.trains_adapter:
            return 0.0 if self.is_quantized else self.trained_parameters * 2
        return self.shape.layer_count * self.shape.layer_matrix_parameters * 2

    @property
    def gathered_bytes(self) -> float:
        """Whole layers that are put together from all cards while they compute, and embedding and output."""
        if self.share("weights") == 1:
            return 0.0
        outputs = self.model_parameters - self.shape.layer_count * self.shape.layer_parameters
        return (GATHERED_LAYERS * self.shape.layer_parameters + outputs) * self.compute_bytes

    # What a rollout adds.

    @property
    def rollout_sequences(self) -> int:
        """Sequences that one card writes at once."""
        return int(getattr(self.settings, "rollout_size", 0)) // self.process_count

    @property
    def cache_token_bytes(self) -> int:
        """Keys and values of one token in all layers (transformers' `DynamicCache`).

        Over a float32 stream the rotated keys are float32 too, for they are multiplied with float32 angles.
        """
        return self.shape.layer_count * self.shape.key_value_size * (self.stream_bytes + self.compute_bytes)

    @property
    def generation_bytes(self) -> float:
        """The greater of reading the requests and of the last token with the whole cache."""
        prompt_tokens = int(self.setting("prompt_tokens", 0))
        sequences, cache_bytes = self.rollout_sequences, self.cache_token_bytes
        reading = sequences * prompt_tokens * (cache_bytes + self.pass_bytes(self.shape))
        has_sorting = self.setting("top_p", 1.0) < 1
        logits_bytes = self.shape.vocabulary_size * (SAMPLING_COPIES_BYTES + (SORTING_BYTES if has_sorting else 0))
        writing = sequences * (self.settings.max_length * cache_bytes + logits_bytes)
        return float(max(reading, writing))

    @property
    def scoring_bytes(self) -> float:
        """What the reward model needs while it reads a batch."""
        if self.reward is None:
            return 0.0
        tokens = REWARD_BATCH_SIZE * min(self.settings.max_length, self.reward.max_length)
        return float(tokens * self.pass_bytes(self.reward.shape, self.reward.shape.number_bytes))

    def pass_bytes(self, shape: ModelShape, number_bytes: int | None = None) -> int:
        """Bytes a token needs in the widest place of a layer when nothing is kept: the gated feed-forward part."""
        compute_bytes = number_bytes or self.compute_bytes
        stream_bytes = number_bytes or self.stream_bytes
        return shape.hidden_size * (2 * stream_bytes + compute_bytes) + 3 * shape.intermediate_size * compute_bytes

    def _in_gigabytes(self, parts: Mapping[str, float]) -> dict[str, float]:
        return {part_name: part_bytes / GIGABYTE for part_name, part_bytes in parts.items()}


class LayerActivations:
    """What one layer keeps of one token for its backward pass, in bytes, as transformers writes Qwen2, Qwen3 and Llama.

    Where the stream is float32 and products are half, autocast gives every matrix its own copy of its input, since it
    remembers casts of weights alone. Frozen matrices keep no input; an adapter keeps one, in its own copy.
    """

    def __init__(self, estimator: MemoryEstimator) -> None:
        self._shape, self._settings = estimator.shape, estimator.settings
        self._trains_adapter, self._is_quantized = estimator.trains_adapter, estimator.is_quantized
        self._stream, self._compute = estimator.stream_bytes, estimator.compute_bytes
        self._attention = "eager" if not estimator.on_gpu else str(estimator.setting("attention", "auto"))

    @property
    def _has_dropout(self) -> bool:
        """TRL's GRPO and DPO switch it off (`disable_dropout`), so that rollouts and updates agree."""
        return self._settings.lora_dropout > 0 and self._settings.program in ("sft", "reward_model")

    @property
    def token_bytes(self) -> int:
        """All of it."""
        return self.norm_bytes + self.input_bytes + self.query_norm_bytes + self.attention_bytes + self.gate_bytes

    @property
    def backward_bytes(self) -> int:
        """What the widest place of its backward pass adds: gradients of the product, the gate and its other half.

        An adapter's gradient of its input passes through float32, and once more through dropout's.
        """
        intermediate, hidden = self._shape.intermediate_size, self._shape.hidden_size
        adapter_bytes = 0
        if self._trains_adapter and self._compute == 2 and not self._is_quantized:
            adapter_bytes = (5 if self._has_dropout else 2) * intermediate
        return 3 * intermediate * self._compute + adapter_bytes + hidden * 4

    @property
    def norm_bytes(self) -> int:
        """Two RMS norms: each keeps its input in float32, and where its weight is trained the normed input too."""
        normed_bytes = 0 if self._trains_adapter else self._stream
        return 2 * self._shape.hidden_size * (4 + normed_bytes)

    @property
    def input_bytes(self) -> int:
        """Inputs of the seven matrices."""
        hidden, intermediate = self._shape.hidden_size, self._shape.intermediate_size
        # The output of a norm goes into three matrices and into two.
        shared_inputs = 2 * hidden * self._compute + intermediate * self._compute
        if not self._trains_adapter:
            copied_inputs = 5 * hidden * self._compute + intermediate * self._compute
            return copied_inputs if self._stream != self._compute else shared_inputs
        inner_bytes = len(self._shape.linear_sizes) * self._settings.lora_rank * self._compute
        all_inputs = sum(inputs for inputs, _ in self._shape.linear_sizes)
        if self._has_dropout:
            # What dropout leaves, and a byte for what it took.
            return all_inputs * (self._compute + 1) + inner_bytes
        # The adapter's own cast of its input, unless both are of one dtype.
        is_copied = self._compute == 2 and not self._is_quantized
        return (all_inputs * self._compute if is_copied else shared_inputs) + inner_bytes

    @property
    def query_norm_bytes(self) -> int:
        """Qwen3's norms of queries and keys."""
        if not self._shape.has_query_norm:
            return 0
        normed_bytes = 0 if self._trains_adapter else self._compute
        return (self._shape.query_size + self._shape.key_value_size) * (4 + normed_bytes)

    @property
    def attention_bytes(self) -> int:
        """Queries, keys, values and result; with a padding mask keys and values are repeated for every head.

        Eager attention keeps a square of weights for every head besides, in float32 and as it multiplies with them.
        """
        shape = self._shape
        repeated = 4 * shape.query_size * self._compute
        if self._attention == "eager":
            square = shape.head_count * self._settings.max_length * (4 + (2 if self._compute == 2 else 0))
            return repeated + square
        # One float32 a head: the logarithm of the sum of its weights (FlashAttention, arXiv 2205.14135).
        statistic = 4 * shape.head_count
        if self._attention == "flash_attention_2":
            return 2 * (shape.query_size + shape.key_value_size) * self._compute + statistic
        return repeated + statistic

    @property
    def gate_bytes(self) -> int:
        """Gate, its activation, and the other half of the gated product."""
        return 3 * self._shape.intermediate_size * self._compute
