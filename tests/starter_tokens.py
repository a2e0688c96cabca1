"""`python -m tests.starter_tokens < JSON`: what the tokenizer makes of bodies of text.

In: a list of {requests, greetings, turns, texts}; out: a list of what it reads. It imports no torch itself.
"""

import json
import sys
import tempfile
from typing import Any

from transformers import PreTrainedTokenizerFast

from backend.training.starter_tokenizer import train_tokenizer


def look(given: dict[str, Any]) -> dict[str, Any]:
    """Sizes, tokens of the turns and of the request alone, and texts that come back changed."""
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer(given["requests"], given["greetings"]).save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    again = train_tokenizer(given["requests"], given["greetings"])
    read = [tokenizer(text)["input_ids"] for text in given["texts"]]
    whole = tokenizer.apply_chat_template(given["turns"], tokenize=False)
    begun = tokenizer.apply_chat_template(given["turns"][:1], tokenize=False, add_generation_prompt=True)
    return {
        "size": len(tokenizer),
        "lengths": [len(tokenizer(text)["input_ids"]) for text in given["greetings"]],
        "turns": tokenizer.tokenize(whole),
        "begun": tokenizer.tokenize(begun),
        "asked": tokenizer.decode(tokenizer(begun)["input_ids"], skip_special_tokens=True),
        "lost": [
            text for text, ids in zip(given["texts"], read, strict=True) if tokenizer.decode(ids) != text
        ],
        "same": tokenizer.get_vocab() == again.get_vocab(),
    }


if __name__ == "__main__":
    json.dump([look(one) for one in json.load(sys.stdin)], sys.stdout)
