"""How often a scorer prefers the chosen greeting: on all pairs, and where length cannot help it."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backend.judges.base import Sample
from backend.judges.ngram import fit_ngram
from backend.judges.pool import TrainingPair, TrainingPool
from backend.text import count_characters
from backend.training_runs.data import DataRow

PairScores = Sequence[float | None]
MAX_MATCHED_GAP = 5
SUBSETS: Mapping[str, Callable[[DataRow], bool]] = {
    "all": lambda _row: True,
    "length_matched": lambda row: abs(_length_gap(row)) <= MAX_MATCHED_GAP,
    "rejected_longer": lambda row: _length_gap(row) < 0,
}


def evaluate_pairs(
    pair_rows: Sequence[DataRow], score_pairs: Callable[[list[tuple[str, str]]], PairScores]
) -> dict[str, Any]:
    """Accuracy (a tie counts half), number of pairs and of unscored ones, by subset."""
    chosen_scores = score_pairs([(pair_row["prompt"], pair_row["chosen"]) for pair_row in pair_rows])
    rejected_scores = score_pairs([(pair_row["prompt"], pair_row["rejected"]) for pair_row in pair_rows])
    figures: dict[str, Any] = {}
    for subset_name, is_in_subset in SUBSETS.items():
        row_indexes = [row_index for row_index, pair_row in enumerate(pair_rows) if is_in_subset(pair_row)]
        pair_points = [
            _preference_point(chosen_scores[row_index], rejected_scores[row_index]) for row_index in row_indexes
        ]
        figures |= {
            f"{subset_name}_{figure_name}": figure for figure_name, figure in _summarize_points(pair_points).items()
        }
    return figures


def build_ngram_scorer(training_rows: Sequence[DataRow]) -> Callable[[list[tuple[str, str]]], PairScores]:
    """The n-gram judge, cross-fitted on the same training pairs: the bar that a neural model must clear."""
    ngram_judge = fit_ngram(
        TrainingPool(
            [TrainingPair(pair_row["prompt"], pair_row["chosen"], pair_row["rejected"]) for pair_row in training_rows]
        )
    )

    def score_pairs(text_pairs: list[tuple[str, str]]) -> PairScores:
        judgments = asyncio.run(
            ngram_judge.score([Sample(prompt_text, greeting_text) for prompt_text, greeting_text in text_pairs])
        )
        return [judgment.value for judgment in judgments]

    return score_pairs


def score_by_length(text_pairs: list[tuple[str, str]]) -> PairScores:
    """Longer is better."""
    return [float(count_characters(greeting_text)) for _, greeting_text in text_pairs]


def _length_gap(pair_row: DataRow) -> int:
    return count_characters(pair_row["chosen"]) - count_characters(pair_row["rejected"])


def _preference_point(chosen_score: float | None, rejected_score: float | None) -> float | None:
    if chosen_score is None or rejected_score is None:
        return None
    return 0.5 if chosen_score == rejected_score else float(chosen_score > rejected_score)


def _summarize_points(pair_points: Sequence[float | None]) -> dict[str, float | int | None]:
    scored_points = [pair_point for pair_point in pair_points if pair_point is not None]
    accuracy = math.fsum(scored_points) / len(scored_points) if scored_points else None
    return {
        "accuracy": accuracy,
        "pairs": len(scored_points),
        "unscored": len(pair_points) - len(scored_points),
    }
