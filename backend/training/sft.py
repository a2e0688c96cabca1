"""`python -m backend.training.sft`: supervised fine-tuning on accepted greetings, request → greeting."""

from typing import Any

from datasets import Dataset
from torch.nn.functional import cross_entropy
from trl import SFTConfig, SFTTrainer

from backend.text import length
from backend.training import models, plan
from backend.training.callbacks import Samples
from backend.training.card import Kind
from backend.training.program import Run, main
from backend.training_runs.config import STARTER, SftSettings
from backend.training_runs.data import Row
from backend.vocabulary import Split

ENOUGH = 20
ENOUGH_TO_WRITE = 100_000
"""Characters of greetings below which a model from scratch repeats what it read, and babbles otherwise."""


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
        labels = inputs.pop("labels")[:, 1:]
        told, count = labels != -100, (labels != -100).sum()
        with self.accelerator.autocast():
            hidden = model.get_decoder()(**inputs, use_cache=False).last_hidden_state[:, :-1][told]
            scores = model.get_output_embeddings()(hidden)
        loss = cross_entropy(scores.float(), labels[told], reduction="sum")
        return loss / (count.clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def train(run: Run[SftSettings]) -> None:
    """Load, train, evaluate, save."""
    chosen = run.settings
    rows = {split: run.snapshot.rows("sft", split) for split in Split}
    if len(rows[Split.TRAIN]) < ENOUGH:
        raise models.too_little(run, len(rows[Split.TRAIN]), ENOUGH)
    _warn(run, rows[Split.TRAIN])
    base = models.base_of(run, rows[Split.TRAIN], "completion")
    tokenizer = models.load_tokenizer(base, chosen.revision)
    held_out = rows[Split.VALIDATION]
    trainer = (LeanSFTTrainer if run.device == "cpu" else SFTTrainer)(
        model=models.load_policy(run, base),
        args=_arguments(run, bool(held_out)),
        train_dataset=_chats(rows[Split.TRAIN], tokenizer),
        eval_dataset=_chats(held_out, tokenizer) if held_out else None,
        processing_class=tokenizer,
        peft_config=models.lora(chosen, "CAUSAL_LM"),
    )
    run.stop_if_asked()
    prompts = list(dict.fromkeys(row["prompt"] for row in held_out or rows[Split.TRAIN]))[: chosen.samples]
    samples = Samples(run.report, tokenizer, prompts, chosen.sample_every, chosen.max_length, chosen.seed)
    metrics = run.fit(trainer, [samples])
    if held_out:
        metrics["eval_loss"] = trainer.evaluate()["eval_loss"]
    run.save(trainer)
    run.finish(Kind.POLICY, metrics)


def _warn(run: Run[SftSettings], rows: list[Row]) -> None:
    size = sum(length(row["completion"]) for row in rows)
    if run.settings.base == STARTER and size < ENOUGH_TO_WRITE:
        run.report.log(
            f"警告：{len(rows)} 条祝福共 {size} 字，从零训练只会背诵，学不会写；"
            f"请导入更多（至少 {ENOUGH_TO_WRITE} 字），或选一个训练好的模型作起点。 | "
            f"warning: {len(rows)} greetings of {size} characters teach a model from scratch to repeat them; "
            f"import more (at least {ENOUGH_TO_WRITE} characters) or choose a trained base."
        )


def _arguments(run: Run[SftSettings], evaluated: bool) -> SFTConfig:
    chosen = run.settings
    packed = chosen.packing != "none"
    return SFTConfig(
        **run.arguments(),
        max_length=chosen.max_length,
        completion_only_loss=True,
        packing=packed,
        packing_strategy=chosen.packing if packed else "bfd",
        eval_packing=False,
        shuffle_dataset=packed,
        prediction_loss_only=True,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=chosen.eval_every,
        train_sampling_strategy="random" if packed else "group_by_length",
        include_num_input_tokens_seen="non_padding",
    )


def _chats(rows: list[Row], tokenizer: Any) -> Dataset:
    known = tokenizer.get_vocab()
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["prompt"]}],
                "completion": [{"role": "assistant", "content": plan.written(row, known)}],
            }
            for row in rows
        ]
    )


if __name__ == "__main__":
    main("sft", train)
