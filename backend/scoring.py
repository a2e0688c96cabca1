"""Scoring: judges over greetings of the database, every verdict stored under the judge's exact version."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.tables import Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.judges.base import Draft, Judge, Sample
from backend.judges.crossfit import Label, Pair, TrainingPool
from backend.judges.length import LengthJudge
from backend.judges.ngram import fit_ngram
from backend.judges.style import fit_style
from backend.vocabulary import RaterKind

TRIVIAL = ("length", "style", "ngram")
BATCH = 500

Progress = Callable[[float, str], None]


class ScoringService:
    """Keeps fitted judges, and fills in the verdicts that are missing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._fitted: tuple[tuple[int, ...], list[Judge]] | None = None

    def trivial(self) -> list[Judge]:
        """The judges nobody should mistake for taste, fitted to what the corpus holds now."""
        with self._lock:
            signature = self._signature()
            if self._fitted is None or self._fitted[0] != signature:
                pool = self._pool()
                self._fitted = (signature, [LengthJudge(), fit_style(pool), fit_ngram(pool)])
            return self._fitted[1]

    def ensure_trivial(self, greeting_ids: Iterable[int], progress: Progress | None = None) -> None:
        """Store the trivial judges' verdicts on these greetings where they are missing."""
        wanted = sorted(set(greeting_ids))
        judges = self.trivial()
        for number, judge in enumerate(judges):
            if progress:
                progress(number / len(judges), judge.name)
            self.score_missing(judge, wanted)

    def score_missing(self, judge: Judge, greeting_ids: Sequence[int]) -> int:
        """Score those of the greetings on which this version has no verdict; returns how many."""
        rater_id = self.rater(judge)
        with self._database.read() as session:
            known = set(session.scalars(select(Verdict.greeting_id).where(Verdict.rater_id == rater_id)))
        missing = [greeting_id for greeting_id in greeting_ids if greeting_id not in known]
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            samples = self._samples(batch)
            drafts = asyncio.run(judge.score(list(samples.values())))
            self._store(judge, rater_id, list(samples), drafts)
        return len(missing)

    def rater(self, judge: Judge) -> int:
        """The id of the rater that stands for this judge at this version."""
        key = {"kind": RaterKind.JUDGE, "name": judge.name, "version": judge.version}
        with self._database.write() as session:
            insert_ignore(session, Rater, [{**key, "config": {"scale": judge.scale.value}}])
            return session.scalars(select(Rater.id).filter_by(**key)).one()

    def _samples(self, greeting_ids: Sequence[int]) -> dict[int, Sample]:
        with self._database.read() as session:
            rows = session.execute(
                select(Greeting.id, Prompt.text, Greeting.text)
                .join(Prompt, Prompt.id == Greeting.prompt_id)
                .where(Greeting.id.in_(greeting_ids))
            )
            return {greeting_id: Sample(prompt, text) for greeting_id, prompt, text in rows}

    def _store(self, judge: Judge, rater_id: int, ids: Sequence[int], drafts: Sequence[Draft]) -> None:
        rows = [
            {
                "rater_id": rater_id,
                "greeting_id": greeting_id,
                "value": draft.value,
                "scale": judge.scale,
                "reason": draft.reason,
                "dimensions": draft.details,
            }
            for greeting_id, draft in zip(ids, drafts, strict=True)
        ]
        with self._database.write() as session:
            insert_ignore(session, Verdict, rows)

    def _signature(self) -> tuple[int, ...]:
        with self._database.read() as session:
            pairs = session.execute(select(func.count(), func.max(PreferencePair.id))).one()
            labels = session.execute(
                select(func.count(), func.max(Verdict.id))
                .join(Rater, Rater.id == Verdict.rater_id)
                .where(Rater.kind == RaterKind.DATASET)
            ).one()
        return tuple(value or 0 for value in (*pairs, *labels))

    def _pool(self) -> TrainingPool:
        chosen, rejected = aliased(Greeting), aliased(Greeting)
        with self._database.read() as session:
            pairs = [
                Pair(*row)
                for row in session.execute(
                    select(Prompt.text, chosen.text, rejected.text)
                    .select_from(PreferencePair)
                    .join(Prompt, Prompt.id == PreferencePair.prompt_id)
                    .join(chosen, chosen.id == PreferencePair.chosen_id)
                    .join(rejected, rejected.id == PreferencePair.rejected_id)
                    .order_by(PreferencePair.id)
                )
            ]
            labels = [
                Label(prompt, text, value >= 0.5)
                for prompt, text, value in session.execute(
                    select(Prompt.text, Greeting.text, Verdict.value)
                    .select_from(Verdict)
                    .join(Rater, Rater.id == Verdict.rater_id)
                    .join(Greeting, Greeting.id == Verdict.greeting_id)
                    .join(Prompt, Prompt.id == Greeting.prompt_id)
                    .where(Rater.kind == RaterKind.DATASET, Verdict.value.is_not(None))
                    .order_by(Verdict.id)
                )
                if value is not None
            ]
        return TrainingPool(pairs=pairs, labels=labels)
