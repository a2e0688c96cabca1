"""Where a run is written down: steps, versions and decisions. The house keeps it in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from backend.principles.rules import RuleSet
from backend.principles.vocabulary import Phase, Proposer, Why

Data = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """A set of rules with its number in the archive."""

    id: int
    rules: RuleSet


@dataclass(frozen=True)
class New:
    """A set of rules that enters the archive."""

    rules: RuleSet
    parent: int | None
    proposer: Proposer
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a version in this run; `facts` are the figures behind it.

    `score`, `low`, `high`: accuracy on the gate set with its 95 % interval, where it was measured.
    """

    version: int
    accepted: bool
    why: Why
    facts: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    low: float | None = None
    high: float | None = None


class Book(Protocol):
    """A run's book. What was kept stays; keeping a step is one transaction."""

    def step(self, number: int, phase: Phase) -> Data | None:
        """What a phase of a round gave, None where it is still to be played."""

    def keep(
        self,
        number: int,
        phase: Phase,
        data: Data,
        new: New | None = None,
        outcomes: Sequence[Outcome] = (),
    ) -> Data:
        """Store a step with all that comes with it; `data["version"]` of what returns is a new version."""

    def answers(self, number: int, phase: Phase) -> Mapping[int, bool]:
        """What people said of planted flaws: per number of the case, whether the flaw is really there."""


class MemoryBook:
    """A book that is not kept: for a replay, and for tests."""

    def __init__(self, first: int = 1) -> None:
        """New versions are numbered from `first`."""
        self._next = first
        self.steps: dict[tuple[int, Phase], Data] = {}
        self.versions: dict[int, New] = {}
        self.outcomes: list[Outcome] = []
        self.said: dict[tuple[int, Phase], dict[int, bool]] = {}

    def step(self, number: int, phase: Phase) -> Data | None:
        """The step, where it was kept."""
        return self.steps.get((number, phase))

    def keep(
        self, number: int, phase: Phase, data: Data, new: New | None = None, outcomes: Sequence[Outcome] = ()
    ) -> Data:
        """Keep everything."""
        if new is not None:
            data = {**data, "version": self._next}
            self.versions[self._next] = new
            self._next += 1
        self.steps[number, phase] = data
        self.outcomes += outcomes
        return data

    def answers(self, number: int, phase: Phase) -> Mapping[int, bool]:
        """What was said."""
        return self.said.get((number, phase), {})
