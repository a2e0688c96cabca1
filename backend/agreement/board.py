"""The board: one row of figures per judge, always with how many items it left unscored."""

from dataclasses import dataclass

from backend.agreement.figures import Figure, Floats, Groups
from backend.vocabulary import Scale


@dataclass(frozen=True)
class JudgeRow:
    """How far one judge at one version agrees with the human reference.

    `n` counts items with a human and a judge value, `unscored` items with a human value alone.
    `kappa` (unweighted) and `ac1` leave out ties; `threshold` is what turned values into yes or no.
    """

    judge: str
    version: str
    n: int
    unscored: int
    spearman: Figure
    kendall: Figure
    accuracy: Figure
    kappa: Figure
    ac1: Figure
    auc: Figure
    matched_auc: Figure
    base_rate: Figure
    threshold: Figure


@dataclass(frozen=True)
class AlphaRow:
    """Krippendorff's alpha between raters over the items that at least two of them rated."""

    raters: int
    items: int
    nominal: Figure
    ordinal: Figure
    interval: Figure


def judge_row(
    judge: str,
    version: str,
    human: Floats,
    value: Floats,
    groups: Groups,
    lengths: Floats,
    scale: Scale,
    *,
    paired: bool,
    seed: int,
) -> JudgeRow:
    """The figures of one judge; every array has one entry per item.

    human: share in [0, 1] of people who call the greeting good (paired: who prefer A); NaN = no label.
    value: the judge's value on `scale` (paired: its margin score(A) - score(B)); NaN = unscored.
    groups: the request, as int or str; intervals are clustered by it.
    lengths: characters of the greeting (paired: characters of A minus characters of B).
    """
    raise NotImplementedError


def alpha_row(matrix: Floats) -> AlphaRow:
    """Krippendorff's alpha of `matrix` (raters x items, NaN = not rated)."""
    raise NotImplementedError
