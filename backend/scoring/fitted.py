"""The trivial judges over what the corpus holds now, kept until it changes and fitted when they score."""

import threading

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from backend.db.engine import Database
from backend.db.tables import Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.judges.base import Judge
from backend.judges.crossfit import TrainingLabel, TrainingPair, TrainingPool
from backend.judges.length import LengthJudge
from backend.judges.ngram import lazy_ngram
from backend.judges.style import lazy_style
from backend.pairs.vocabulary import JUDGE_ORIGINS
from backend.vocabulary import RaterKind

_NOT_FROM_RUNS = PreferencePair.origin.not_in(JUDGE_ORIGINS)
"""What a judge labelled teaches no baseline, which would then agree with judges for no other reason."""


class FittedJudges:
    """Rebuilt when asked and something changed. Threads may share one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._cached_judges: tuple[tuple[int, ...], list[Judge]] | None = None

    def all_judges(self) -> list[Judge]:
        """Length, style and n-gram, in that order."""
        with self._lock:
            with self._database.read() as session:
                corpus_signature = _corpus_signature(session)
            if self._cached_judges is None or self._cached_judges[0] != corpus_signature:
                with self._database.read() as session:
                    training_pool = _build_training_pool(session)
                self._cached_judges = (
                    corpus_signature,
                    [LengthJudge(), lazy_style(training_pool), lazy_ngram(training_pool)],
                )
            return self._cached_judges[1]

    def judge_named(self, judge_name: str) -> Judge:
        """The one of that name."""
        return next(judge for judge in self.all_judges() if judge.name == judge_name)


def _corpus_signature(session: Session) -> tuple[int, ...]:
    pair_figures = session.execute(select(func.count(), func.max(PreferencePair.id)).where(_NOT_FROM_RUNS)).one()
    label_figures = session.execute(
        select(func.count(), func.max(Verdict.id))
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.DATASET)
    ).one()
    return tuple(figure or 0 for figure in (*pair_figures, *label_figures))


def _build_training_pool(session: Session) -> TrainingPool:
    chosen_greeting, rejected_greeting = aliased(Greeting), aliased(Greeting)
    pair_rows = session.execute(
        select(Prompt.text, chosen_greeting.text, rejected_greeting.text)
        .select_from(PreferencePair)
        .join(Prompt, Prompt.id == PreferencePair.prompt_id)
        .join(chosen_greeting, chosen_greeting.id == PreferencePair.chosen_id)
        .join(rejected_greeting, rejected_greeting.id == PreferencePair.rejected_id)
        .where(_NOT_FROM_RUNS)
        .order_by(PreferencePair.id)
    )
    label_rows = session.execute(
        select(Prompt.text, Greeting.text, Verdict.value)
        .select_from(Verdict)
        .join(Rater, Rater.id == Verdict.rater_id)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.value.is_not(None))
        .order_by(Verdict.id)
    )
    return TrainingPool(
        pairs=[TrainingPair(*pair_row) for pair_row in pair_rows],
        labels=[
            TrainingLabel(prompt_text, greeting_text, label_value >= 0.5)
            for prompt_text, greeting_text, label_value in label_rows
            if label_value is not None
        ],
    )
