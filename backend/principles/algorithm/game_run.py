"""What every phase has at hand: agents, the Detector, labels, the record, and how the search stands."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from backend.agreement.statistics.figures import Figure
from backend.core.enums import Agent, GamePhase, Role
from backend.judges.base import Judge, Judgment, Sample
from backend.principles.algorithm import gate
from backend.principles.algorithm.agents import GameAgents
from backend.principles.algorithm.gate import safety_attacks
from backend.principles.algorithm.labels import GameLabel, PartitionedLabels
from backend.principles.algorithm.rules import RuleSet
from backend.principles.algorithm.settings import GameSettings
from backend.principles.algorithm.state import (
    GameRecord,
    NewVersion,
    RulesVersion,
    VersionOutcome,
    refuse_unavailable,
)
from backend.principles.algorithm.steps import GameStep, GateStep, StartStep

VerdictValues = list[float | None]


StepT = TypeVar("StepT", bound=GameStep)
# A step with the version that enters the archive by it, and what becomes of versions.
StepResult = tuple[StepT, NewVersion | None, Sequence[VersionOutcome]]


@dataclass
class SearchState:
    """The present versions, and the present Detector's verdicts on gate and safety set.

    `best` is the accepted S_D with the highest gate score; `idle_rounds` counts rounds in which nothing was
    accepted; `tried_hashes` holds every S_D that came to the gate, so that none comes there twice (an S_G may
    fight again: each duel is on fresh greetings).
    """

    detector: RulesVersion
    generator: RulesVersion
    best: RulesVersion
    best_score: float = 0.0
    gate: VerdictValues = field(default_factory=list)
    safety: VerdictValues = field(default_factory=list)
    idle_rounds: int = 0
    tried_hashes: set[str] = field(default_factory=set)
    rejected: dict[Role, list[str]] = field(default_factory=lambda: {role: [] for role in Role})

    def version_in_force(self, agent_role: Role) -> RulesVersion:
        """The version in force."""
        return self.detector if agent_role is Role.DETECTOR else self.generator

    def adopt_detector(self, version: RulesVersion, reading: StartStep | GateStep) -> None:
        """Put an S_D in force, with its reading of gate and safety set."""
        self.detector, self.gate, self.safety = version, reading.values, reading.safety or []
        # Strictly better: of two with the same score the earlier one, which rests on fewer looks, stays the
        # best.
        if reading.score is not None and reading.score > self.best_score:
            self.best, self.best_score = version, reading.score

    def remember_result(self, agent_role: Role, rule_set: RuleSet, *, accepted: bool) -> None:
        """Remember what came to its last test, and the new rules of what was turned down there.

        What fell before says little: on another minibatch it may do better.
        """
        # Accepted or not: the gate's answer to the same text would be the same, and cost a look.
        self.tried_hashes.add(rule_set.hash)
        if not accepted:
            old_texts = self.version_in_force(agent_role).rules.texts
            # Only what was new in it: rules that are in force were not what it fell for.
            self.rejected[agent_role] += [rule_text for rule_text in rule_set.texts if rule_text not in old_texts]


@dataclass
class GameRun:
    """One run. `build_judge` gives the `principle` judge of a set of rules."""

    agents: GameAgents
    build_judge: Callable[[RuleSet], Judge]
    partitions: PartitionedLabels
    settings: GameSettings
    game_record: GameRecord
    search_state: SearchState
    first_version: RulesVersion = field(init=False)
    on_phase: Callable[[int, GamePhase], None] = lambda _number, _phase: None

    def __post_init__(self) -> None:
        self.first_version = self.search_state.detector

    async def run_step(
        self,
        round_number: int,
        game_phase: GamePhase,
        step_type: type[StepT],
        step_work: Callable[[], Awaitable[StepResult[StepT]]],
    ) -> StepT:
        """A phase as it was stored, or played now and stored before anything follows."""
        step_data = self.game_record.stored_step(round_number, game_phase)
        if step_data is None:
            # Only for phases that are played: a resumed run would otherwise flash through all it has stored.
            self.on_phase(round_number, game_phase)
            step, new_version, outcomes = await step_work()
            step_data = self.game_record.store_step(round_number, game_phase, step.stored(), new_version, outcomes)
        # Read again also after playing: what follows must not depend on whether a run was interrupted.
        return step_type.model_validate(step_data)

    async def detector_judgments(self, rule_set: RuleSet, samples: Sequence[Sample]) -> list[Judgment]:
        """The Detector's verdicts, in order. Raises EndpointUnavailable where its endpoint is gone."""
        judgments = await self.build_judge(rule_set).score(samples)
        # Before anybody counts: an endpoint that is gone would look like a judge that leaves all unscored.
        refuse_unavailable(((judgment.details or {}).get("failure", "") for judgment in judgments), Agent.DETECTOR)
        return judgments

    async def detector_values(self, rule_set: RuleSet, labels: Sequence[GameLabel]) -> VerdictValues:
        """The Detector's verdicts on labels as plain values."""
        return [judgment.value for judgment in await self.detector_judgments(rule_set, list(map(label_sample, labels)))]

    async def safety_values(self, rule_set: RuleSet) -> VerdictValues:
        """The Detector's verdicts on the safety set."""
        judgments = await self.detector_judgments(rule_set, [attack_case.sample for attack_case in safety_attacks()])
        return [judgment.value for judgment in judgments]

    def version_outcome(
        self, version_id: int, ruling: gate.Ruling, gate_figure: Figure | None = None
    ) -> VersionOutcome:
        """A ruling on a version, with its gate score where it was measured."""
        interval_values = (gate_figure.value, gate_figure.low, gate_figure.high) if gate_figure else (None, None, None)
        return VersionOutcome(version_id, ruling.accepted, ruling.why, ruling.facts, *interval_values)

    def variant(self, round_number: int, game_phase: GamePhase) -> str:
        """Sets this run's samples apart from those of another seed, in the ledger."""
        return f"{self.settings.seed}-{round_number}-{game_phase}"


def label_sample(label: GameLabel) -> Sample:
    """A label as judges take it."""
    return Sample(label.prompt, label.greeting)
