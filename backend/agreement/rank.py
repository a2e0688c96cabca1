"""Agreement in order: Spearman, Kendall, AUC. Arrays are (items,) without NaN; no figure has a unit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.agreement.bootstrap import estimate
from backend.agreement.figures import (
    CONSTANT_HUMAN,
    CONSTANT_JUDGE,
    CONSTANT_LENGTH,
    LENGTH_DECIDES,
    NO_ITEMS,
    ONE_CLASS,
    TOO_FEW_ITEMS,
    Figure,
    Flags,
    Floats,
    Groups,
    undefined,
)
from backend.errors import Message

MIN_ITEMS = 3


@dataclass(frozen=True)
class _Levels:
    """Values sorted once, so that every weighted sample of them is ranked without another sort."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    level: NDArray[np.intp]

    @classmethod
    def of(cls, values: Floats) -> "_Levels":
        _, level = np.unique(values, return_inverse=True)
        counts = np.bincount(level)
        return cls(np.argsort(level, kind="stable"), np.cumsum(counts) - counts, level)

    def below(self, weights: Floats) -> Floats:
        """Weight of all smaller items plus half that of equal ones, per item (replicates x items)."""
        level = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        result: Floats = (np.cumsum(level, axis=1) - level / 2)[:, self.level]
        return result

    def centred_ranks(self, weights: Floats) -> Floats:
        """Mid-ranks of the weighted sample minus their mean (replicates x items)."""
        ranks: Floats = self.below(weights) - weights.sum(axis=1, keepdims=True) / 2
        return ranks


def spearman(human: Floats, value: Floats, groups: Groups, seed: int) -> Figure:
    """Spearman's rho with mid-ranks for ties, in [-1, 1]; interval clustered by `groups`.

    Undefined for fewer than 3 items or a constant side. Source: Kendall & Gibbons, Rank Correlation
    Methods (1990), chapter 3.
    """
    if why := _why_not(human, value):
        return undefined(why, len(human))
    first, second = _Levels.of(human), _Levels.of(value)

    def statistic(weights: Floats) -> Floats:
        return _correlation(first.centred_ranks(weights), second.centred_ranks(weights), weights)

    return estimate(statistic, groups, seed, CONSTANT_JUDGE)


def partial_spearman(human: Floats, value: Floats, lengths: Floats, groups: Groups, seed: int) -> Figure:
    """Spearman's rho between human and judge with `lengths` (characters) held fixed, in [-1, 1].

    Undefined like `spearman`, and where length alone fixes the order of one side.
    Source: Conover, Practical Nonparametric Statistics (1999), section 5.4.
    """
    if why := _why_not(human, value) or (CONSTANT_LENGTH if np.ptp(lengths) == 0 else None):
        return undefined(why, len(human))
    levels = [_Levels.of(side) for side in (human, value, lengths)]

    def statistic(weights: Floats) -> Floats:
        x, y, z = (side.centred_ranks(weights) for side in levels)
        xy, xz, yz = (_correlation(*pair, weights) for pair in ((x, y), (x, z), (y, z)))
        left = np.sqrt(np.clip((1 - xz**2) * (1 - yz**2), 0, None))
        return _ratio(xy - xz * yz, left, least=1e-6)

    return estimate(statistic, groups, seed, LENGTH_DECIDES)


def kendall(human: Floats, value: Floats) -> Figure:
    """Kendall's tau-b (corrected for ties), in [-1, 1], without interval.

    Undefined for fewer than 3 items or a constant side. Source: as `spearman`.
    """
    from scipy import stats

    if why := _why_not(human, value):
        return undefined(why, len(human))
    return Figure(float(stats.kendalltau(human, value, method="asymptotic").statistic), n=len(human))


def auc(positive: Flags, value: Floats, groups: Groups, seed: int) -> Figure:
    """Probability that a positive item has the higher value, ties counting half, in [0, 1].

    Undefined without items of both classes. Source: Hanley & McNeil, Radiology 143 (1982).
    """
    if not positive.any() or positive.all():
        return undefined(ONE_CLASS if len(positive) else NO_ITEMS, len(positive))
    levels = _Levels.of(value)

    def statistic(weights: Floats) -> Floats:
        good, bad = weights * positive, weights * ~positive
        return _ratio((good * levels.below(bad)).sum(axis=1), good.sum(axis=1) * bad.sum(axis=1))

    return estimate(statistic, groups, seed, ONE_CLASS)


def _why_not(human: Floats, value: Floats) -> Message | None:
    if len(human) < MIN_ITEMS:
        return TOO_FEW_ITEMS
    if np.ptp(human) == 0:
        return CONSTANT_HUMAN
    return CONSTANT_JUDGE if np.ptp(value) == 0 else None


def _correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Weighted Pearson correlation per replicate of centred x and y (replicates x items)."""
    weighted = weights * x
    covariance = np.einsum("ij,ij->i", weighted, y)
    spread = np.einsum("ij,ij->i", weighted, x) * np.einsum("ij,ij,ij->i", weights, y, y)
    return _ratio(covariance, np.sqrt(spread))


def _ratio(top: Floats, bottom: Floats, least: float = 1e-12) -> Floats:
    """top / bottom, NaN where bottom is 0 but for rounding (at most `least`)."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > least)
