"""The trivial judges over what the corpus holds now, kept until it changes and fitted when they score."""

import threading

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from backend.db.engine import Database
from backend.db.tables import Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.judges.base import Judge
from backend.judges.crossfit import Label, Pair, TrainingPool
from backend.judges.length import LengthJudge
from backend.judges.ngram import lazy_ngram
from backend.judges.style import lazy_style
from backend.pairs.vocabulary import OF_RUNS
from backend.vocabulary import RaterKind

_OURS = PreferencePair.origin.not_in(OF_RUNS)
"""What a judge labelled teaches no baseline, which would then agree with judges for no other reason."""


class FittedJudges:
    """Rebuilt when asked and something changed. Threads may share one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._fitted: tuple[tuple[int, ...], list[Judge]] | None = None

    def all(self) -> list[Judge]:
        """Length, style and n-gram, in that order."""
        with self._lock:
            with self._database.read() as session:
                signature = _signature(session)
            if self._fitted is None or self._fitted[0] != signature:
                with self._database.read() as session:
                    pool = _pool(session)
                self._fitted = (signature, [LengthJudge(), lazy_style(pool), lazy_ngram(pool)])
            return self._fitted[1]

    def one(self, name: str) -> Judge:
        """The one of that name."""
        return next(judge for judge in self.all() if judge.name == name)


def _signature(session: Session) -> tuple[int, ...]:
    pairs = session.execute(select(func.count(), func.max(PreferencePair.id)).where(_OURS)).one()
    labels = session.execute(
        select(func.count(), func.max(Verdict.id))
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.DATASET)
    ).one()
    return tuple(value or 0 for value in (*pairs, *labels))


def _pool(session: Session) -> TrainingPool:
    chosen, rejected = aliased(Greeting), aliased(Greeting)
    pairs = session.execute(
        select(Prompt.text, chosen.text, rejected.text)
        .select_from(PreferencePair)
        .join(Prompt, Prompt.id == PreferencePair.prompt_id)
        .join(chosen, chosen.id == PreferencePair.chosen_id)
        .join(rejected, rejected.id == PreferencePair.rejected_id)
        .where(_OURS)
        .order_by(PreferencePair.id)
    )
    labels = session.execute(
        select(Prompt.text, Greeting.text, Verdict.value)
        .select_from(Verdict)
        .join(Rater, Rater.id == Verdict.rater_id)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.value.is_not(None))
        .order_by(Verdict.id)
    )
    return TrainingPool(
        pairs=[Pair(*row) for row in pairs],
        labels=[Label(prompt, text, value >= 0.5) for prompt, text, value in labels if value is not None],
    )
