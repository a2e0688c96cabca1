"""Sizes of a language model from which its memory follows, read from a config.json or a table. No torch here."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Families whose layers are counted below; any other architecture has weights that are not.
KNOWN_FAMILIES = ("qwen2", "qwen3", "llama", "mistral")
# Of adapters that lead to adapters; more is a circle.
MAX_BASES = 4


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder with gated feed-forward layers and grouped attention (Qwen2, Qwen3, Llama, Mistral).

    `number_bytes` is how many bytes a number of the file takes: 2 for float16 and bfloat16, 4 for float32.
    """

    vocabulary_size: int
    hidden_size: int
    intermediate_size: int
    layer_count: int
    head_count: int
    key_value_head_count: int
    head_size: int
    has_tied_embeddings: bool = False
    has_attention_bias: bool = False
    has_query_norm: bool = False
    number_bytes: int = 2

    @property
    def query_size(self) -> int:
        """Numbers of the queries of one token."""
        return self.head_count * self.head_size

    @property
    def key_value_size(self) -> int:
        """Numbers of the keys (or the values) of one token."""
        return self.key_value_head_count * self.head_size

    @property
    def linear_sizes(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the seven matrices of a layer: q, k, v, o, gate, up, down."""
        hidden, query, key_value = self.hidden_size, self.query_size, self.key_value_size
        attention = ((hidden, query), (hidden, key_value), (hidden, key_value), (query, hidden))
        gated = (hidden, self.intermediate_size)
        return (*attention, gated, gated, (self.intermediate_size, hidden))

    @property
    def layer_matrix_parameters(self) -> int:
        """Weights of the seven matrices of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.linear_sizes)

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer, with its norms and biases."""
        bias_parameters = self.query_size + 2 * self.key_value_size if self.has_attention_bias else 0
        norm_parameters = 2 * self.hidden_size + (2 * self.head_size if self.has_query_norm else 0)
        return self.layer_matrix_parameters + bias_parameters + norm_parameters

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embedding, which are those of the output as well where the two are tied."""
        return self.vocabulary_size * self.hidden_size

    @property
    def body_parameters(self) -> int:
        """Weights without an output matrix: what a reward model has, but for its one output."""
        return self.embedding_parameters + self.layer_count * self.layer_parameters + self.hidden_size

    @property
    def parameter_count(self) -> int:
        """All weights of the language model."""
        return self.body_parameters + (0 if self.has_tied_embeddings else self.embedding_parameters)

    def adapter_parameters(self, rank: int) -> int:
        """Weights of a LoRA adapter of that rank on the seven matrices of every layer (PEFT's “all-linear”)."""
        return self.layer_count * rank * sum(inputs + outputs for inputs, outputs in self.linear_sizes)


def _qwen2(hidden: int, intermediate: int, layers: int, heads: int, key_value_heads: int, *, tied: bool) -> ModelShape:
    vocabulary = 151_936 if hidden < 3584 else 152_064
    return ModelShape(
        vocabulary, hidden, intermediate, layers, heads, key_value_heads, hidden // heads, tied, has_attention_bias=True
    )


def _qwen3(hidden: int, intermediate: int, layers: int, heads: int, *, tied: bool) -> ModelShape:
    return ModelShape(151_936, hidden, intermediate, layers, heads, 8, 128, tied, has_query_norm=True)


# From the config.json of each model on the hub, of the instruct and the base version alike.
SHAPES_BY_SIZE: Mapping[str, ModelShape] = {
    "Qwen/Qwen2.5-0.5B": _qwen2(896, 4864, 24, 14, 2, tied=True),
    "Qwen/Qwen2.5-1.5B": _qwen2(1536, 8960, 28, 12, 2, tied=True),
    "Qwen/Qwen2.5-3B": _qwen2(2048, 11_008, 36, 16, 2, tied=True),
    "Qwen/Qwen2.5-7B": _qwen2(3584, 18_944, 28, 28, 4, tied=False),
    "Qwen/Qwen2.5-14B": _qwen2(5120, 13_824, 48, 40, 8, tied=False),
    "Qwen/Qwen3-0.6B": _qwen3(1024, 3072, 28, 16, tied=True),
    "Qwen/Qwen3-1.7B": _qwen3(2048, 6144, 28, 16, tied=True),
    "Qwen/Qwen3-4B": _qwen3(2560, 9728, 36, 32, tied=True),
    "Qwen/Qwen3-8B": _qwen3(4096, 12_288, 36, 32, tied=False),
}
# Of the model that is trained from scratch; its vocabulary follows from the data and is of about this size.
STARTER_SHAPES: Mapping[str, ModelShape] = {
    "deep": ModelShape(9_500, 160, 480, 5, 4, 2, 40, True, has_query_norm=True, number_bytes=4),
    "wide": ModelShape(9_500, 128, 384, 3, 4, 2, 32, True, has_query_norm=True, number_bytes=4),
}


def find_named_shape(base_model: str) -> ModelShape | None:
    """The shape of a model folder (an adapter's is that of its base), or of a hub model by its cache or the table.

    None where it cannot be known without asking the hub.
    """
    for _ in range(MAX_BASES):
        folder = Path(base_model).expanduser()
        if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
            base_model = str(_read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "")
            continue
        config_path = folder / "config.json" if folder.is_dir() else _find_cached_config(base_model)
        if config_path is not None and config_path.is_file():
            return parse_shape(_read_json(config_path))
        return SHAPES_BY_SIZE.get(base_model.removesuffix("-Instruct"))
    return None


def parse_shape(model_config: Mapping[str, Any]) -> ModelShape | None:
    """The shape that a config.json describes; None for an architecture whose weights are not counted here."""
    family = model_config.get("model_type")
    if family not in KNOWN_FAMILIES:
        return None
    try:
        head_count, hidden_size = int(model_config["num_attention_heads"]), int(model_config["hidden_size"])
        return ModelShape(
            vocabulary_size=int(model_config["vocab_size"]),
            hidden_size=hidden_size,
            intermediate_size=int(model_config["intermediate_size"]),
            layer_count=int(model_config["num_hidden_layers"]),
            head_count=head_count,
            key_value_head_count=int(model_config.get("num_key_value_heads") or head_count),
            # Qwen3 has heads of a size of their own.
            head_size=int(model_config.get("head_dim") or (128 if family == "qwen3" else hidden_size // head_count)),
            has_tied_embeddings=bool(model_config.get("tie_word_embeddings", False)),
            has_attention_bias=family == "qwen2" or bool(model_config.get("attention_bias")),
            has_query_norm=family == "qwen3",
            # Older versions of transformers wrote torch_dtype.
            number_bytes=4 if "32" in str(model_config.get("dtype") or model_config.get("torch_dtype") or "32") else 2,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _find_cached_config(hub_id: str) -> Path | None:
    """The config.json that the hub's cache of this machine holds, where there is one."""
    # The order in which huggingface_hub looks; importing it would cost the start of every page half a second.
    hub_home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache_folder = Path(os.environ.get("HF_HUB_CACHE") or hub_home / "hub")
    model_folder = cache_folder / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    config_paths = sorted(model_folder.glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    return config_paths[-1] if config_paths else None


def _read_json(json_path: Path) -> dict[str, Any]:
    try:
        parsed_json = json.loads(json_path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return parsed_json if isinstance(parsed_json, dict) else {}
