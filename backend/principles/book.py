"""Where a run is written down: steps, versions and decisions. The house keeps it in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from backend.principles.rules import RuleSet
from backend.principles.vocabulary import DecisionReason, GamePhase, Proposer

StepData = dict[str, Any]


@dataclass(frozen=True)
class RulesVersion:
    """A set of rules with its number in the archive."""

    id: int
    rules: RuleSet


@dataclass(frozen=True)
class NewVersion:
    """A set of rules that enters the archive."""

    rules: RuleSet
    parent: int | None
    proposer: Proposer
    note: str = ""


@dataclass(frozen=True)
class VersionOutcome:
    """What became of a version in this run; `facts` are the figures behind it.

    `score`, `low`, `high`: accuracy on the gate set with its 95 % interval, where it was measured.
    """

    version: int
    accepted: bool
    why: DecisionReason
    facts: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    low: float | None = None
    high: float | None = None


class GameRecord(Protocol):
    """A run's book. What was kept stays; keeping a step is one transaction."""

    def stored_step(self, round_number: int, game_phase: GamePhase) -> StepData | None:
        """What a phase of a round gave, None where it is still to be played."""

    def store_step(
        self,
        round_number: int,
        game_phase: GamePhase,
        step_data: StepData,
        new_version: NewVersion | None = None,
        outcomes: Sequence[VersionOutcome] = (),
    ) -> StepData:
        """Store a step with all that comes with it; `data["version"]` of what returns is a new version."""

    def person_answers(self, round_number: int, game_phase: GamePhase) -> Mapping[int, bool]:
        """What people said of planted flaws: per number of the case, whether the flaw is really there."""


class InMemoryGameRecord:
    """A book that is not kept: for a replay, and for tests."""

    def __init__(self, first: int = 1) -> None:
        """New versions are numbered from `first`."""
        self._next_number = first
        self.steps: dict[tuple[int, GamePhase], StepData] = {}
        self.versions: dict[int, NewVersion] = {}
        self.outcomes: list[VersionOutcome] = []
        self.stored_answers: dict[tuple[int, GamePhase], dict[int, bool]] = {}

    def stored_step(self, round_number: int, game_phase: GamePhase) -> StepData | None:
        """The step, where it was kept."""
        return self.steps.get((round_number, game_phase))

    def store_step(
        self,
        round_number: int,
        game_phase: GamePhase,
        step_data: StepData,
        new_version: NewVersion | None = None,
        outcomes: Sequence[VersionOutcome] = (),
    ) -> StepData:
        """Keep everything."""
        if new_version is not None:
            step_data = {**step_data, "version": self._next_number}
            self.versions[self._next_number] = new_version
            self._next_number += 1
        self.steps[round_number, game_phase] = step_data
        self.outcomes += outcomes
        return step_data

    def person_answers(self, round_number: int, game_phase: GamePhase) -> Mapping[int, bool]:
        """What was said."""
        return self.stored_answers.get((round_number, game_phase), {})
