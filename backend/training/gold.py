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
from backend.judges.pool import TrainingLabel, TrainingPool
from backend.llm.budget import Budget
from backend.llm.service import EndpointService
from backend.scoring.house import DatabaseJudgeContext
from backend.settings import Settings
from backend.text import assign_bucket
from backend.training_runs.data import Snapshot, open_snapshot
from backend.vocabulary import Split

WHOLE_SNAPSHOT, REWARD_HALF, GOLD_HALF = -1, 0, 1


def fit_snapshot_judge(snapshot: Snapshot, data_half: int = WHOLE_SNAPSHOT) -> Judge:
    """The n-gram judge on the labels and pairs of every split; cross-fitting keeps requests apart."""
    training_labels = [label for split in Split for label in _load_labels(snapshot, split)]
    return fit_ngram(
        TrainingPool(
            labels=[
                candidate
                for candidate in training_labels
                if data_half in (WHOLE_SNAPSHOT, find_request_half(candidate.prompt))
            ]
        )
    )


def find_request_half(prompt_text: str) -> int:
    """The half that a request belongs to where reward and gold must not share data."""
    return assign_bucket(prompt_text, 2, hash_salt="gold")


def _load_labels(snapshot: Snapshot, split: Split) -> list[TrainingLabel]:
    split_labels = [
        TrainingLabel(data_row["prompt"], data_row["greeting"], data_row["good"])
        for data_row in snapshot.rows("labels", split)
    ]
    for data_row in snapshot.rows("pairs", split):
        split_labels += [
            TrainingLabel(data_row["prompt"], data_row["chosen"], True),
            TrainingLabel(data_row["prompt"], data_row["rejected"], False),
        ]
    return split_labels


@dataclass(frozen=True)
class GoldReading:
    """What gold says of a body of greetings; nan where it could score none."""

    mean: float
    spread: float
    excellence: float
    unscored: float


@dataclass(frozen=True)
class GoldJudge:
    """Reads a judge on a logit scale: mean probability of good, and the share that is good (logit ≥ 0)."""

    judge: Judge

    def read_greetings(self, requests: Sequence[str], greetings: Sequence[str]) -> GoldReading:
        """One reading of greetings written for these requests."""
        samples = [
            Sample(prompt_text, greeting_text) for prompt_text, greeting_text in zip(requests, greetings, strict=True)
        ]
        logits = [judgment.value for judgment in asyncio.run(self.judge.score(samples)) if judgment.value is not None]
        if not logits:
            return GoldReading(math.nan, math.nan, math.nan, 1.0)
        probabilities = [1 / (1 + math.exp(-max(-500.0, logit))) for logit in logits]
        return GoldReading(
            mean=fmean(probabilities),
            spread=pstdev(probabilities),
            excellence=fmean(logit >= 0 for logit in logits),
            unscored=1 - len(logits) / len(greetings),
        )


@dataclass(frozen=True)
class RewardContextFactory:
    """Opens what rewards build their judges from. Picklable, so that any process can open its own."""

    settings: Settings
    snapshot: Path
    data_half: int = WHOLE_SNAPSHOT
    max_calls: int | None = None

    def __call__(self) -> DatabaseJudgeContext:
        """The house of one run."""
        database = Database(self.settings.url)
        database.wait_patiently()
        endpoint_service = EndpointService(database, self.settings.home, self.settings)
        example_service = ExampleService(database, self.settings.home, endpoint_service)
        return DatabaseJudgeContext(
            endpoint_service,
            self._fit_judge,
            Budget(max_calls=self.max_calls),
            example_service=example_service,
        )

    def _fit_judge(self, _name: str) -> Judge:
        return fit_snapshot_judge(open_snapshot(self.settings.home, str(self.snapshot)), self.data_half)
