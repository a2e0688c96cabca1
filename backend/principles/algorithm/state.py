"""What a run stores: planted flaws, answers about them, versions, outcomes; and the record that stores it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass as record_dataclass

from backend.core.enums import DecisionReason, Flaw, GamePhase, Proposer
from backend.core.errors import UserError
from backend.llm.errors import RETRYABLE_KINDS, LLMErrorKind
from backend.principles.algorithm.rules import RuleSet


@record_dataclass(frozen=True)
class PlantedFlaw:
    """A greeting with a planted flaw. `place` is where the flaw stands, in the greeting's own words.

    `fault` says why there is nothing to judge: a Fault's value, or unreadable. `asked`: whether the
    Generator was asked to plant it, or only wrote as it does.
    """

    prompt: str
    flaw: Flaw
    greeting: str = ""
    place: str = ""
    explanation: str = ""
    fault: str = ""
    note: str = ""
    # Left out where true: steps of runs before there were policies lack it, and a replay compares byte for
    # byte.
    asked: bool = Field(default=True, exclude_if=bool)


@dataclass(frozen=True)
class FlawConfirmation:
    """Whether a planted flaw is really there; None where nobody could say."""

    there: bool | None
    reason: str = ""


@dataclass(frozen=True)
class Advice:
    """A piece of advice, and the case it came from (such as “r3.a2”)."""

    text: str
    source: str


# A step as JSON, which a record stores without reading it; `steps` has a model for each phase.
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
    """Where a run stores its steps. What is stored stays; storing a step is one transaction."""

    def stored_step(self, round_number: int, game_phase: GamePhase) -> StepData | None:
        """What a phase gave, None where it is still to be played. round_number: from 1; 0: outside rounds."""

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
        """People's answers about planted flaws: per number of the case, whether the flaw is really there."""


class InMemoryGameRecord:
    """A record in memory alone: for a replay, and for tests."""

    def __init__(self, first: int = 1) -> None:
        """New versions are numbered from `first`."""
        self._next_number = first
        self.steps: dict[tuple[int, GamePhase], StepData] = {}
        self.versions: dict[int, NewVersion] = {}
        self.outcomes: list[VersionOutcome] = []
        self.stored_answers: dict[tuple[int, GamePhase], dict[int, bool]] = {}

    def stored_step(self, round_number: int, game_phase: GamePhase) -> StepData | None:
        """The step, None where it is still to be played."""
        return self.steps.get((round_number, game_phase))

    def store_step(
        self,
        round_number: int,
        game_phase: GamePhase,
        step_data: StepData,
        new_version: NewVersion | None = None,
        outcomes: Sequence[VersionOutcome] = (),
    ) -> StepData:
        """Store everything in memory; a new version gets the next number."""
        if new_version is not None:
            step_data = {**step_data, "version": self._next_number}
            self.versions[self._next_number] = new_version
            self._next_number += 1
        self.steps[round_number, game_phase] = step_data
        self.outcomes += outcomes
        return step_data

    def person_answers(self, round_number: int, game_phase: GamePhase) -> Mapping[int, bool]:
        """The answers, none where there are none."""
        return self.stored_answers.get((round_number, game_phase), {})


# Failures that say nothing about the item.
# An empty reply is the model's own doing, though asking again may help.
TRANSPORT_FAILURES = RETRYABLE_KINDS - {LLMErrorKind.EMPTY}


class EndpointUnavailable(UserError):
    """The calls of a phase failed for the endpoint's sake."""


def refuse_unavailable(failures: Iterable[str], agent_name: str) -> None:
    """Raise EndpointUnavailable where more than a tenth of the calls (and more than two) failed, or all did.

    failures: per call the kind of its failure, "" where it has none. agent_name: for the sentence.
    """
    failure_kinds = list(failures)
    transport_failures = [failure_kind for failure_kind in failure_kinds if failure_kind in TRANSPORT_FAILURES]
    # The second bound lets a small batch lose two calls to chance, yet not all it has: a single call that
    # fails is all.
    if transport_failures and len(transport_failures) > max(
        MAX_FAILURE_SHARE * len(failure_kinds), min(FEW_FAILURES, len(failure_kinds) - 1)
    ):
        failed_share = f"{len(transport_failures)} / {len(failure_kinds)}"
        raise EndpointUnavailable(
            f"{failed_share} calls of the {agent_name} failed ({transport_failures[0]}): its endpoint seems to be "
            "gone. See to it and resume the run; nothing is lost.",
            f"{agent_name} 的调用失败了 {failed_share} 次（{transport_failures[0]}），端点可能已中断。"
            "处理好后继续运行即可，不会丢失结果。",
        )


# The share that the gate lets stay unscored as well: beyond it a phase would conclude something from a
# breakdown.
MAX_FAILURE_SHARE, FEW_FAILURES = 0.10, 2
