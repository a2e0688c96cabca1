"""`python -m backend.training.reward_server --artifact DIR`: a reward model behind two pipes.

The protocol, one JSON object a line, UTF-8:

    out  {"ready": true, "max_length": 512}            once, or {"error": "…"} and exit code 1
    in   {"id": 7, "items": [["请求", "祝福"], …]}
    out  {"id": 7, "scores": [0.31, null, …]}          null: longer than the model reads
    out  {"id": 7, "error": "…"}                       this batch failed, the next one may not

The end of standard input ends the program. Anything the libraries print goes to standard error.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from backend.training.debias import Debias

PROBE = "生日快乐"


class RewardModel:
    """A sequence classifier with one output, and the tokenizer it was trained with."""

    def __init__(self, artifact: Path, max_length: int, batch: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = load_tokenizer(artifact)
        self.model = load_model(artifact, self.device)
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.max_length = min(max_length, getattr(self.model.config, "max_position_embeddings", max_length))
        self.batch = batch
        self.debias = Debias.load(artifact)

    def score(self, items: list[list[str]]) -> list[float | None]:
        """One score per (request, greeting); None where the text is longer than the model reads.

        Where the model came with a length term (`debias.json`) it is taken out here and nowhere else, so
        that a score is the same whoever asks: GRPO in its own process, or a judge through the server.
        """
        raw = self.raw_scores(items)
        if self.debias is None:
            return raw
        pairs = zip(items, raw, strict=True)
        return [None if score is None else self.debias.apply(text, score) for (_, text), score in pairs]

    def raw_scores(self, items: list[list[str]]) -> list[float | None]:
        """What the model itself says, length's part still in it; the length term is fitted on this."""
        ids = [self._ids(prompt, greeting) for prompt, greeting in items]
        # Batches of similar length waste little on padding.
        order = sorted(
            (i for i in range(len(ids)) if len(ids[i]) <= self.max_length), key=lambda i: len(ids[i])
        )
        scores: list[float | None] = [None] * len(ids)
        for start in range(0, len(order), self.batch):
            part = order[start : start + self.batch]
            for i, score in zip(part, self._forward([ids[i] for i in part]), strict=True):
                scores[i] = score
        return scores

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]]) -> list[float]:
        padded = self.tokenizer.pad({"input_ids": ids}, padding=True, return_tensors="pt").to(self.device)
        output = self.model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"])
        values: list[float] = output.logits[:, 0].float().tolist()
        return values

    def _ids(self, prompt: str, greeting: str) -> list[int]:
        # The same text that TRL's RewardTrainer makes of a pair with a prompt.
        plain = not self.tokenizer.chat_template
        if plain:
            text = prompt + greeting + (self.tokenizer.eos_token or "")
        else:
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": greeting}]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        found: list[int] = self.tokenizer(text, add_special_tokens=plain)["input_ids"]
        return found


def load_tokenizer(artifact: Path) -> Any:
    """The tokenizer exactly as saved. Raises ValueError where it makes nothing of Chinese text."""
    # AutoTokenizer rebuilds some model types from their own recipe and then reads a custom vocabulary
    # as no tokens at all; tokenizer.json says what was trained.
    kind = PreTrainedTokenizerFast if (artifact / "tokenizer.json").exists() else AutoTokenizer
    tokenizer = kind.from_pretrained(artifact)
    if not tokenizer(PROBE, add_special_tokens=False)["input_ids"]:
        raise ValueError("the tokenizer turns Chinese text into nothing")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ValueError("the tokenizer has neither a padding nor an end token")
    tokenizer.padding_side = "right"
    return tokenizer


def load_model(artifact: Path, device: str) -> Any:
    """The classifier; a LoRA adapter is laid over its base. Raises ValueError for more than one output."""
    dtype = torch.float32 if device == "cpu" else "auto"
    if (artifact / "adapter_config.json").exists():
        from peft import AutoPeftModelForSequenceClassification

        model = AutoPeftModelForSequenceClassification.from_pretrained(artifact, num_labels=1, dtype=dtype)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(artifact, dtype=dtype)
    if model.config.num_labels != 1:
        raise ValueError(f"a reward model has one output, this one has {model.config.num_labels}")
    return model.to(device).eval()


def serve(model: RewardModel, out: Any) -> None:
    """Answer line after line until standard input ends."""
    _say(out, {"ready": True, "max_length": model.max_length})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _say(out, {"id": request["id"], "scores": model.score(request["items"])})
        except Exception as error:  # the next batch may be fine
            _say(out, {"id": request["id"], "error": f"{type(error).__name__}: {error}"[:500]})


def _say(out: Any, message: dict[str, Any]) -> None:
    out.write(json.dumps(message, ensure_ascii=False) + "\n")
    out.flush()


def main() -> None:
    """Load, then serve. Standard output is kept for the protocol alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        model = RewardModel(options.artifact, options.max_length, options.batch)
    except Exception as error:
        _say(out, {"error": f"{type(error).__name__}: {error}"[:500]})
        sys.exit(1)
    serve(model, out)


if __name__ == "__main__":
    main()
