"""Judges fitted on a snapshot: the gold judge that no reward ever uses, and the n-gram judge as a reward.

Where the reward is the n-gram judge itself, the requests are divided: one half for the reward, the other
for gold. Both learn labels (chosen is good, rejected is not), so that 0 is where good begins.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

from backend.corpus.examples import ExampleService
from backend.db.engine import Database
from backend.judges.base import Judge, Sample
from backend.judges.ngram import fit_ngram
from backend.judges.pool import Label, TrainingPool
from backend.llm.budget import Budget
from backend.llm.service import EndpointService
from backend.scoring.house import ScoringHouse
from backend.settings import Settings
from backend.text import bucket
from backend.training_runs.data import Snapshot, open_snapshot
from backend.vocabulary import Split

WHOLE, REWARD_HALF, GOLD_HALF = -1, 0, 1


def fit_snapshot(snapshot: Snapshot, half: int = WHOLE) -> Judge:
    """The n-gram judge on the labels and pairs of every split; cross-fitting keeps requests apart."""
    labels = [label for split in Split for label in _labels(snapshot, split)]
    return fit_ngram(TrainingPool(labels=[one for one in labels if half in (WHOLE, half_of(one.prompt))]))


def half_of(prompt: str) -> int:
    """The half that a request belongs to where reward and gold must not share data."""
    return bucket(prompt, 2, salt="gold")


def _labels(snapshot: Snapshot, split: Split) -> list[Label]:
    found = [Label(row["prompt"], row["greeting"], row["good"]) for row in snapshot.rows("labels", split)]
    for row in snapshot.rows("pairs", split):
        found += [Label(row["prompt"], row["chosen"], True), Label(row["prompt"], row["rejected"], False)]
    return found


@dataclass(frozen=True)
class GoldReading:
    """What gold says of a body of greetings; nan where it could score none."""

    mean: float
    spread: float
    excellence: float
    unscored: float


@dataclass(frozen=True)
class Gold:
    """Reads a judge on a logit scale: mean probability of good, and the share that is good (logit ≥ 0)."""

    judge: Judge

    def read(self, requests: Sequence[str], texts: Sequence[str]) -> GoldReading:
        """One reading of greetings written for these requests."""
        batch = [Sample(request, text) for request, text in zip(requests, texts, strict=True)]
        logits = [draft.value for draft in asyncio.run(self.judge.score(batch)) if draft.value is not None]
        if not logits:
            return GoldReading(math.nan, math.nan, math.nan, 1.0)
        chances = [1 / (1 + math.exp(-max(-500.0, logit))) for logit in logits]
        return GoldReading(
            mean=fmean(chances),
            spread=pstdev(chances),
            excellence=fmean(logit >= 0 for logit in logits),
            unscored=1 - len(logits) / len(texts),
        )


@dataclass(frozen=True)
class RewardHouse:
    """Opens what rewards build their judges from. Picklable, so that any process can open its own."""

    settings: Settings
    snapshot: Path
    half: int = WHOLE
    max_calls: int | None = None

    def __call__(self) -> ScoringHouse:
        """The house of one run."""
        database = Database(self.settings.url)
        database.be_patient()
        endpoints = EndpointService(database, self.settings.home, self.settings)
        examples = ExampleService(database, self.settings.home, endpoints)
        return ScoringHouse(endpoints, self._fitted, Budget(max_calls=self.max_calls), examples=examples)

    def _fitted(self, _name: str) -> Judge:
        return fit_snapshot(open_snapshot(self.settings.home, str(self.snapshot)), self.half)
