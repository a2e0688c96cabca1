"""Agreement in yes and no: accuracy, and the chance-corrected figure beside it.

Human and judge are (items,) of 0 (bad), 1 (good) and .5 (tie), without NaN.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.agreement.bootstrap import estimate
from backend.agreement.figures import NO_ITEMS, ONE_CLASS, ONLY_TIES, Figure, Flags, Floats, Groups, undefined

Z95 = 1.959963984540054
TIE = 0.5
BINARY = np.array([0.0, 1.0])
Weighting = Literal["none", "linear", "quadratic"]


def majority(share: Floats) -> Floats:
    """What most people said: 1 above one half, 0 below, .5 exactly at it."""
    return (np.sign(share - TIE) + 1) / 2


def decided(human: Floats, decision: Floats) -> Flags:
    """Items (items,) that are a tie for neither side."""
    both: Flags = (human != TIE) & (decision != TIE)
    return both


def wilson(rate: float, n: float) -> tuple[float, float]:
    """95 % Wilson interval of a rate in [0, 1] over n > 0 observations.

    Source: Wilson, JASA 22 (1927); Agresti & Coull, American Statistician 52 (1998).
    """
    centre = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n**2))
    # The interval always holds the rate; without the bounds rounding would break that at 0 and 1.
    return max(0.0, min(rate, float(centre - half))), min(1.0, max(rate, float(centre + half)))


def rate(credit: Floats, groups: Groups) -> Figure:
    """Mean of credits in [0, 1] with a Wilson interval; undefined without items.

    Items of one group move together: the interval uses the effective number of items, n divided by the
    design effect. Without any variation that effect is unknown, and each group counts once.
    Source: Kish, Survey Sampling (1965), section 5.4; Korn & Graubard, Survey Methodology 24 (1998).
    """
    if not len(credit):
        return undefined(NO_ITEMS, 0)
    mean = float(credit.mean())
    _, member = np.unique(groups, return_inverse=True)
    error = credit - mean
    alone, together = (error**2).sum(), (np.bincount(member, error) ** 2).sum()
    effective = len(credit) / max(1.0, together / alone) if alone else member.max() + 1
    return Figure(mean, *wilson(mean, effective)).on(len(credit))


def accuracy(human: Floats, decision: Floats, groups: Groups) -> Figure:
    """Share of items, in [0, 1], decided like most people did; a tie on either side earns half."""
    credit = np.where(decided(human, decision), human == decision, TIE)
    return rate(credit, groups)


def confusion(human: Floats, judge: Floats, categories: Floats) -> NDArray[np.int64]:
    """Counts (categories x categories), rows human, columns judge; other values are left out."""
    size = len(categories)
    counts: NDArray[np.int64] = _cells(human, judge, categories).sum(axis=0).astype(np.int64)
    return counts.reshape(size, size)


def cohen_kappa(
    human: Floats,
    judge: Floats,
    groups: Groups,
    seed: int,
    *,
    categories: Floats = BINARY,
    weighting: Weighting = "none",
) -> Figure:
    """Cohen's kappa, at most 1; 0 is chance. Items outside `categories` (ties) are left out.

    Weighting is by distance in the order of `categories`. Undefined where nothing is left, or people use
    one category only (every judge would get 0).
    Source: Cohen, Educ. Psychol. Meas. 20 (1960) and Psychol. Bulletin 70 (1968).
    """
    cells = _cells(human, judge, categories)
    kept = cells.any(axis=1)
    if not kept.any():
        return undefined(ONLY_TIES if len(human) else NO_ITEMS, 0)
    cells = cells[kept]
    size = len(categories)
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(float)
    penalty = {"none": (distance > 0).astype(float), "linear": distance, "quadratic": distance**2}[weighting]

    def statistic(weights: Floats) -> Floats:
        table = (weights @ cells).reshape(-1, size, size)
        rows, columns, n = table.sum(axis=2), table.sum(axis=1), table.sum(axis=(1, 2))
        chance = np.einsum("bi,bj,ij->b", rows, columns, penalty) / n
        varied = (rows > 0).sum(axis=1) > 1
        seen = np.einsum("bij,ij->b", table, penalty)
        result: Floats = 1 - np.divide(seen, chance, out=np.full(len(n), np.nan), where=varied)
        return result

    return estimate(statistic, groups[kept], seed, ONE_CLASS)


def gwet_ac1(
    human: Floats, judge: Floats, groups: Groups, seed: int, *, categories: Floats = BINARY
) -> Figure:
    """Gwet's AC1, at most 1; stays meaningful at extreme base rates. Items outside `categories` are left out.

    Undefined where nothing is left. Source: Gwet, Brit. J. Math. Stat. Psychol. 61 (2008).
    """
    cells = _cells(human, judge, categories)
    kept = cells.any(axis=1)
    if not kept.any():
        return undefined(ONLY_TIES if len(human) else NO_ITEMS, 0)
    cells = cells[kept]
    size = len(categories)

    def statistic(weights: Floats) -> Floats:
        table = (weights @ cells).reshape(-1, size, size)
        table /= table.sum(axis=(1, 2), keepdims=True)
        share = (table.sum(axis=1) + table.sum(axis=2)) / 2
        chance = (share * (1 - share)).sum(axis=1) / (size - 1)
        seen = np.einsum("bii->b", table)
        result: Floats = (seen - chance) / (1 - chance)
        return result

    return estimate(statistic, groups[kept], seed, NO_ITEMS)


def _cells(human: Floats, judge: Floats, categories: Floats) -> Floats:
    """Which cell of the confusion table an item falls into: (items x categories^2) of 0 and 1."""
    rows, columns = human[:, None] == categories, judge[:, None] == categories
    cells: Floats = (rows[:, :, None] & columns[:, None, :]).astype(float)
    return cells.reshape(len(human), len(categories) ** 2)
