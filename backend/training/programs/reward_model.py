"""`python -m backend.training.programs.reward_model`: which of two greetings for a request is the better one."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from backend.core.enums import Split
from backend.core.text import count_characters
from backend.judges.base import Sample
from backend.judges.crossfit import TrainingPair, TrainingPool
from backend.judges.ngram import fit_ngram
from backend.starter.compose import COMPOSED_ORIGIN
from backend.training.messages import HELD_OUT_ACCURACY
from backend.training.programs import models
from backend.training.programs.card import OutputKind
from backend.training.programs.program import TrainingRun, main
from backend.training.programs.reward_server import RewardModel
from backend.training.programs.reward_terms import LengthDebias
from backend.training.settings import RewardModelSettings
from backend.training.snapshot import DataRow

PairScores = Sequence[float | None]
# On the research pairs counting characters is right in 95 of 100; only where lengths match can more be seen.
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


MIN_PAIRS = 20
PairScorer = Callable[[list[tuple[str, str]]], PairScores]


def train(training_run: TrainingRun[RewardModelSettings]) -> None:
    """Load, train, save, and hold it against simpler judges on requests it never saw."""
    settings = training_run.settings
    training_rows, validation_rows = (
        training_run.snapshot.rows("pairs", Split.TRAIN),
        training_run.snapshot.rows("pairs", Split.VALIDATION),
    )
    if len(training_rows) < MIN_PAIRS:
        raise models.too_few_rows(training_run, len(training_rows), MIN_PAIRS)
    base_model = models.resolve_base(training_run, training_rows, "chosen", "rejected")
    tokenizer = models.load_tokenizer(base_model, settings.revision)
    trainer = RewardTrainer(
        model=models.load_classifier(training_run, base_model, tokenizer),
        args=_build_arguments(training_run, bool(validation_rows)),
        train_dataset=_build_dataset(training_rows),
        eval_dataset=_build_dataset(validation_rows) if validation_rows else None,
        processing_class=tokenizer,
        peft_config=models.build_lora_config(settings, "SEQ_CLS"),
    )
    training_run.stop_if_requested()
    metrics = training_run.fit(trainer)
    # Before the comparison, which reads the model back from these files.
    training_run.save(trainer)
    metrics |= _compare_scorers(training_run, training_rows)
    training_run.finish(OutputKind.REWARD_MODEL, metrics)


def _compare_scorers(training_run: TrainingRun[RewardModelSettings], training_rows: list[DataRow]) -> dict[str, Any]:
    # The model is read back from its files: what is measured is what others will load.
    reward_model = RewardModel(
        training_run.artifact_folder, training_run.settings.max_length, training_run.settings.batch_size
    )
    held_out_split, pairs = training_run.snapshot.held_out("pairs")
    # What was composed to miss its request is easier than what people judged: a figure of its own.
    preferred_pairs, composed_pairs = _split_by_origin(pairs)
    scorers: dict[str, PairScorer] = {
        "": lambda items: reward_model.raw_scores([list(text_pair) for text_pair in items])
    }
    metrics: dict[str, Any] = {"held_out": held_out_split.value}
    if training_run.settings.debias:
        reward_model.debias = length_debias = _fit_debias(training_run, scorers[""], training_rows)
        metrics |= {"debias_slope": length_debias.slope, "debias_mean": length_debias.mean}
        scorers["debiased_"] = lambda items: reward_model.score([list(text_pair) for text_pair in items])
    if composed_pairs:
        figures = evaluate_pairs(composed_pairs, scorers[""])
        metrics |= {
            f"composed_{figure_name}": figures[f"all_{figure_name}"]
            for figure_name in ("accuracy", "pairs", "unscored")
        }
    if preferred_pairs:
        scorers |= {
            "ngram_": build_ngram_scorer(_split_by_origin(training_rows)[0]),
            "length_": score_by_length,
        }
        for name, scorer in scorers.items():
            metrics |= {
                f"{name}{figure_name}": figure
                for figure_name, figure in evaluate_pairs(preferred_pairs, scorer).items()
            }
    for name in (name for name in metrics if name.endswith("accuracy") and metrics[name] is not None):
        pairs = metrics[f"{name.removesuffix('accuracy')}pairs"]
        training_run.report.log(
            HELD_OUT_ACCURACY.fill(split=held_out_split.value, figure=name, accuracy=metrics[name], pairs=pairs)
        )
    return metrics


def _split_by_origin(pair_rows: list[DataRow]) -> tuple[list[DataRow], list[DataRow]]:
    """Pairs that people or authors preferred, and pairs that were composed."""
    composed_flags = [pair_row.get("origin") == COMPOSED_ORIGIN for pair_row in pair_rows]
    return (
        [pair_row for pair_row, is_composed in zip(pair_rows, composed_flags, strict=True) if not is_composed],
        [pair_row for pair_row, is_composed in zip(pair_rows, composed_flags, strict=True) if is_composed],
    )


def _fit_debias(
    training_run: TrainingRun[RewardModelSettings], score_pairs: PairScorer, pair_rows: list[DataRow]
) -> LengthDebias:
    score_groups = []
    for choice in ("chosen", "rejected"):
        pair_scores = score_pairs([(pair_row["prompt"], pair_row[choice]) for pair_row in pair_rows])
        scored_texts = [
            (pair_row[choice], pair_score)
            for pair_row, pair_score in zip(pair_rows, pair_scores, strict=True)
            if pair_score is not None
        ]
        score_groups.append(scored_texts)
    length_debias = LengthDebias.fit(score_groups)
    length_debias.save(training_run.artifact_folder)
    return length_debias


def _build_arguments(training_run: TrainingRun[RewardModelSettings], has_evaluation: bool) -> RewardConfig:
    return RewardConfig(
        **training_run.arguments(),
        max_length=training_run.settings.max_length,
        # No grouping by length here, unlike in SFT: RewardTrainer crashes with it.
        center_rewards_coefficient=training_run.settings.center_rewards or None,
        eval_strategy="steps" if has_evaluation else "no",
        eval_steps=training_run.settings.eval_every,
    )


def _build_dataset(pair_rows: list[DataRow]) -> Dataset:
    def build_turns(prompt_text: str, greeting_text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": prompt_text}, {"role": "assistant", "content": greeting_text}]

    return Dataset.from_list(
        [
            {choice: build_turns(pair_row["prompt"], pair_row[choice]) for choice in ("chosen", "rejected")}
            for pair_row in pair_rows
        ]
    )


if __name__ == "__main__":
    main("reward_model", train)
