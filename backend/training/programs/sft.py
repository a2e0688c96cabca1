"""`python -m backend.training.programs.sft`: supervised fine-tuning on accepted greetings, request → greeting."""

from typing import Any

from datasets import Dataset
from torch.nn.functional import cross_entropy
from trl import SFTConfig, SFTTrainer

from backend.core.enums import Split
from backend.core.text import count_characters
from backend.training.messages import FEW_GREETINGS
from backend.training.programs import models
from backend.training.programs.base_files import bound_token_limit
from backend.training.programs.callbacks import SampleReporter, TokenCounter
from backend.training.programs.card import OutputKind
from backend.training.programs.chat_format import EncodedGreeting
from backend.training.programs.environment import process_count
from backend.training.programs.program import TrainingRun, main
from backend.training.programs.training_rows import select_greetings, warn_if_template_differs
from backend.training.settings import STARTER, SftSettings
from backend.training.snapshot import DataRow

MIN_ROWS = 20
# Characters of greetings below which a model from scratch repeats what it read, and babbles otherwise.
MIN_CHARACTERS = 100_000


# On two cores 28 to 41 % faster than TRL's own loss.
class LeanSFTTrainer(SFTTrainer):
    """Off the GPU TRL scores the request and padding against the whole vocabulary too; this does not."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of the greeting's tokens (TRL asks to override this method for a loss of one's own)."""
        # The model predicts the token that follows, hence the shift by one.
        labels = inputs.pop("labels")[:, 1:]
        is_scored, token_count = labels != -100, (labels != -100).sum()
        with self.accelerator.autocast():
            hidden_states = model.get_decoder()(**inputs, use_cache=False).last_hidden_state[:, :-1][is_scored]
            logits = model.get_output_embeddings()(hidden_states)
        # In float32: a sum over thousands of tokens loses its last digits in bfloat16.
        loss = cross_entropy(logits.float(), labels[is_scored], reduction="sum")
        # With accumulation the trainer hands over the number of all batches of a step, so that each token
        # weighs alike.
        return loss / (token_count.clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def train(training_run: TrainingRun[SftSettings]) -> None:
    """Load, train, evaluate, save."""
    settings = training_run.settings
    rows_by_split = {split: training_run.snapshot.rows("sft", split) for split in Split}
    if len(rows_by_split[Split.TRAIN]) < MIN_ROWS:
        raise models.too_few_rows(training_run, len(rows_by_split[Split.TRAIN]), MIN_ROWS)
    _warn_if_small(training_run, rows_by_split[Split.TRAIN])
    base_model = models.resolve_base(training_run, rows_by_split[Split.TRAIN], "completion")
    tokenizer = models.load_training_tokenizer(training_run, base_model)
    warn_if_template_differs(training_run, tokenizer)
    validation_rows = rows_by_split[Split.VALIDATION]
    # Wrapped blocks hold every token of a row, whatever its length.
    token_limit = None if settings.packing == "wrapped" else bound_token_limit(base_model, settings)
    training_set = select_greetings(
        training_run, tokenizer, Split.TRAIN, rows_by_split[Split.TRAIN], token_limit, MIN_ROWS
    )
    validation_set = select_greetings(training_run, tokenizer, Split.VALIDATION, validation_rows, token_limit)
    training_run.count_tokens = _greeting_token_counter(training_set)
    trainer = _choose_trainer(training_run)(
        model=models.load_policy(training_run, base_model, tokenizer),
        args=_build_arguments(training_run, bool(validation_set)),
        train_dataset=build_dataset(training_set),
        eval_dataset=build_dataset(validation_set) if validation_set else None,
        processing_class=tokenizer,
        peft_config=models.build_lora_config(settings, "CAUSAL_LM"),
    )
    training_run.stop_together()
    sample_prompts = list(
        dict.fromkeys(data_row["prompt"] for data_row in validation_rows or rows_by_split[Split.TRAIN])
    )[: settings.samples]
    sample_reporter = SampleReporter(
        training_run.report,
        tokenizer,
        sample_prompts,
        settings.sample_every,
        settings.max_length,
        settings.seed,
        trainer,
    )
    metrics = training_run.fit(trainer, [sample_reporter])
    if validation_set:
        metrics["eval_loss"] = trainer.evaluate()["eval_loss"]
    training_run.save(trainer)
    training_run.finish(OutputKind.POLICY, metrics)


def _choose_trainer(training_run: TrainingRun[SftSettings]) -> type[SFTTrainer]:
    # The lean loss calls the model's parts by themselves: gradients of several processes, which are averaged by
    # what wraps the whole model, would not be.
    is_alone = training_run.device == "cpu" and process_count() == 1
    return LeanSFTTrainer if is_alone else SFTTrainer


def _warn_if_small(training_run: TrainingRun[SftSettings], data_rows: list[DataRow]) -> None:
    character_count = sum(count_characters(data_row["completion"]) for data_row in data_rows)
    if training_run.settings.base == STARTER and character_count < MIN_CHARACTERS:
        training_run.report.log(
            FEW_GREETINGS.fill(greetings=len(data_rows), characters=character_count, needed=MIN_CHARACTERS)
        )


def _build_arguments(training_run: TrainingRun[SftSettings], has_evaluation: bool) -> SFTConfig:
    settings = training_run.settings
    is_packed = settings.packing != "none"
    return SFTConfig(
        **training_run.arguments(),
        max_length=settings.max_length,
        completion_only_loss=True,
        packing=is_packed,
        packing_strategy=settings.packing if is_packed else "bfd",
        eval_packing=False,
        # Rows come sorted by their text; packed in that order a block would hold requests that begin alike.
        shuffle_dataset=is_packed,
        # The trainer would otherwise gather the logits of the whole evaluation set in memory.
        prediction_loss_only=True,
        eval_strategy="steps" if has_evaluation else "no",
        eval_steps=settings.eval_every,
        # By length, which saves padding; packed blocks all have the same one.
        train_sampling_strategy="random" if is_packed else "group_by_length",
        include_num_input_tokens_seen="non_padding",
    )


def build_dataset(encoded_greetings: list[EncodedGreeting]) -> Dataset:
    """Rows in tokens, which TRL takes as they are: with its own tokenizing it would cut what is too long."""
    return Dataset.from_list(
        [{"input_ids": encoded.token_ids, "labels": encoded.labels} for encoded in encoded_greetings]
    )


def _greeting_token_counter(encoded_greetings: list[EncodedGreeting]) -> TokenCounter:
    token_count = sum(len(encoded.token_ids) for encoded in encoded_greetings)
    learnt_count = token_count - sum(encoded.request_length for encoded in encoded_greetings)
    # The trainer counts what it reads, requests included; of these rows so many tokens are learnt.
    return lambda tokens_seen: round(tokens_seen * learnt_count / max(token_count, 1))


if __name__ == "__main__":
    main("sft", train)
