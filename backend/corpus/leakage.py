"""How much of what evaluates a judge or a model it has already seen in training."""

from collections.abc import Iterable
from dataclasses import dataclass

from backend.text import digest, strip_white_space


@dataclass(frozen=True)
class LeakageShares:
    """Shares of distinct evaluation prompts and texts that occur in training; nan where there are none."""

    prompt_share: float
    text_share: float


def measure_leakage(
    evaluation_rows: Iterable[tuple[str, str]], training_rows: Iterable[tuple[str, str]]
) -> LeakageShares:
    """Compare (prompt, text) rows, blind to white space; a pair counts as two rows."""
    prompt_marks, text_marks = _collect_marks(evaluation_rows)
    training_prompts, training_texts = _collect_marks(training_rows)
    return LeakageShares(_share_of(prompt_marks, training_prompts), _share_of(text_marks, training_texts))


def _collect_marks(text_rows: Iterable[tuple[str, str]]) -> tuple[set[bytes], set[bytes]]:
    prompt_marks, text_marks = set(), set()
    for prompt_text, reply_text in text_rows:
        prompt_marks.add(_text_mark(prompt_text))
        text_marks.add(_text_mark(reply_text))
    return prompt_marks, text_marks


def _text_mark(any_text: str) -> bytes:
    return bytes.fromhex(digest(strip_white_space(any_text))[:32])


def _share_of(evaluated_marks: set[bytes], training_marks: set[bytes]) -> float:
    return len(evaluated_marks & training_marks) / len(evaluated_marks) if evaluated_marks else float("nan")
