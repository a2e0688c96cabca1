"""A model folder written as GGUF by gguf's own writer: sizes, tokenizer, and tensors one at a time.

Source of names and layouts: gguf (tensor_mapping, constants) and llama.cpp's convert_hf_to_gguf.py, whose result
the tests compare with what transformers computes.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy
import torch
from gguf import MODEL_ARCH, GGMLQuantizationType, LlamaFileType
from safetensors import safe_open

from backend.core.errors import UserError
from backend.training.programs.gguf_tokenizer import GgufTokenizer

KNOWN_ARCHITECTURES = {
    "Qwen2ForCausalLM": MODEL_ARCH.QWEN2,
    "Qwen3ForCausalLM": MODEL_ARCH.QWEN3,
    "LlamaForCausalLM": MODEL_ARCH.LLAMA,
}
_FILE_TYPES = {
    GGMLQuantizationType.F32: LlamaFileType.ALL_F32,
    GGMLQuantizationType.F16: LlamaFileType.MOSTLY_F16,
    GGMLQuantizationType.BF16: LlamaFileType.MOSTLY_BF16,
    GGMLQuantizationType.Q8_0: LlamaFileType.MOSTLY_Q8_0,
}
# By the names that safetensors gives to types.
_STORED_TYPES = {
    "F32": GGMLQuantizationType.F32,
    "F16": GGMLQuantizationType.F16,
    "BF16": GGMLQuantizationType.BF16,
}
_ROPE_KINDS = ("default", "linear", "yarn", "llama3")


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a model folder, not loaded yet. `gguf_name` is its name in a GGUF, `shape` as torch has it."""

    file_path: Path
    name: str
    gguf_name: str
    shape: tuple[int, ...]
    stored_type: str

    def load(self) -> torch.Tensor:
        """The tensor as it is stored."""
        with safe_open(self.file_path, framework="pt") as tensor_file:
            loaded_tensor: torch.Tensor = tensor_file.get_tensor(self.name)
        return loaded_tensor

    def type_for(self, precision: GGMLQuantizationType) -> GGMLQuantizationType:
        """The type it is written in: vectors stay exact, and rows that q8_0 cannot cut into blocks are 16 bits."""
        if len(self.shape) < 2:
            return GGMLQuantizationType.F32
        block_size, _ = gguf.GGML_QUANT_SIZES[precision]
        return precision if self.shape[-1] % block_size == 0 else GGMLQuantizationType.F16


class GgufModel:
    """A model folder (config.json and safetensors) to be written as GGUF."""

    def __init__(self, model_folder: Path, config: Any, model_name: str) -> None:
        """`config` is transformers' of that folder. Raises UserError for what this writer does not know."""
        self._config, self._name = config, model_name
        self._architecture = find_architecture(config)
        self._rope = dict(config.rope_parameters or {})
        _check_supported(config, self._rope)
        self._tensors = list(self._list_tensors(model_folder))

    @property
    def row_count(self) -> int:
        """Rows of the embedding, one for each token."""
        return int(self._config.vocab_size)

    def choose_precision(self, precision: str) -> GGMLQuantizationType:
        """The type of the matrices; of "auto" the one they are stored in."""
        if precision != "auto":
            return GGMLQuantizationType[precision.upper()]
        matrix = next(tensor for tensor in self._tensors if len(tensor.shape) > 1)
        return _STORED_TYPES[matrix.stored_type]

    def count_bytes(self, precision: GGMLQuantizationType) -> int:
        """Bytes of all its tensors in that precision."""
        return sum(_byte_count(tensor.shape, tensor.type_for(precision)) for tensor in self._tensors)

    def write(
        self,
        gguf_path: Path,
        tokenizer: GgufTokenizer,
        precision: GGMLQuantizationType,
        sampling: Mapping[str, float],
        report_share: Callable[[float], None],
    ) -> None:
        """Write the file. `report_share` is called after each tensor with the share that is written (0 to 1)."""
        writer = gguf.GGUFWriter(gguf_path, gguf.MODEL_ARCH_NAMES[self._architecture])
        try:
            self._add_sizes(writer, precision)
            _add_tokenizer(writer, tokenizer)
            for sampling_name, add_value in (
                ("temperature", writer.add_sampling_temp),
                ("top_p", writer.add_sampling_top_p),
            ):
                if sampling_name in sampling:
                    add_value(sampling[sampling_name])
            self._write_tensors(writer, precision, report_share)
        finally:
            writer.close()

    def _list_tensors(self, model_folder: Path) -> Iterator[StoredTensor]:
        name_map = gguf.get_tensor_name_map(self._architecture, self._config.num_hidden_layers)
        is_tied = self._config.tie_word_embeddings
        for file_path in sorted(model_folder.glob("*.safetensors")):
            with safe_open(file_path, framework="pt") as tensor_file:
                for tensor_name in tensor_file.keys():  # noqa: SIM118 (no mapping)
                    # A tied output is the embedding, which llama.cpp takes where there is no output of its own.
                    if tensor_name.endswith("rotary_emb.inv_freq") or (is_tied and tensor_name == "lm_head.weight"):
                        continue
                    gguf_name = name_map.get_name(tensor_name, try_suffixes=(".weight", ".bias"))
                    if gguf_name is None:
                        raise _unknown_model(f"tensor {tensor_name}", f"张量 {tensor_name}")
                    part = tensor_file.get_slice(tensor_name)
                    yield StoredTensor(file_path, tensor_name, gguf_name, tuple(part.get_shape()), part.get_dtype())

    def _add_sizes(self, writer: gguf.GGUFWriter, precision: GGMLQuantizationType) -> None:
        config = self._config
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name(self._name)
        writer.add_file_type(_FILE_TYPES[precision])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        self._add_rope(writer, head_size)

    def _add_rope(self, writer: gguf.GGUFWriter, head_size: int) -> None:
        writer.add_rope_dimension_count(head_size)
        writer.add_rope_freq_base(float(self._rope.get("rope_theta", 10_000.0)))
        rope_kind = self._rope.get("rope_type", "default")
        if rope_kind in ("linear", "yarn"):
            writer.add_rope_scaling_type(gguf.RopeScalingType(rope_kind))
            writer.add_rope_scaling_factor(float(self._rope["factor"]))
        if rope_kind == "yarn":
            original_length = self._rope.get("original_max_position_embeddings", self._config.max_position_embeddings)
            writer.add_rope_scaling_orig_ctx_len(int(original_length))
        if rope_kind == "llama3":
            writer.add_tensor("rope_freqs.weight", _llama3_factors(self._rope, head_size))

    def _write_tensors(
        self, writer: gguf.GGUFWriter, precision: GGMLQuantizationType, report_share: Callable[[float], None]
    ) -> None:
        # Tensors that the writer holds already come first in the file.
        held_tensors = [info.tensor for info in writer.tensors[0].values()]
        for tensor in self._tensors:
            tensor_type = tensor.type_for(precision)
            writer.add_tensor_info(
                tensor.gguf_name,
                tensor.shape,
                numpy.dtype(numpy.float32),
                _byte_count(tensor.shape, tensor_type),
                tensor_type,
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for held_tensor in held_tensors:
            writer.write_tensor_data(held_tensor)
        # One at a time: the weights of a large model never lie in memory together.
        for tensor_number, tensor in enumerate(self._tensors, start=1):
            values = self._arrange(tensor).to(torch.float32).contiguous().numpy()
            writer.write_tensor_data(_convert(values, tensor.type_for(precision)))
            report_share(tensor_number / len(self._tensors))

    def _arrange(self, tensor: StoredTensor) -> torch.Tensor:
        """The tensor with its rows in the order that llama.cpp wants."""
        loaded_tensor = tensor.load()
        if self._architecture is not MODEL_ARCH.LLAMA:
            return loaded_tensor
        if ".attn_q." in tensor.gguf_name:
            return _interleave_rotary(loaded_tensor, self._config.num_attention_heads)
        if ".attn_k." in tensor.gguf_name:
            return _interleave_rotary(loaded_tensor, self._config.num_key_value_heads)
        return loaded_tensor


def is_known(config: Any) -> bool:
    """Whether this writer knows the architecture."""
    return any(architecture_name in KNOWN_ARCHITECTURES for architecture_name in config.architectures or ())


def find_architecture(config: Any) -> MODEL_ARCH:
    """gguf's name of a model's architecture. Raises UserError for one that this writer does not know."""
    for architecture_name in config.architectures or ():
        if architecture_name in KNOWN_ARCHITECTURES:
            return KNOWN_ARCHITECTURES[architecture_name]
    unknown_name = ", ".join(config.architectures or (config.model_type,))
    raise _unknown_model(f"architecture {unknown_name}", f"结构 {unknown_name}")


def _check_supported(config: Any, rope: Mapping[str, Any]) -> None:
    """Raises UserError for what would be written without a word and then read as something else."""
    rope_kind = rope.get("rope_type", "default")
    if rope_kind not in _ROPE_KINDS:
        raise _unknown_model(f"rotary embedding “{rope_kind}”", f"旋转位置编码“{rope_kind}”")
    if getattr(config, "use_sliding_window", False):
        raise _unknown_model("sliding window attention", "滑动窗口注意力")


def _llama3_factors(rope: Mapping[str, Any], head_size: int) -> "numpy.ndarray[Any, Any]":
    """How much each frequency is slowed down, as in transformers' `_compute_llama3_parameters`."""
    base, factor = float(rope.get("rope_theta", 10_000.0)), float(rope["factor"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    original_length = int(rope["original_max_position_embeddings"])
    factors = []
    for dimension in range(0, head_size, 2):
        wave_length = 2 * math.pi * base ** (dimension / head_size)
        if wave_length < original_length / high:
            factors.append(1.0)
        elif wave_length > original_length / low:
            factors.append(factor)
        else:
            smooth = (original_length / wave_length - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return numpy.array(factors, dtype=numpy.float32)


def _interleave_rotary(weight: torch.Tensor, head_count: int) -> torch.Tensor:
    """Rows of a projection from transformers' order (halves of a head) to llama.cpp's (pairs) for Llama."""
    rows = weight.reshape(head_count, 2, weight.shape[0] // head_count // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def _convert(values: "numpy.ndarray[Any, Any]", tensor_type: GGMLQuantizationType) -> "numpy.ndarray[Any, Any]":
    """Float32 values in the type of the file. Raises UserError for values that 16-bit floats cannot hold."""
    with numpy.errstate(over="ignore"):
        converted = gguf.quantize(values, tensor_type)
    if tensor_type is GGMLQuantizationType.F16 and not numpy.isfinite(converted).all():
        raise UserError(
            "Some weights are too large for f16, or are no numbers; choose precision=bf16 or f32.",
            "有些权重超出 f16 的范围，或不是有限的数；请将 precision 改为 bf16 或 f32。",
        )
    return converted


def _byte_count(shape: tuple[int, ...], tensor_type: GGMLQuantizationType) -> int:
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[tensor_type]
    return math.prod(shape) // block_size * block_bytes


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: GgufTokenizer) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.split_name)
    writer.add_token_list(tokenizer.token_texts)
    writer.add_token_types(tokenizer.token_types)
    writer.add_token_merges(tokenizer.merges)
    for role, token_id in tokenizer.special_ids.items():
        getattr(writer, f"add_{role}_token_id")(token_id)
    writer.add_add_bos_token(tokenizer.add_bos)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _unknown_model(part_en: str, part_zh: str) -> UserError:
    known_names = ", ".join(KNOWN_ARCHITECTURES)
    return UserError(
        f"This model cannot be written as GGUF here ({part_en} is not known; known: {known_names}); "
        "put llama.cpp's convert_hf_to_gguf.py on the PATH, or export to safetensors.",
        f"无法在这里把这个模型写成 GGUF（不认识{part_zh}；已知：{known_names}）；"
        "请把 llama.cpp 的 convert_hf_to_gguf.py 放到 PATH 中，或改为导出 safetensors。",
    )
