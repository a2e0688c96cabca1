"""Frozen records that cross from services to pages and commands."""

from dataclasses import dataclass

from backend.agreement.board import AlphaRow, JudgeRow


# --- agreement -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReferenceInfo:
    """Something that can serve as a human reference: a data set's labels or a campaign."""

    name: str
    kind: str
    labels: int


@dataclass(frozen=True)
class Point:
    """One unit on the chart: what people said, what the judge said."""

    human: float
    judge: float


@dataclass(frozen=True)
class OccasionCell:
    """A judge's share of right decisions within one occasion."""

    occasion: str
    n: int
    accuracy: float


@dataclass(frozen=True)
class Disagreement:
    """A unit on which people and the judge part, the worst first."""

    item_id: int | None
    greeting_id: int
    prompt: str
    a: str
    b: str | None
    human: float
    judge: float
    reason: str
    gap: float


@dataclass(frozen=True)
class Said:
    """A rater's current verdict on a greeting."""

    rater: str
    kind: str
    value: float | None
    reason: str


@dataclass(frozen=True)
class Board:
    """A human reference and every judge beside it; the mappings are keyed by judge name."""

    reference: str
    kind: str
    items: int
    raters: int
    alpha: AlphaRow
    rows: tuple[JudgeRow, ...]
    confusions: dict[str, dict[str, dict[str, int]]]
    points: dict[str, tuple[Point, ...]]
    occasions: dict[str, tuple[OccasionCell, ...]]
    worst: dict[str, tuple[Disagreement, ...]]
