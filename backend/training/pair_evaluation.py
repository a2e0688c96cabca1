"""How often a scorer prefers the chosen greeting: on all pairs, and where length cannot help it."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backend.judges.base import Sample
from backend.judges.ngram import fit_ngram
from backend.judges.pool import Pair, TrainingPool
from backend.text import length
from backend.training_runs.data import Row

Scores = Sequence[float | None]
MATCHED = 5
SUBSETS: Mapping[str, Callable[[Row], bool]] = {
    "all": lambda _row: True,
    "length_matched": lambda row: abs(_gap(row)) <= MATCHED,
    "rejected_longer": lambda row: _gap(row) < 0,
}


def evaluate(rows: Sequence[Row], score: Callable[[list[tuple[str, str]]], Scores]) -> dict[str, Any]:
    """Accuracy (a tie counts half), number of pairs and of unscored ones, by subset."""
    chosen = score([(row["prompt"], row["chosen"]) for row in rows])
    rejected = score([(row["prompt"], row["rejected"]) for row in rows])
    figures: dict[str, Any] = {}
    for name, belongs in SUBSETS.items():
        places = [place for place, row in enumerate(rows) if belongs(row)]
        points = [_point(chosen[place], rejected[place]) for place in places]
        figures |= {f"{name}_{key}": value for key, value in _share(points).items()}
    return figures


def ngram_scorer(train: Sequence[Row]) -> Callable[[list[tuple[str, str]]], Scores]:
    """The n-gram judge, cross-fitted on the same training pairs: the bar that a neural model must clear."""
    judge = fit_ngram(TrainingPool([Pair(row["prompt"], row["chosen"], row["rejected"]) for row in train]))

    def score(items: list[tuple[str, str]]) -> Scores:
        drafts = asyncio.run(judge.score([Sample(prompt, text) for prompt, text in items]))
        return [draft.value for draft in drafts]

    return score


def length_scorer(items: list[tuple[str, str]]) -> Scores:
    """Longer is better."""
    return [float(length(text)) for _, text in items]


def _gap(row: Row) -> int:
    return length(row["chosen"]) - length(row["rejected"])


def _point(chosen: float | None, rejected: float | None) -> float | None:
    if chosen is None or rejected is None:
        return None
    return 0.5 if chosen == rejected else float(chosen > rejected)


def _share(points: Sequence[float | None]) -> dict[str, float | int | None]:
    known = [point for point in points if point is not None]
    mean = math.fsum(known) / len(known) if known else None
    return {"accuracy": mean, "pairs": len(known), "unscored": len(points) - len(known)}
