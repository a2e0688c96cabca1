"""Tiny models with the chat templates of real families: a Qwen3 that can think, a Qwen2 that is no instruct model.

Weights are random; tokens are bytes and the few words below, so that everything runs fast.
"""

from pathlib import Path
from typing import Any

import torch
import trl
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tests.tiny_models import tokenizer_of

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
THOUGHT_TAGS = ["<think>", "</think>"]
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": None,
}


def template(name: str) -> str:
    """A real chat template."""
    return (TEMPLATES / f"{name}.jinja").read_text("utf-8")


def tokenizer(template_name: str | None, eos: str) -> PreTrainedTokenizerFast:
    """Thoughts' tags are tokens of their own and no special ones, as in Qwen3's real tokenizer."""
    made = tokenizer_of(template(template_name) if template_name else None)
    made.add_tokens(THOUGHT_TAGS)
    made.eos_token = eos
    return made


def qwen3(folder: Path) -> Path:
    """An instruct model: turns and texts end with <|im_end|>."""
    words = tokenizer("qwen3", "<|im_end|>")
    return _save(Qwen3ForCausalLM(Qwen3Config(head_dim=8, **_shape(words))), words, folder)


def qwen2(folder: Path, template_name: str | None = "qwen2_5") -> Path:
    """A base model: its own end is <|endoftext|>, whatever its template puts after a turn."""
    words = tokenizer(template_name, "<|endoftext|>")
    return _save(Qwen2ForCausalLM(Qwen2Config(**_shape(words))), words, folder)


def _shape(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    torch.manual_seed(0)
    return SHAPE | {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}


def _save(model: Any, words: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
