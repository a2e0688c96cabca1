"""What crosses from scoring to pages and commands."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from backend.errors import Message, UserError
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.scoring.targets import Target
from backend.vocabulary import Scale

WARNING = " ⚠ "
"""Parts the figures of a job from what people should know of its judge ("中文 | English")."""


class RunState(StrEnum):
    """How a run stands or ended."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # asked to pause or cancel; a later run goes on
    BUDGET = "budget"  # the cap was reached
    FAILED = "failed"  # an error that no other item can cure


@dataclass(frozen=True)
class ScoreRequest:
    """One run: which judge, on what, with which caps."""

    spec: JudgeSpec
    target: Target
    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    retry_unscored: bool = False

    def plain(self) -> dict[str, Any]:
        """As a job's configuration has it."""
        caps = {name: getattr(self, name) for name in ("max_calls", "max_tokens", "max_cost")}
        return {
            "judge": self.spec.plain(),
            "target": self.target.plain(),
            "retry_unscored": self.retry_unscored,
            **caps,
        }

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """From what `plain` gave. Raises UserError."""
        if not isinstance(value.get("judge"), Mapping) or not isinstance(value.get("target"), Mapping):
            raise UserError("The job names no judge or no target.", "任务没有指定裁判或评判对象。")
        return cls(
            JudgeSpec.read(value["judge"]),
            Target.read(value["target"]),
            value.get("max_calls"),
            value.get("max_tokens"),
            value.get("max_cost"),
            bool(value.get("retry_unscored")),
        )


@dataclass(frozen=True)
class ScoreProgress:
    """How far a run is. `items = scored + unscored + left`; `cached` needed no call in this run."""

    judge: str
    version: str
    state: RunState
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
    notice: Message | None = None
    """What people should know of the judge, though nothing failed: it gave one value to everything."""

    @property
    def left(self) -> int:
        """Items that this run has not come to."""
        return self.items - self.scored - self.unscored

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return 1.0 - self.left / self.items if self.items else 1.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at this rate."""
        return self.left / self.rate if self.rate > 0 else None

    def line(self) -> str:
        """One line of figures, the same in both languages."""
        done = self.scored + self.unscored
        eta = "–" if self.eta_s is None else clock(self.eta_s)
        return (
            f"{done:,} / {self.items:,} · {self.rate:.1f}/s · ETA {eta} · calls {self.calls:,} · "
            f"cost {self.cost:.4f} · unscored {self.unscored:,} · cached {self.cached:,}"
        )

    def plain(self) -> dict[str, Any]:
        """As the command prints it."""
        value = asdict(self) | {"state": self.state.value, "left": self.left}
        value.pop("rate")
        said = {"error": self.error, "notice": self.notice}
        return {**value, **{name: message.en if message else None for name, message in said.items()}}


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
    """What one judge said of a greeting."""

    value: float | None
    reason: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Beside:
    """Two judges on one greeting."""

    greeting_id: int
    prompt: str
    greeting: str
    first: Opinion
    second: Opinion


@dataclass(frozen=True)
class BesidePage:
    """One page of them, and how many there are in all."""

    total: int
    rows: tuple[Beside, ...]


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
