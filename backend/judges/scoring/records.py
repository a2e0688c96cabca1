"""What crosses from scoring to pages and commands: requests, progress, estimates, judges and their opinions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass as record_dataclass

from backend.core.enums import EventLevel, Scale
from backend.core.errors import Message
from backend.core.stored_records import JsonNumber, read_record
from backend.jobs.messages import BUDGET_USED, FIGURES, JobMessage, MessageTemplate
from backend.judges.base import JudgeKind, JudgeSpec
from backend.judges.scoring.targets import ScoringTarget

SCORING_STARTED = MessageTemplate(
    "scoring_started", "judge {judge}, target {kind} {target}", "裁判 {judge}，对象 {kind} {target}"
)
SCORING = MessageTemplate("scoring", "{figures_en}", "{figures_zh}")
# Figures of a job, and what people should know of its judge.
SCORING_CONSTANT = MessageTemplate(
    "scoring_constant", "{figures_en} · {notice_en}", "{figures_zh} · {notice_zh}", EventLevel.WARNING
)


class ScoringRunState(StrEnum):
    """How a run stands or ended."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # asked to pause or cancel; a later run goes on
    BUDGET = "budget"  # the cap was reached
    FAILED = "failed"  # an error that no other item can cure


@record_dataclass(
    frozen=True, config=ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)
)
class ScoreRequest:
    """One run: which judge, on what, with which caps. A job's configuration has `spec` as `judge`."""

    UNREADABLE: ClassVar = Message("The job names no judge or no target.", "任务没有指定裁判或评判对象。")
    spec: Annotated[JudgeSpec, Field(validation_alias="judge", serialization_alias="judge")]
    target: ScoringTarget
    retry_unscored: bool = False
    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: JsonNumber | None = None

    @field_validator("spec", mode="before")
    @classmethod
    def _spec_in_its_own_words(cls, stored_spec: object) -> object:
        """What a judge's description lacks is told as that, not as a judge that is missing."""
        return read_record(JudgeSpec, stored_spec) if isinstance(stored_spec, Mapping) else stored_spec

    @field_validator("target", mode="before")
    @classmethod
    def _target_in_its_own_words(cls, stored_target: object) -> object:
        return read_record(ScoringTarget, stored_target) if isinstance(stored_target, Mapping) else stored_target


@dataclass(frozen=True)
class ScoreProgress:
    """How far a run is. `items = scored + unscored + left`; `cached` needed no call in this run."""

    judge: str
    version: str
    state: ScoringRunState
    items: int
    scored: int
    unscored: int
    cached: int
    calls: int
    tokens: int
    cost: float
    seconds: float
    rate: float
    error: Message | None = None
    # What people should know of the judge, though nothing failed: it gave one value to everything.
    notice: Message | None = None

    @property
    def items_left(self) -> int:
        """Items that this run has not come to."""
        return self.items - self.scored - self.unscored

    @property
    def share(self) -> float:
        """How much is done, 0 to 1; a run without items is done."""
        return 1.0 - self.items_left / self.items if self.items else 1.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to go at this rate, None before anything is judged."""
        return self.items_left / self.rate if self.rate > 0 else None

    def summary_line(self) -> str:
        """One line of figures, the same in both languages."""
        judged_count = self.scored + self.unscored
        eta_text = "–" if self.eta_seconds is None else format_duration(self.eta_seconds)
        return (
            f"{judged_count:,} / {self.items:,} · {self.rate:.1f}/s · ETA {eta_text} · calls {self.calls:,} · "
            f"cost {self.cost:.4f} · unscored {self.unscored:,} · cached {self.cached:,}"
        )

    def plain(self) -> dict[str, Any]:
        """As the command prints it."""
        progress_fields = asdict(self) | {"state": self.state.value, "left": self.items_left}
        progress_fields.pop("rate")
        messages = {"error": self.error, "notice": self.notice}
        return {
            **progress_fields,
            **{message_name: message.en if message else None for message_name, message in messages.items()},
        }


@dataclass(frozen=True)
class RunEstimate:
    """What a run will roughly take. Tokens are guessed from characters."""

    items: int
    missing: int
    calls: int
    tokens: int
    cost: float
    seconds: float


@dataclass(frozen=True)
class JudgeInfo:
    """A judge at one version. `spec` is None for what was stored without one (older baselines)."""

    id: int
    name: str
    kind: JudgeKind | None
    version: str
    scale: Scale | None
    endpoint: str | None
    created_at: datetime
    newest: bool
    scored: int
    unscored: int
    cost: float
    spec: JudgeSpec | None


@dataclass(frozen=True)
class Opinion:
    """One judge's verdict on a greeting."""

    value: float | None
    reason: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class OpinionPair:
    """Two judges on one greeting."""

    greeting_id: int
    prompt: str
    greeting: str
    first: Opinion
    second: Opinion


@dataclass(frozen=True)
class OpinionPairPage:
    """One page of them, and how many there are in all."""

    total: int
    rows: tuple[OpinionPair, ...]


def format_duration(seconds: float) -> str:
    """Seconds as "h:mm:ss", or "m:ss" below an hour."""
    minutes, rest_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest_seconds:02d}" if hours else f"{minutes}:{rest_seconds:02d}"


def progress_message(progress: ScoreProgress) -> JobMessage:
    """How a run stands, as its job reports it."""
    template = BUDGET_USED if progress.state is ScoringRunState.BUDGET else FIGURES
    figures = template.fill(figures=progress.summary_line())
    if progress.notice is None:
        return SCORING.fill(figures_en=figures.en, figures_zh=figures.zh)
    return SCORING_CONSTANT.fill(
        figures_en=figures.en, figures_zh=figures.zh, notice_en=progress.notice.en, notice_zh=progress.notice.zh
    )


def read_progress(message: JobMessage) -> tuple[Message, Message | None]:
    """The figures of `progress_message`, and the notice about the judge where there is one."""
    values = message.values
    if message.code not in (SCORING.code, SCORING_CONSTANT.code):
        return message, None
    has_notice = message.code == SCORING_CONSTANT.code
    figures = Message(values["figures_en"], values["figures_zh"])
    return figures, Message(values["notice_en"], values["notice_zh"]) if has_notice else None
