"""What every judge is: samples in, drafts of the same length and order out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from backend.vocabulary import Scale


class PairOutcome(StrEnum):
    """What a judge says of two greetings: the first, the second, or neither is better."""

    A = "a"
    B = "b"
    TIE = "tie"


@dataclass(frozen=True)
class Sample:
    """One greeting and the request it answers."""

    prompt: str
    greeting: str


@dataclass(frozen=True)
class PairSample:
    """Two greetings for the same request."""

    prompt: str
    first_greeting: str
    second_greeting: str


@dataclass(frozen=True)
class Judgment:
    """A judge's verdict on one sample. `value` None means unscored, and `reason` then says why."""

    value: float | None
    reason: str
    details: dict[str, Any] | None = None


class Judge(Protocol):
    """An automatic judge at one exact version; it knows no database."""

    @property
    def name(self) -> str:
        """Short stable name, such as "length"."""

    @property
    def version(self) -> str:
        """Hash of everything that decides its verdicts, see `version_of`."""

    @property
    def scale(self) -> Scale:
        """What the values of its drafts mean."""

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One draft per sample, in the order of the batch. Never raises for one item: that is unscored."""


@dataclass(frozen=True)
class PairJudgment:
    """Which of two greetings a judge prefers; `outcome` None means unscored, and `reasons` then say why.

    `flip` is true where the two orders of asking gave opposite winners, so that the place decided.
    """

    outcome: PairOutcome | None
    flip: bool
    reasons: tuple[str, ...]
    details: dict[str, Any] | None = None


@runtime_checkable
class PairJudge(Protocol):
    """A judge of two greetings for one request, at one exact version; it knows no database."""

    @property
    def name(self) -> str:
        """Short stable name, such as "pairwise"."""

    @property
    def version(self) -> str:
        """Hash of everything that decides its verdicts, see `version_of`."""

    async def compare(self, prompt: str, first_greeting: str, second_greeting: str) -> PairJudgment:
        """Which of the two is better. Raises only what ends the whole run."""


def version_of(judge_config: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 over the canonical JSON of `config`."""
    canonical_json = json.dumps(judge_config, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical_json.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def unscored_judgment(reason: str) -> Judgment:
    """No verdict, and why."""
    return Judgment(None, reason)


EMPTY_GREETING = Judgment(None, "祝福语为空，无法评分")
"""What judges that read the text say of an empty greeting."""
