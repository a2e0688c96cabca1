"""What each phase of the game stores, as models: written and read under the same names, stored as JSON.

A model stores the fields it was made with and no others, in the order in which they stand here, and keeps keys that
it does not know: steps of older runs have fewer keys, and a replay compares steps byte for byte.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, SkipValidation

from backend.core.enums import Flaw, GamePhase
from backend.core.stored_records import stored_json
from backend.judges.base import Judgment
from backend.principles.algorithm.rules import PrincipleRule
from backend.principles.algorithm.state import FlawConfirmation, PlantedFlaw

# A verdict as the judge gave it: a checked float would turn its 1 into 1.0.
StoredValue = Annotated[float, SkipValidation] | None
# A Detector's verdicts in the order of their labels; None: unscored.
StoredValues = list[StoredValue]
_VERSION_MARK = "number of a version"
# A version's number in the archive, which a replay gives anew.
VersionNumber = Annotated[int | None, _VERSION_MARK]


class GameStep(BaseModel):
    """A phase's result, or a part of one."""

    # Built at first use: twenty validators at import would be felt at every start of the application.
    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    def stored(self) -> dict[str, Any]:
        """Plain values ready for JSON: the fields that the step was made with, and no others."""
        return self.model_dump(mode="json", exclude_unset=True)

    def with_versions(self, version_numbers: Mapping[int, int]) -> Self:
        """The step with its own version numbers replaced; those that `version_numbers` lacks stay."""
        return self.model_copy(
            update={
                field_name: version_numbers.get(version_number, version_number)
                for field_name, field_info in type(self).model_fields.items()
                if _VERSION_MARK in field_info.metadata
                and (version_number := getattr(self, field_name)) is not None
                and field_name in self.model_fields_set
            }
        )


class StartStep(GameStep):
    """Phase start: what the first Detector says of gate and safety set, and its gate score."""

    values: StoredValues
    safety: StoredValues
    score: float | None


class JudgedFlaw(GameStep):
    """A planted flaw and what the Detector says of it: value 1 (fooled), 0 (seen), None (nothing to judge)."""

    prompt: str
    flaw: Flaw
    greeting: str = ""
    place: str = ""
    explanation: str = ""
    fault: str = ""
    note: str = ""
    asked: bool = True
    value: StoredValue
    reason: str

    @classmethod
    def of(cls, planted_flaw: PlantedFlaw, judgment: Judgment | None) -> Self:
        """The flaw with the Detector's verdict; None where there was nothing to judge."""
        return cls(
            **stored_json(planted_flaw),
            value=judgment.value if judgment else None,
            reason=judgment.reason if judgment else "",
        )

    @property
    def planted_flaw(self) -> PlantedFlaw:
        """The flaw without the verdict."""
        return PlantedFlaw(
            self.prompt,
            self.flaw,
            greeting=self.greeting,
            place=self.place,
            explanation=self.explanation,
            fault=self.fault,
            note=self.note,
            asked=self.asked,
        )


class AttackStep(GameStep):
    """Phase adversary: planted flaws, and which Generator and Detector met."""

    cases: list[JudgedFlaw]
    detector: VersionNumber
    generator: VersionNumber


class DuelStep(GameStep):
    """Phase duel: the cases of the old Generator, then those of the new one; none where it was refused."""

    cases: list[JudgedFlaw]
    old: VersionNumber = None
    new: VersionNumber = None


class ConfirmStep(GameStep):
    """Phases confirm and duel-confirm: by number of the case, whether its flaw is there, and why; `by`: who answers."""

    claims: dict[str, tuple[bool | None, str]]
    by: str

    def confirmation(self, case_index: int) -> FlawConfirmation:
        """What was answered of a case; undecided where nobody was asked."""
        return FlawConfirmation(*self.claims.get(str(case_index), (None, "")))


class ReflectedLabel(GameStep):
    """A label of the minibatch, what the Detector says of it, and the Reflector's advice where that is wrong."""

    id: int
    prompt: str
    greeting: str
    good: bool
    value: StoredValue
    reason: str
    advice: str


class ReflectStep(GameStep):
    """Phase reflect: the labels of the minibatch with verdicts and advice, and which Detector gave them."""

    items: list[ReflectedLabel]
    detector: VersionNumber


class ProposalStep(GameStep):
    """Phases propose-d, propose-g and rewrite: new rules with the advice they come from; no version where none is new.

    before, candidates, scores, metric_calls: of GEPA alone, its parent's verdicts and the course of its search.
    """

    before: StoredValues = []
    candidates: int = 0
    scores: list[float] = []
    metric_calls: int | None = None
    rules: list[PrincipleRule] = []
    refused: str | None = None
    advice: list[tuple[str, str]] = []
    version: VersionNumber = None


class TriedChange(GameStep):
    """One change of a proposal by itself: (mended, broken) labels without it, None where it could not be tried."""

    added: bool
    text: str
    undone: bool
    change: tuple[int, int] | None


class TrimStep(GameStep):
    """Phase trim: each change by itself; what is left is the same version, a lesser one, or none (None)."""

    changes: list[TriedChange]
    left: Literal["same", "less"] | None
    rules: list[PrincipleRule] = []
    version: VersionNumber = None


class TrialStep(GameStep):
    """Phase try-d: whether a proposal passes on its own minibatch, by which figures."""

    passed: bool
    why: str
    facts: dict[str, Any]
    values: StoredValues | None


class GateStep(GameStep):
    """Phase gate-d: what a proposal says of gate and safety set (None: not asked), and whether it is in."""

    values: StoredValues
    safety: StoredValues | None
    accepted: bool
    why: str
    facts: dict[str, Any]
    score: float | None


class DuelRulingStep(GameStep):
    """Phase gate-g: whether the new Generator is in, by which figures."""

    accepted: bool
    why: str
    facts: dict[str, Any]


class LockedStep(GameStep):
    """Phase locked: a row of figures for each version read, its verdicts by name of the row, and the paired test."""

    rows: list[dict[str, Any]]
    best: VersionNumber
    values: dict[str, StoredValues]
    change: dict[str, Any]


STEP_TYPES: dict[GamePhase, type[GameStep]] = {
    GamePhase.START: StartStep,
    GamePhase.ADVERSARY: AttackStep,
    GamePhase.CONFIRM: ConfirmStep,
    GamePhase.REFLECT: ReflectStep,
    GamePhase.PROPOSE_D: ProposalStep,
    GamePhase.TRY_D: TrialStep,
    GamePhase.TRIM: TrimStep,
    GamePhase.GATE_D: GateStep,
    GamePhase.PROPOSE_G: ProposalStep,
    GamePhase.DUEL: DuelStep,
    GamePhase.DUEL_CONFIRM: ConfirmStep,
    GamePhase.GATE_G: DuelRulingStep,
    GamePhase.REWRITE: ProposalStep,
    GamePhase.LOCKED: LockedStep,
}
