"""What every phase has at hand: agents, the Detector, labels, the book, and how the run stands."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.agreement.figures import Figure
from backend.judges.base import Draft, Judge, Sample
from backend.principles import gate
from backend.principles.agents import Agents
from backend.principles.book import Book, Data, New, Outcome, Version
from backend.principles.labels import Deal, Label
from backend.principles.lost import refuse_lost
from backend.principles.rules import RuleSet
from backend.principles.safety import attacks
from backend.principles.settings import GameSettings
from backend.principles.vocabulary import Agent, Phase, Role

Values = list[float | None]
Work = Callable[[], Awaitable[tuple[Data, New | None, Sequence[Outcome]]]]


@dataclass
class Standing:
    """The present versions, and what the present Detector said of gate and safety set.

    `best` is the accepted S_D with the highest gate score; `idle` counts rounds in which nothing was
    accepted; `tried` holds every S_D that came to the gate, so that none comes there twice (an S_G may
    fight again: each duel is on fresh greetings).
    """

    detector: Version
    generator: Version
    best: Version
    best_score: float = 0.0
    gate: Values = field(default_factory=list)
    safety: Values = field(default_factory=list)
    idle: int = 0
    tried: set[str] = field(default_factory=set)
    rejected: dict[Role, list[str]] = field(default_factory=lambda: {role: [] for role in Role})

    def present(self, role: Role) -> Version:
        """The version in force."""
        return self.detector if role is Role.DETECTOR else self.generator

    def enter(self, version: Version, read: Data) -> None:
        """Put an S_D in force, with what it said of gate and safety set."""
        self.detector, self.gate, self.safety = version, read["values"], read["safety"]
        if (read["score"] or 0.0) > self.best_score:
            self.best, self.best_score = version, read["score"]

    def settle(self, role: Role, rules: RuleSet, *, accepted: bool) -> None:
        """Remember what came to its last test, and the new rules of what was turned down there.

        What fell before says little: on another minibatch it may do better.
        """
        self.tried.add(rules.hash)
        if not accepted:
            old = self.present(role).rules.texts
            self.rejected[role] += [text for text in rules.texts if text not in old]


@dataclass
class Table:
    """One run. `judge` makes the `principle` judge of a set of rules."""

    agents: Agents
    judge: Callable[[RuleSet], Judge]
    deal: Deal
    settings: GameSettings
    book: Book
    standing: Standing
    first: Version = field(init=False)
    told: Callable[[int, Phase], None] = lambda _number, _phase: None

    def __post_init__(self) -> None:
        self.first = self.standing.detector

    async def once(self, number: int, phase: Phase, work: Work) -> Data:
        """A phase as it was kept, or played now and kept before anything follows."""
        known = self.book.step(number, phase)
        if known is not None:
            return known
        self.told(number, phase)
        data, new, outcomes = await work()
        return self.book.keep(number, phase, data, new, outcomes)

    async def detect(self, rules: RuleSet, samples: Sequence[Sample]) -> list[Draft]:
        """The Detector's verdicts, in order. Raises EndpointLost where its endpoint is gone."""
        drafts = await self.judge(rules).score(samples)
        refuse_lost(((draft.details or {}).get("failure", "") for draft in drafts), Agent.DETECTOR)
        return drafts

    async def read(self, rules: RuleSet, labels: Sequence[Label]) -> Values:
        """The Detector's verdicts on labels as plain values."""
        return [draft.value for draft in await self.detect(rules, list(map(sample_of, labels)))]

    async def withstand(self, rules: RuleSet) -> Values:
        """The Detector's verdicts on the safety set."""
        drafts = await self.detect(rules, [attack.sample for attack in attacks()])
        return [draft.value for draft in drafts]

    def outcome(self, version: int, ruling: gate.Ruling, score: Figure | None = None) -> Outcome:
        """A ruling on a version, with its gate score where it was measured."""
        measured = (score.value, score.low, score.high) if score else (None, None, None)
        return Outcome(version, ruling.accepted, ruling.why, ruling.facts, *measured)

    def variant(self, number: int, phase: Phase) -> str:
        """Sets this run's samples apart from those of another seed, in the ledger."""
        return f"{self.settings.seed}-{number}-{phase}"


def sample_of(label: Label) -> Sample:
    """A label as judges take it."""
    return Sample(label.prompt, label.greeting)


def plain_drafts(drafts: Sequence[Draft]) -> list[dict[str, Any]]:
    """Verdicts with their reasons, as a step keeps them."""
    return [{"value": draft.value, "reason": draft.reason} for draft in drafts]
