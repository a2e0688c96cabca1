"""How much of what evaluates a judge or a model it has already seen in training."""

from collections.abc import Iterable
from dataclasses import dataclass

from backend.text import digest, squeeze


@dataclass(frozen=True)
class Leakage:
    """Shares of distinct evaluation prompts and texts that occur in training; nan where there are none."""

    prompts: float
    texts: float


def leakage(evaluation: Iterable[tuple[str, str]], training: Iterable[tuple[str, str]]) -> Leakage:
    """Compare (prompt, text) rows, blind to white space; a pair counts as two rows."""
    prompts, texts = _marks(evaluation)
    seen_prompts, seen_texts = _marks(training)
    return Leakage(_share(prompts, seen_prompts), _share(texts, seen_texts))


def _marks(rows: Iterable[tuple[str, str]]) -> tuple[set[bytes], set[bytes]]:
    prompts, texts = set(), set()
    for prompt, text in rows:
        prompts.add(_mark(prompt))
        texts.add(_mark(text))
    return prompts, texts


def _mark(text: str) -> bytes:
    return bytes.fromhex(digest(squeeze(text))[:32])


def _share(part: set[bytes], of: set[bytes]) -> float:
    return len(part & of) / len(part) if part else float("nan")
