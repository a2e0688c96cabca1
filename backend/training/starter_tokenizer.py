"""The starter's tokenizer: character BPE with single bytes for what it never saw, so nothing is lost."""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

VOCABULARY = 4_000
MIN_FREQUENCY = 10  # a token seen less often in a small corpus is hardly learnt
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PAD, USER, BOT, END = "<|pad|>", "<|user|>", "<|bot|>", "<|end|>"
SPECIAL = (PAD, USER, BOT, END)
TEMPLATE = (
    "{% for turn in messages %}"
    f"{{% if turn['role'] == 'user' %}}{USER}{{{{ turn['content'] }}}}"
    f"{{% elif turn['role'] == 'assistant' %}}{BOT}{{{{ turn['content'] }}}}{END}{{% endif %}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{BOT}{{% endif %}}"
)
"""Requests and greetings only: the starter never saw instructions of a system."""


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """At most 4,000 tokens, learnt from the texts; the same texts in the same order give the same one."""
    tokenizer = Tokenizer(BPE())
    # Merges stay within a clause, otherwise whole stock phrases with their commas become one token.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\p{P}\p{S}]"), "isolated")
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - len(BYTES),
        min_frequency=MIN_FREQUENCY,
        special_tokens=list(SPECIAL),
        max_token_length=4,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=_with_bytes(tokenizer),
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, BOT],
        chat_template=TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def _with_bytes(tokenizer: Tokenizer) -> Tokenizer:
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for name in BYTES:
        vocabulary.setdefault(name, len(vocabulary))
    state["model"]["byte_fallback"] = True
    made = Tokenizer.from_str(json.dumps(state))
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return made
