"""What every judge is: samples in, judgments of the same length and order out; and the plain spec it is built from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from pydantic import field_validator
from pydantic.dataclasses import dataclass as record_dataclass

from backend.core.enums import Scale
from backend.core.errors import Message, UserError


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
        """What the values of its judgments mean."""

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One judgment per sample, in the order of the batch. Never raises for one item: that is unscored."""


@dataclass(frozen=True)
class PairJudgment:
    """Which of two greetings a judge prefers; `outcome` None means unscored, and `reasons` then say why.

    `flip` is true where the two orders of asking gave opposite winners, so that the place decided.
    """

    outcome: PairOutcome | None
    flip: bool
    reasons: tuple[str, ...]
    details: dict[str, Any] | None = None


def version_of(judge_config: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 over the canonical JSON of the configuration.

    Stored with every verdict: a change in how this is computed makes every judge a new one.
    """
    # Sorted and without spaces, so that equal configurations are equal texts.
    canonical_json = json.dumps(judge_config, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical_json.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def unscored_judgment(reason: str) -> Judgment:
    """No verdict, and why."""
    return Judgment(None, reason)


# The judgment of every judge that reads the text. Asking a model would cost a call and give a made-up verdict.
EMPTY_GREETING = Judgment(None, "祝福语为空，无法评分")


class JudgeKind(StrEnum):
    """Every kind of judge there is; the value stands in stored specifications and versions."""

    LENGTH = "length"
    STYLE = "style"
    NGRAM = "ngram"
    PRINCIPLE = "principle"
    RUBRIC = "rubric"
    PAIRWISE = "pairwise"
    PANEL = "panel"
    RANKING = "ranking"
    REWARD_MODEL = "reward_model"


# How many examples a panel sees, the endpoint that embeds requests, and the index they come from.
EXAMPLE_SETTINGS = frozenset({"examples", "embeddings", "index"})
_SAMPLING_SETTINGS = frozenset({"temperature", "max_tokens", "seed"})
_ALLOWED_SETTINGS: dict[JudgeKind, frozenset[str]] = {
    JudgeKind.LENGTH: frozenset(),
    JudgeKind.STYLE: frozenset(),
    JudgeKind.NGRAM: frozenset(),
    JudgeKind.PRINCIPLE: _SAMPLING_SETTINGS | {"principles"},
    JudgeKind.RUBRIC: _SAMPLING_SETTINGS,
    JudgeKind.PAIRWISE: _SAMPLING_SETTINGS,
    JudgeKind.PANEL: _SAMPLING_SETTINGS | {"positive", "negative", "judge", "reflect", "endpoints"} | EXAMPLE_SETTINGS,
    JudgeKind.RANKING: _SAMPLING_SETTINGS | {"principles", "both_orders", "per_call"},
    JudgeKind.REWARD_MODEL: frozenset({"path", "max_length"}),
}
# Fitted to the corpus by themselves; they have no configuration.
TRAINED_HERE = frozenset({JudgeKind.LENGTH, JudgeKind.STYLE, JudgeKind.NGRAM})
# They ask a language model and need an endpoint.
ASKING_KINDS = frozenset(
    {JudgeKind.PRINCIPLE, JudgeKind.RUBRIC, JudgeKind.PAIRWISE, JudgeKind.PANEL, JudgeKind.RANKING}
)
# They look at several greetings of one request together and say nothing of a greeting alone.
COMPARING_KINDS = frozenset({JudgeKind.PAIRWISE, JudgeKind.RANKING})


@record_dataclass(frozen=True)
class JudgeSpec:
    """A judge before it is built. `config` holds what its kind allows; everything else has a default.

    Raises UserError for a name or a setting that it cannot have.
    """

    UNREADABLE: ClassVar = Message(
        "The stored description of a judge cannot be read ({detail}).", "无法读取裁判的定义（{detail}）。"
    )
    kind: JudgeKind
    name: str
    endpoint: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @field_validator("name", mode="before")
    @classmethod
    def _text_of_name(cls, stored_name: object) -> str:
        return str(stored_name)  # older files have names that are numbers

    @field_validator("config", mode="before")
    @classmethod
    def _no_config(cls, stored_config: object) -> object:
        return stored_config or {}

    def __post_init__(self) -> None:
        if not 0 < len(self.name.strip()) <= 60 or not self.name.isprintable():
            raise UserError("Give the judge a name of 1 to 60 characters.", "请填写裁判名称（1 到 60 个字符）。")
        # Verdicts stand under the judge's name: another judge of that name would be shown as the baseline.
        if self.name in TRAINED_HERE and self.name != self.kind:
            raise UserError(
                f"“{self.name}” is the name of a baseline; choose another.",
                f"“{self.name}”是基线裁判的名称，请换一个。",
            )
        # A misspelt setting would otherwise be stored and have no effect, and nobody would see that.
        unknown_settings = sorted(self.config.keys() - _ALLOWED_SETTINGS[self.kind])
        if unknown_settings:
            raise UserError(
                f"A judge of kind {self.kind} has no setting “{unknown_settings[0]}”.",
                f"{self.kind} 类裁判没有“{unknown_settings[0]}”这项设置。",
            )

    def with_name(self, new_name: str) -> "JudgeSpec":
        """The same judge under another name."""
        return replace(self, name=new_name)
