"""What crosses from the game's house to pages and commands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backend.core.enums import Agent, DecisionReason, GamePhase, Proposer, Role, RunState
from backend.core.errors import Message
from backend.principles.algorithm.rules import RuleSet
from backend.principles.algorithm.settings import GameSettings
from backend.principles.algorithm.steps import STEP_TYPES, GameStep
from backend.principles.locked_uses import LockedSetUses
from backend.runs.hold import RunHolder


@dataclass(frozen=True)
class RunRequest:
    """A run to be: labels, numbers, who asks which endpoint (None: the default one), caps, first versions."""

    dataset: str
    settings: GameSettings = field(default_factory=GameSettings)
    endpoints: Mapping[Agent, str | None] = field(default_factory=dict)
    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    detector: int | None = None
    generator: int | None = None

    @property
    def caps(self) -> dict[str, float | None]:
        """The caps by name."""
        return {"max_calls": self.max_calls, "max_tokens": self.max_tokens, "max_cost": self.max_cost}


@dataclass(frozen=True)
class VersionInfo:
    """A version, and what became of it in the run that it was looked up for (else in its own)."""

    id: int
    role: Role
    rules: RuleSet
    parent: int | None
    run: int | None
    round: int | None
    proposer: Proposer
    author: str
    note: str
    created_at: datetime
    accepted: bool | None = None
    why: DecisionReason | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    low: float | None = None
    high: float | None = None
    calls: int = 0
    cost: float = 0.0
    current: bool = False


@dataclass(frozen=True)
class RunInfo:
    """A run and how it stands. `labels` counts good and bad by part; `locked` is the locked report.

    `phase` is the round and the phase that is played, or was when it stopped, such as 2.adversary; `message` is
    what it waits for, one sentence, empty elsewhere.
    """

    id: int
    dataset: str
    settings: GameSettings
    endpoints: Mapping[str, Mapping[str, str]]
    caps: Mapping[str, float | None]
    labels: Mapping[str, Any]
    labels_hash: str
    state: RunState
    phase: str | None
    message: str
    error: Message | None
    job: int | None
    detector: int
    generator: int
    rounds: int
    accepted: int
    rejected: int
    calls: int
    tokens: int
    cost: float
    best: int | None
    locked: Mapping[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    playing: RunHolder | None

    @property
    def broken_off(self) -> bool:
        """Whether its process went away in the middle; it can be resumed."""
        return self.state is RunState.RUNNING and self.playing is None


@dataclass(frozen=True)
class StepInfo:
    """A finished phase: its result as JSON (`data`) and as the model of its phase (`step`)."""

    id: int
    round: int
    phase: str
    data: Mapping[str, Any]
    calls: int
    cost: float
    created_at: datetime

    @property
    def step(self) -> GameStep:
        """What the phase gave, under the names it was stored with."""
        return STEP_TYPES[GamePhase(self.phase)].model_validate(self.data)


@dataclass(frozen=True)
class RunCostEstimate:
    """What a run may take at most; most runs take less, since many proposals fall early.

    `uses`: who read these locked labels before.
    """

    calls: int
    tokens: int
    cost: float
    seconds: float
    labels: Mapping[str, Any]
    uses: LockedSetUses = field(default_factory=LockedSetUses)


@dataclass(frozen=True)
class ComparisonInfo:
    """Two S_D on a label set; `result` is None until both have read it."""

    id: int
    first: int
    second: int
    dataset: str
    endpoint: str
    result: Mapping[str, Any] | None
    job: int | None


@dataclass(frozen=True)
class OpenCase:
    """A planted flaw that waits for a person to confirm it."""

    run: int
    round: int
    phase: str
    number: int
    prompt: str
    greeting: str
    flaw: str
    place: str
    explanation: str
