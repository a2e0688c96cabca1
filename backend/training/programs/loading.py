"""What is loaded by name: a tokenizer as it was trained, weights that are whole, a sentence for what is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from backend.core.errors import UserError

PROBE_TEXT = "祝您生日快乐 🎂\n"
# A header may be long, but one of more than this is the middle of a torn file read as a length.
MAX_HEADER_BYTES = 100_000_000
T = TypeVar("T")


def load_tokenizer(base_model: str, revision: str | None = None, *, remote_code: bool = False) -> Any:
    """The tokenizer as it was trained. Raises UserError where it reads text as nothing."""
    # AutoTokenizer rebuilds some model types from a recipe of their own, and a foreign vocabulary then
    # reads every text as no tokens at all; tokenizer.json says what was trained.
    is_local = (Path(base_model) / "tokenizer.json").is_file()
    tokenizer_class = PreTrainedTokenizerFast if is_local else AutoTokenizer
    tokenizer = load_or_explain(
        base_model,
        # Said outright: without it transformers asks on standard input.
        lambda: tokenizer_class.from_pretrained(base_model, revision=revision, trust_remote_code=remote_code),
    )
    if not tokenizer(PROBE_TEXT, add_special_tokens=False)["input_ids"]:
        raise UserError(
            f"The tokenizer of “{base_model}” reads Chinese text as nothing; use another base.",
            f"“{base_model}”的分词器无法识别中文，请换一个 base。",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_or_explain(base_model: str, load_model: Callable[[], T]) -> T:
    """What `load_model` loads. Raises UserError where the name `base_model` leads to nothing that can be loaded."""
    try:
        return load_model()
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        # A full disk or a lost drive is no wrong name; `explain_error` has its own sentence for it.
        if getattr(error, "errno", None) is not None and not isinstance(error, FileNotFoundError):
            raise
        error_cause = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"base “{base_model}” cannot be loaded ({error_cause}); check the name, the network, or HF_TOKEN.",
            f"无法加载 base “{base_model}”（{error_cause}），请检查名称、网络或 HF_TOKEN。",
        ) from error


def holds_whole_model(model_folder: Path) -> bool:
    """Whether a folder holds a configuration and weights, every file of them to its last byte."""
    return (model_folder / "config.json").is_file() and are_weights_whole(model_folder)


def are_weights_whole(model_folder: Path) -> bool:
    """Whether a folder has weights (or an adapter's), and every file of them to its last byte.

    Only headers are read, so that of 15 GB it takes milliseconds.
    """
    weight_files = list(model_folder.glob("*.safetensors"))
    shard_names = {
        shard_name
        for index_file in model_folder.glob("*.safetensors.index.json")
        for shard_name in _read_shard_names(index_file)
    }
    return (
        bool(weight_files)
        and shard_names <= {weight_file.name for weight_file in weight_files}
        and all(is_safetensors_whole(weight_file) for weight_file in weight_files)
    )


def is_safetensors_whole(weight_file: Path) -> bool:
    """Whether the tensors that the header promises end where the file does (huggingface/safetensors, Format)."""
    try:
        with weight_file.open("rb") as weight_stream:
            header_size = int.from_bytes(weight_stream.read(8), "little")
            if not 0 < header_size <= MAX_HEADER_BYTES:
                return False
            header = json.loads(weight_stream.read(header_size))
        tensor_ends = [facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"]
        return weight_file.stat().st_size == 8 + header_size + max(tensor_ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _read_shard_names(index_file: Path) -> set[str]:
    try:
        return set(json.loads(index_file.read_text("utf-8"))["weight_map"].values())
    # An index that cannot be read names a shard that is not there.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {""}
