"""Records that cross from the agreement board to pages and commands."""

from dataclasses import dataclass

from backend.agreement.statistics.figures import Figure
from backend.agreement.statistics.judge_rows import AlphaRow, JudgeRow


@dataclass(frozen=True)
class ReferenceInfo:
    """Something that can serve as a human reference: a data set's labels or a campaign."""

    name: str
    kind: str
    labels: int


@dataclass(frozen=True)
class ChartPoint:
    """One unit on the chart: what people said, what the judge said."""

    human: float
    judge: float


@dataclass(frozen=True)
class OccasionCell:
    """A judge's share of right decisions within one occasion, over `n` items that are no tie.

    None where they are too few for a share (`backend.agreement.statistics.minimums`).
    """

    occasion: str
    n: int
    accuracy: float | None


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
class RaterVerdict:
    """A rater's current verdict on a greeting."""

    rater: str
    kind: str
    value: float | None
    reason: str


@dataclass(frozen=True)
class ModelRow:
    """One opinion of one model: by people (`by` empty) or by a judge.

    `figure` is the share of its greetings called excellent, or of its comparisons won, over `n` items, of
    which `ties` counted half. `missing` items of the model got no opinion: `never_asked` of them nobody
    asked for, the others were left without one.
    """

    generator: str
    model: str
    by: str
    figure: Figure
    n: int
    ties: int
    missing: int
    never_asked: int


@dataclass(frozen=True)
class WithinRow:
    """How often one judge orders two greetings of one request as people do, over `pairs` that people tell apart.

    `unscored` pairs have no value of the judge on one side or both. `key` is that of the judge's `JudgeRow`.
    """

    key: str
    judge: str
    figure: Figure
    pairs: int
    unscored: int


@dataclass(frozen=True)
class AgreementBoard:
    """A human reference and every judge beside it; the mappings are keyed by `JudgeRow.key`."""

    reference: str
    kind: str
    items: int
    raters: int
    alpha: AlphaRow
    rows: tuple[JudgeRow, ...]
    confusions: dict[str, dict[str, dict[str, int]]]
    points: dict[str, tuple[ChartPoint, ...]]
    occasions: dict[str, tuple[OccasionCell, ...]]
    worst: dict[str, tuple[Disagreement, ...]]
    models: tuple[ModelRow, ...] = ()
    # Filled where a judge that ranks stands on the board, whose other figures are then withheld.
    within: tuple[WithinRow, ...] = ()
