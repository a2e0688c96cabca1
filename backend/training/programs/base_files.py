"""What is checked of a base before and after it is loaded: safe files, a tokenizer that fits, room for the texts.

Weights are read from safetensors only, since a pickle runs whatever code it holds; Python code that comes with a model
runs only where the setting `remote_code` names that model.
"""

import json
from pathlib import Path
from typing import Any

from backend.core.errors import UserError
from backend.training.settings import TrainingSettings

ADAPTER_CONFIG = "adapter_config.json"


def allows_remote_code(base_model: str, settings: TrainingSettings) -> bool:
    """Whether code that comes with this base may run. Raises UserError where another base was named."""
    if settings.remote_code and settings.remote_code != settings.base:
        raise UserError(
            f"remote_code = {settings.remote_code}, but base = {settings.base}; name the base itself or nothing.",
            f"remote_code = {settings.remote_code}，但 base = {settings.base}，请填写 base 本身的名称，或留空。",
        )
    return base_model == settings.remote_code


def safe_loading(base_model: str, settings: TrainingSettings) -> dict[str, Any]:
    """Options of `from_pretrained` that keep foreign code out."""
    return {"use_safetensors": True, "trust_remote_code": allows_remote_code(base_model, settings)}


def check_weight_files(model_folder: Path) -> None:
    """Refuse a folder whose weights are pickles; anything that is no folder passes. Raises UserError."""
    if not model_folder.is_dir() or any(model_folder.glob("*.safetensors")):
        return
    if pickled_files := sorted(
        weight_file.name
        for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt")
        for weight_file in model_folder.glob(pattern)
    ):
        raise UserError(
            f"{model_folder} holds its weights as a pickle ({pickled_files[0]}), which could run any code; "
            "convert it to safetensors first.",
            f"{model_folder} 的权重是 pickle 文件（{pickled_files[0]}），其中可能藏有代码，请先转换为 safetensors。",
        )


def check_adapter(adapter_folder: Path) -> None:
    """Refuse an adapter whose base is gone, or reads text otherwise than the tokenizer beside the adapter does.

    Raises UserError. A base on the hub is looked at when it is loaded.
    """
    base_name = json.loads((adapter_folder / ADAPTER_CONFIG).read_text("utf-8")).get("base_model_name_or_path") or ""
    base_folder = Path(base_name)
    if base_folder.is_absolute() and not (base_folder / "config.json").is_file():
        raise UserError(
            f"The adapter in {adapter_folder} belongs to {base_name}, which is gone; bring it back or choose another.",
            f"{adapter_folder} 中的适配器属于 {base_name}，而后者已不存在，请恢复它，或另选一个。",
        )
    check_weight_files(adapter_folder)
    check_weight_files(base_folder)
    if not all((folder / "tokenizer.json").is_file() for folder in (base_folder, adapter_folder)):
        return
    # Imported here, as below: who only looks at files, as serving does before it starts, need not wait for torch.
    from backend.training.programs.loading import load_tokenizer

    base_vocabulary = load_tokenizer(str(base_folder)).get_vocab()
    own_vocabulary = load_tokenizer(str(adapter_folder)).get_vocab()
    # A template may bring tokens of its own; what both know must mean the same.
    if any(base_vocabulary[word] != own_vocabulary[word] for word in base_vocabulary.keys() & own_vocabulary.keys()):
        raise UserError(
            f"The adapter in {adapter_folder} has another tokenizer than its base {base_name}; train it again or "
            "choose the base that it was trained on.",
            f"{adapter_folder} 中适配器的分词器与其 base（{base_name}）不同，请重新训练，或换成训练时的 base。",
        )


def check_vocabulary(model: Any, tokenizer: Any, base_model: str) -> None:
    """Refuse a tokenizer with tokens that the model has no place for. Raises UserError."""
    place_count = model.get_input_embeddings().num_embeddings
    highest_id = max(tokenizer.get_vocab().values())
    if highest_id >= place_count:
        raise UserError(
            f"The tokenizer of base “{base_model}” has token {highest_id}, the model only {place_count}; "
            "they do not belong together.",
            f"base “{base_model}”的分词器有编号 {highest_id} 的词元，而模型只有 {place_count} 个，两者不匹配。",
        )


def read_context_length(base_model: str, settings: TrainingSettings) -> int | None:
    """Tokens that the base reads at most; None where its configuration names no limit."""
    remote_code = allows_remote_code(base_model, settings)
    from transformers import AutoConfig

    from backend.training.programs.loading import load_or_explain

    model_config = load_or_explain(
        base_model,
        lambda: AutoConfig.from_pretrained(base_model, revision=settings.revision, trust_remote_code=remote_code),
    )
    context_length: int | None = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    return context_length


def bound_token_limit(base_model: str, settings: TrainingSettings) -> int:
    """Tokens that a row may have: `max_length`, or what the base reads where that is less."""
    return min(settings.max_length, read_context_length(base_model, settings) or settings.max_length)


def check_context_length(base_model: str, settings: TrainingSettings) -> None:
    """Refuse a `max_length` beyond what the base reads, for whoever writes up to it. Raises UserError."""
    context_length = read_context_length(base_model, settings)
    if context_length is not None and context_length < settings.max_length:
        raise UserError(
            f"max_length = {settings.max_length}, but base “{base_model}” reads {context_length} tokens; "
            "lower max_length.",
            f"max_length = {settings.max_length}，但 base “{base_model}”最多只能读 {context_length} 个词元，"
            "请减小 max_length。",
        )
