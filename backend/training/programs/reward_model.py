"""`python -m backend.training.programs.reward_model`: which of two greetings for a request is the better one."""

from typing import Any

from accelerate.utils import release_memory
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from backend.core.enums import Split
from backend.training.programs import models
from backend.training.programs.base_files import bound_token_limit
from backend.training.programs.card import OutputKind
from backend.training.programs.environment import process_rank
from backend.training.programs.pair_accuracy import PairScorer, PairScores, compare_scorers, report_accuracies
from backend.training.programs.program import TrainingRun, main
from backend.training.programs.reward_server import RewardModel
from backend.training.programs.reward_terms import LengthDebias
from backend.training.programs.training_rows import EncodedPair, select_pairs
from backend.training.settings import RewardModelSettings
from backend.training.snapshot import DataRow

MIN_PAIRS = 20


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
    tokenizer = models.load_training_tokenizer(training_run, base_model)
    token_limit = bound_token_limit(base_model, settings)
    training_pairs = select_pairs(training_run, tokenizer, Split.TRAIN, training_rows, token_limit, MIN_PAIRS)
    validation_pairs = select_pairs(training_run, tokenizer, Split.VALIDATION, validation_rows, token_limit)
    trainer = RewardTrainer(
        model=models.load_classifier(training_run, base_model, tokenizer),
        args=_build_arguments(training_run, bool(validation_pairs)),
        train_dataset=_build_dataset(training_pairs),
        eval_dataset=_build_dataset(validation_pairs) if validation_pairs else None,
        processing_class=tokenizer,
        peft_config=models.build_lora_config(settings, "SEQ_CLS"),
    )
    training_run.stop_together()
    metrics = training_run.fit(trainer)
    # Before the comparison, which reads the model back from these files.
    training_run.save(trainer)
    # A second copy of a big model has no room beside the trained one, its optimizer and what was cached for it.
    del trainer
    release_memory()
    if process_rank() == 0:
        metrics |= _compare_scorers(training_run, training_rows)
    training_run.finish(OutputKind.REWARD_MODEL, metrics)


def _compare_scorers(training_run: TrainingRun[RewardModelSettings], training_rows: list[DataRow]) -> dict[str, Any]:
    # The model is read back from its files: what is measured is what others will load.
    reward_model = RewardModel(
        training_run.artifact_folder,
        training_run.settings.max_length,
        training_run.settings.batch_size,
        training_run.device,
    )

    def score_raw(items: list[tuple[str, str]]) -> PairScores:
        # Each takes minutes with a big model, and nobody would hear a request to stop meanwhile.
        training_run.stop_if_requested()
        return reward_model.raw_scores([list(text_pair) for text_pair in items])

    scorers: dict[str, PairScorer] = {"": score_raw}
    metrics: dict[str, Any] = {}
    if training_run.settings.debias:
        reward_model.debias = length_debias = _fit_debias(training_run, scorers[""], training_rows)
        metrics |= {"debias_slope": length_debias.slope, "debias_mean": length_debias.mean}
        scorers["debiased_"] = lambda items: reward_model.score([list(text_pair) for text_pair in items])
    held_out_split, pair_rows = training_run.snapshot.held_out("pairs")
    metrics |= compare_scorers(pair_rows, training_rows, scorers)
    report_accuracies(training_run.report, held_out_split, metrics)
    return {"held_out": held_out_split.value} | metrics


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


def _build_dataset(encoded_pairs: list[EncodedPair]) -> Dataset:
    """Pairs in the tokens that a trained model is scored on (`reward_server`), which TRL takes as they are."""
    return Dataset.from_list(
        [{"chosen_ids": pair.chosen_ids, "rejected_ids": pair.rejected_ids} for pair in encoded_pairs]
    )


if __name__ == "__main__":
    main("reward_model", train)
