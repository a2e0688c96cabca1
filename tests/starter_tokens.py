"""`python -m tests.starter_tokens < JSON`: what the tokenizer makes of bodies of text.

In: a list of {requests, greetings, turns, texts, rows}; out: a list of what it reads. It imports no torch
itself.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_parsing import ResponseParser

from backend.training.programs import starter_tokenizer
from backend.training.programs.served_folder import build_tokenizer_config
from backend.training.programs.starter_tokenizer import END_TOKEN, train_tokenizer


def look(given: dict[str, Any]) -> dict[str, Any]:
    """Sizes, tokens of the turns and of the request alone, and texts that come back changed."""
    with tempfile.TemporaryDirectory() as folder:
        _trained(given).save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        template = build_tokenizer_config(Path(folder))["response_template"]
    again = _trained(given)
    answers = [starter_tokenizer.text_with_plan(row, tokenizer.get_vocab()) for row in given["rows"]]
    read = [tokenizer(text)["input_ids"] for text in given["texts"]]
    whole = tokenizer.apply_chat_template(given["turns"], tokenize=False)
    begun = tokenizer.apply_chat_template(given["turns"][:1], tokenize=False, add_generation_prompt=True)
    return {
        "size": len(tokenizer),
        "vocabulary": sorted(tokenizer.get_vocab()),
        "lengths": [len(tokenizer(text)["input_ids"]) for text in given["greetings"]],
        "turns": tokenizer.tokenize(whole),
        "begun": tokenizer.tokenize(begun),
        "asked": tokenizer.decode(tokenizer(begun)["input_ids"], skip_special_tokens=True),
        "lost": [text for text, ids in zip(given["texts"], read, strict=True) if tokenizer.decode(ids) != text],
        "same": tokenizer.get_vocab() == again.get_vocab(),
        "answers": [tokenizer.tokenize(text) for text in answers],
        "shown": [tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) for text in answers],
        "streamed": [_streamed(template, tokenizer.tokenize(text + END_TOKEN)) for text in answers],
    }


def _trained(given: dict[str, Any]) -> PreTrainedTokenizerFast:
    return train_tokenizer(given["requests"], given["greetings"], starter_tokenizer.plan_tokens_of(given["rows"]))


def _streamed(template: dict[str, Any], pieces: list[str]) -> list[str]:
    """What the model server sends of it: reasoning, the deltas of the greeting, the greeting as a whole."""
    parser = ResponseParser(template, prefix="")
    events = [event for piece in pieces for event in parser.feed(piece)]
    message, last = parser.finalize()
    deltas = [one["text"] for one in events + last if one["type"] == "region_chunk" and one["field"] == "content"]
    return [message.get("reasoning_content", ""), "".join(deltas), message["content"]]


if __name__ == "__main__":
    json.dump([look(one) for one in json.load(sys.stdin)], sys.stdout)
