"""`python -m backend.training.reward_model`: which of two greetings for a request is the better one."""

from collections.abc import Callable
from typing import Any

from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from backend.starter.rows import COMPOSED
from backend.training import models
from backend.training.card import Kind
from backend.training.debias import Debias
from backend.training.pair_evaluation import Scores, evaluate, length_scorer, ngram_scorer
from backend.training.program import Run, main
from backend.training.reward_server import RewardModel
from backend.training_runs.config import RewardModelSettings
from backend.training_runs.data import Row
from backend.vocabulary import Split

ENOUGH = 20
Scorer = Callable[[list[tuple[str, str]]], Scores]


def train(run: Run[RewardModelSettings]) -> None:
    """Load, train, save, and hold it against simpler judges on requests it never saw."""
    chosen = run.settings
    rows, watched = run.snapshot.rows("pairs", Split.TRAIN), run.snapshot.rows("pairs", Split.VALIDATION)
    if len(rows) < ENOUGH:
        raise models.too_little(run, len(rows), ENOUGH)
    base = models.base_of(run, rows, "chosen", "rejected")
    tokenizer = models.load_tokenizer(base, chosen.revision)
    trainer = RewardTrainer(
        model=models.load_classifier(run, base, tokenizer),
        args=_arguments(run, bool(watched)),
        train_dataset=_chats(rows),
        eval_dataset=_chats(watched) if watched else None,
        processing_class=tokenizer,
        peft_config=models.lora(chosen, "SEQ_CLS"),
    )
    run.stop_if_asked()
    metrics = run.fit(trainer)
    run.save(trainer)
    metrics |= _compare(run, rows)
    run.finish(Kind.REWARD_MODEL, metrics)


def _compare(run: Run[RewardModelSettings], rows: list[Row]) -> dict[str, Any]:
    # The model is read back from its files: what is measured is what others will load.
    model = RewardModel(run.artifact, run.settings.max_length, run.settings.batch_size)
    split, pairs = run.snapshot.held_out("pairs")
    # What was composed to miss its request is easier than what people judged: a figure of its own.
    held_out, composed = _apart(pairs)
    scorers: dict[str, Scorer] = {"": lambda items: model.raw_scores([list(item) for item in items])}
    metrics: dict[str, Any] = {"held_out": split.value}
    if run.settings.debias:
        model.debias = debias = _fit_debias(run, scorers[""], rows)
        metrics |= {"debias_slope": debias.slope, "debias_mean": debias.mean}
        scorers["debiased_"] = lambda items: model.score([list(item) for item in items])
    if composed:
        figures = evaluate(composed, scorers[""])
        metrics |= {f"composed_{key}": figures[f"all_{key}"] for key in ("accuracy", "pairs", "unscored")}
    if held_out:
        scorers |= {"ngram_": ngram_scorer(_apart(rows)[0]), "length_": length_scorer}
        for name, scorer in scorers.items():
            metrics |= {f"{name}{key}": value for key, value in evaluate(held_out, scorer).items()}
    for name in (name for name in metrics if name.endswith("accuracy") and metrics[name] is not None):
        pairs = metrics[f"{name.removesuffix('accuracy')}pairs"]
        run.report.log(f"{split.value} {name}: {metrics[name]:.3f} on {pairs} pairs")
    return metrics


def _apart(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Pairs that people or authors preferred, and pairs that were composed."""
    made = [row.get("origin") == COMPOSED for row in rows]
    return (
        [row for row, composed in zip(rows, made, strict=True) if not composed],
        [row for row, composed in zip(rows, made, strict=True) if composed],
    )


def _fit_debias(run: Run[RewardModelSettings], score: Scorer, rows: list[Row]) -> Debias:
    groups = []
    for side in ("chosen", "rejected"):
        values = score([(row["prompt"], row[side]) for row in rows])
        known = [(row[side], value) for row, value in zip(rows, values, strict=True) if value is not None]
        groups.append(known)
    debias = Debias.fit(groups)
    debias.save(run.artifact)
    return debias


def _arguments(run: Run[RewardModelSettings], evaluated: bool) -> RewardConfig:
    return RewardConfig(
        **run.arguments(),
        max_length=run.settings.max_length,
        center_rewards_coefficient=run.settings.center_rewards or None,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=run.settings.eval_every,
    )


def _chats(rows: list[Row]) -> Dataset:
    def turns(prompt: str, text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]

    return Dataset.from_list(
        [{side: turns(row["prompt"], row[side]) for side in ("chosen", "rejected")} for row in rows]
    )


if __name__ == "__main__":
    main("reward_model", train)
