"""How often a scorer of greetings prefers what was preferred: on all held-out pairs and where length says nothing.

For whatever gives a greeting a number: a reward model, the implicit reward of a policy, an n-gram judge, length.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backend.core.enums import Split
from backend.core.text import count_characters
from backend.jobs.report import JobReport
from backend.judges.base import Sample
from backend.judges.crossfit import TrainingPair, TrainingPool
from backend.judges.ngram import fit_ngram
from backend.starter.compose import COMPOSED_ORIGIN
from backend.training.messages import HELD_OUT_ACCURACY
from backend.training.snapshot import DataRow

PairScores = Sequence[float | None]
PairScorer = Callable[[list[tuple[str, str]]], PairScores]
# On the research pairs counting characters is right in 95 of 100; only where lengths match can more be seen.
MAX_MATCHED_GAP = 5
SUBSETS: Mapping[str, Callable[[DataRow], bool]] = {
    "all": lambda _row: True,
    "length_matched": lambda row: abs(_length_gap(row)) <= MAX_MATCHED_GAP,
    "rejected_longer": lambda row: _length_gap(row) < 0,
}


def evaluate_pairs(pair_rows: Sequence[DataRow], score_pairs: PairScorer) -> dict[str, Any]:
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


def build_ngram_scorer(training_rows: Sequence[DataRow]) -> PairScorer:
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
    # A tie is a coin's throw: counted as right it would flatter a model that gives one score to all.
    return 0.5 if chosen_score == rejected_score else float(chosen_score > rejected_score)


def _summarize_points(pair_points: Sequence[float | None]) -> dict[str, float | int | None]:
    scored_points = [pair_point for pair_point in pair_points if pair_point is not None]
    accuracy = math.fsum(scored_points) / len(scored_points) if scored_points else None
    return {
        "accuracy": accuracy,
        "pairs": len(scored_points),
        "unscored": len(pair_points) - len(scored_points),
    }


def compare_scorers(
    pair_rows: Sequence[DataRow], training_rows: Sequence[DataRow], scorers: Mapping[str, PairScorer]
) -> dict[str, Any]:
    """The figures of `evaluate_pairs` for each scorer, by the prefix it has in `scorers` (the model's own is "").

    Beside them those of the n-gram judge fitted on `training_rows` and of length alone. What was composed to miss
    its request is easier than what people judged, so it has figures of its own, `composed_…`, of the first scorer.
    """
    preferred_pairs, composed_pairs = split_by_origin(pair_rows)
    metrics: dict[str, Any] = {}
    if composed_pairs:
        figures = evaluate_pairs(composed_pairs, scorers[""])
        metrics |= {
            f"composed_{figure_name}": figures[f"all_{figure_name}"]
            for figure_name in ("accuracy", "pairs", "unscored")
        }
    if preferred_pairs:
        all_scorers = {
            **scorers,
            "ngram_": build_ngram_scorer(split_by_origin(training_rows)[0]),
            "length_": score_by_length,
        }
        for prefix, score_pairs in all_scorers.items():
            figures = evaluate_pairs(preferred_pairs, score_pairs)
            metrics |= {f"{prefix}{figure_name}": figure for figure_name, figure in figures.items()}
    return metrics


def report_accuracies(report: JobReport, held_out_split: Split, metrics: Mapping[str, Any]) -> None:
    """A line for each accuracy that could be computed."""
    for name in (name for name in metrics if name.endswith("accuracy") and metrics[name] is not None):
        pair_count = metrics[f"{name.removesuffix('accuracy')}pairs"]
        report.log(
            HELD_OUT_ACCURACY.fill(split=held_out_split.value, figure=name, accuracy=metrics[name], pairs=pair_count)
        )


def split_by_origin(pair_rows: Sequence[DataRow]) -> tuple[list[DataRow], list[DataRow]]:
    """Pairs that people or authors preferred, and pairs that were composed."""
    composed_flags = [pair_row.get("origin") == COMPOSED_ORIGIN for pair_row in pair_rows]
    return (
        [pair_row for pair_row, is_composed in zip(pair_rows, composed_flags, strict=True) if not is_composed],
        [pair_row for pair_row, is_composed in zip(pair_rows, composed_flags, strict=True) if is_composed],
    )
