"""`python -m backend.training.programs.dpo`: a writer learns from preference pairs themselves, asking no judge (DPO).

The reference is the start itself: with LoRA the model with its adapter off, else a frozen copy.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from backend.core.enums import Split
from backend.generation.thoughts import remove_thoughts
from backend.training.messages import PAIRS_CHOSEN
from backend.training.programs import models, starter_tokenizer
from backend.training.programs.base_files import bound_token_limit
from backend.training.programs.callbacks import SampleReporter
from backend.training.programs.card import OutputKind
from backend.training.programs.environment import process_rank
from backend.training.programs.implicit_reward import ImplicitReward, TextPair, TokenPair
from backend.training.programs.pair_accuracy import compare_scorers, report_accuracies
from backend.training.programs.program import TrainingRun, main
from backend.training.programs.sharding import whole_on_device
from backend.training.programs.training_rows import EQUAL, PAIRS, TOO_LONG, RowSelection, warn_if_template_differs
from backend.training.settings import DpoSettings
from backend.training.snapshot import DataRow

MIN_PAIRS = 20
# Losses that TRL takes of the mean over a greeting's tokens instead of their sum.
LENGTH_NORMALISED_LOSSES = ("sigmoid_norm", "ipo")
Plans = Mapping[str, Sequence[str]]


def train(training_run: TrainingRun[DpoSettings]) -> None:
    """Load, train, save, and hold the implicit reward against simpler judges on requests it never saw."""
    settings, snapshot = training_run.settings, training_run.snapshot
    all_rows = snapshot.rows("pairs", Split.TRAIN)
    if len(all_rows) < MIN_PAIRS:
        raise models.too_few_rows(training_run, len(all_rows), MIN_PAIRS)
    base_model = models.resolve_base(training_run, all_rows, "chosen", "rejected")
    tokenizer = models.load_training_tokenizer(training_run, base_model)
    warn_if_template_differs(training_run, tokenizer)
    writer = PairWriter(tokenizer, _plans_by_request(training_run))
    token_limit = bound_token_limit(base_model, settings)
    training_rows = _choose_pairs(training_run, writer, all_rows, token_limit)
    validation_rows = [
        pair_row for pair_row in snapshot.rows("pairs", Split.VALIDATION) if writer.fits(pair_row, token_limit)
    ]
    trainer = DPOTrainer(
        model=models.load_policy(training_run, base_model, tokenizer),
        args=_build_arguments(training_run, bool(validation_rows)),
        train_dataset=writer.build_dataset(training_rows),
        eval_dataset=writer.build_dataset(validation_rows) if validation_rows else None,
        processing_class=tokenizer,
        peft_config=models.build_lora_config(settings, "CAUSAL_LM"),
    )
    training_run.stop_together()
    implicit_reward = ImplicitReward(
        trainer.model,
        writer.encode_pair,
        max_length=settings.max_length,
        batch_size=settings.batch_size,
        per_token=settings.loss_type in LENGTH_NORMALISED_LOSSES,
    )
    held_out_split, held_out_rows = snapshot.held_out("pairs")
    with whole_on_device(trainer):
        implicit_reward.remember_start(_text_pairs(held_out_rows))
    training_run.stop_together()
    sample_reporter = _build_samples(training_run, trainer, tokenizer, validation_rows or training_rows)
    metrics = training_run.fit(trainer, [sample_reporter])
    training_run.save(trainer)
    # By every process: of a sharded policy each holds a part.
    metrics |= compare_scorers(held_out_rows, training_rows, {"": implicit_reward.score})
    if process_rank() == 0:
        report_accuracies(training_run.report, held_out_split, metrics)
    training_run.finish(OutputKind.POLICY, {"held_out": held_out_split.value} | metrics)


class PairWriter:
    """Pairs as the policy reads and writes them: in its chat template, after a plan where it writes one."""

    def __init__(self, tokenizer: Any, plans: Plans) -> None:
        """`plans` are the plan words of requests, as the starter writes them before a greeting."""
        self._tokenizer, self._plans = tokenizer, plans
        self._vocabulary = tokenizer.get_vocab()

    def build_dataset(self, pair_rows: Sequence[DataRow]) -> Dataset:
        """TRL's conversational preference rows: prompt, chosen, rejected."""
        return Dataset.from_list([self._conversations(pair_row) for pair_row in pair_rows])

    def fits(self, pair_row: DataRow, max_length: int) -> bool:
        """Whether the request with either greeting has at most so many tokens."""
        return all(
            sum(map(len, self.encode_pair(pair_row["prompt"], pair_row[choice]))) <= max_length
            for choice in ("chosen", "rejected")
        )

    def differs(self, pair_row: DataRow) -> bool:
        """Whether the two greetings are written in different tokens."""
        chosen_tokens, rejected_tokens = (
            self.encode_pair(pair_row["prompt"], pair_row[choice]) for choice in ("chosen", "rejected")
        )
        return chosen_tokens != rejected_tokens

    def encode_pair(self, prompt_text: str, greeting_text: str) -> TokenPair:
        """Tokens of the request and of the greeting after it, cut where TRL cuts them."""
        prompt_turns, greeting_turns = self._turns(prompt_text, greeting_text)
        encode = partial(self._tokenizer.apply_chat_template, return_dict=False)
        prompt_ids: list[int] = encode(prompt_turns, add_generation_prompt=True)
        whole_ids: list[int] = encode(prompt_turns + greeting_turns)
        shared = 0
        while shared < min(len(prompt_ids), len(whole_ids)) and prompt_ids[shared] == whole_ids[shared]:
            shared += 1
        return whole_ids[:shared], whole_ids[shared:]

    def _conversations(self, pair_row: DataRow) -> dict[str, Any]:
        prompt_turns, chosen_turns = self._turns(pair_row["prompt"], pair_row["chosen"])
        _, rejected_turns = self._turns(pair_row["prompt"], pair_row["rejected"])
        return {"prompt": prompt_turns, "chosen": chosen_turns, "rejected": rejected_turns}

    def _turns(self, prompt_text: str, greeting_text: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        # Which of two greetings is better says nothing about the thoughts before them.
        answer = remove_thoughts(greeting_text) or ""
        planned_row = {"completion": answer, "plan": self._plans.get(prompt_text, ())}
        planned_text = starter_tokenizer.text_with_plan(planned_row, self._vocabulary)
        return [{"role": "user", "content": prompt_text}], [{"role": "assistant", "content": planned_text}]


def _plans_by_request(training_run: TrainingRun[DpoSettings]) -> Plans:
    """What the starter's composed greetings are about; both sides of a pair are for the same request."""
    return {
        data_row["prompt"]: data_row["plan"]
        for split in Split
        for data_row in training_run.snapshot.rows("sft", split)
        if "plan" in data_row
    }


def _choose_pairs(
    training_run: TrainingRun[DpoSettings], writer: PairWriter, pair_rows: Sequence[DataRow], token_limit: int
) -> list[DataRow]:
    """The pairs that fit and differ. Raises UserError where too few do."""
    selection = RowSelection(PAIRS, Split.TRAIN, token_limit, len(pair_rows))
    chosen_rows = []
    for pair_row in pair_rows:
        # Left out instead of cut: a greeting without its end teaches to go on and on.
        if not writer.fits(pair_row, token_limit):
            selection.left_out[TOO_LONG] += 1
        elif writer.differs(pair_row):
            chosen_rows.append(pair_row)
        else:
            selection.left_out[EQUAL] += 1
    training_run.report.log(PAIRS_CHOSEN.fill(chosen=len(chosen_rows), pairs=len(pair_rows), tokens=token_limit))
    selection.report_to(training_run, MIN_PAIRS)
    return chosen_rows


def _text_pairs(pair_rows: Sequence[DataRow]) -> list[TextPair]:
    return [(pair_row["prompt"], pair_row[choice]) for pair_row in pair_rows for choice in ("chosen", "rejected")]


def _build_arguments(training_run: TrainingRun[DpoSettings], has_evaluation: bool) -> DPOConfig:
    settings = training_run.settings
    loss_weights = {settings.loss_type: 1.0} | ({"sft": settings.sft_weight} if settings.sft_weight else {})
    return DPOConfig(
        **training_run.arguments(),
        max_length=settings.max_length,
        beta=settings.beta,
        loss_type=list(loss_weights),
        loss_weights=list(loss_weights.values()),
        label_smoothing=settings.label_smoothing,
        ld_alpha=settings.ld_alpha if settings.ld_alpha < 1 else None,
        precompute_ref_log_probs=settings.precompute_reference,
        eval_strategy="steps" if has_evaluation else "no",
        eval_steps=settings.eval_every,
    )


def _build_samples(
    training_run: TrainingRun[DpoSettings], trainer: DPOTrainer, tokenizer: Any, pair_rows: Sequence[DataRow]
) -> SampleReporter:
    settings = training_run.settings
    prompts = list(dict.fromkeys(pair_row["prompt"] for pair_row in pair_rows))[: settings.samples]
    return SampleReporter(
        training_run.report, tokenizer, prompts, settings.sample_every, settings.max_length, settings.seed, trainer
    )


if __name__ == "__main__":
    main("dpo", train)
