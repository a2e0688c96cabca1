"""Agreement in order: Spearman, Kendall, AUC. Arrays are (items,) without NaN; no figure has a unit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.agreement.statistics.figures import (
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
    estimate,
    undefined_figure,
)
from backend.core.errors import Message

# Of two items the order is right or wrong: any correlation would be 1 or -1.
MIN_ITEMS = 3


@dataclass(frozen=True)
class _SortedValues:
    """Values sorted once, so that every weighted sample of them is ranked without another sort."""

    sort_order: NDArray[np.intp]
    level_starts: NDArray[np.intp]
    level_indices: NDArray[np.intp]

    @classmethod
    def from_values(cls, raw_values: Floats) -> "_SortedValues":
        _, level_indices = np.unique(raw_values, return_inverse=True)
        level_counts = np.bincount(level_indices)
        return cls(np.argsort(level_indices, kind="stable"), np.cumsum(level_counts) - level_counts, level_indices)

    def weight_below(self, weights: Floats) -> Floats:
        """Weight of all smaller items plus half that of equal ones, per item (replicates x items)."""
        # One sort serves all thousand resamples.
        level_weights = np.add.reduceat(weights[:, self.sort_order], self.level_starts, axis=1)
        weights_below: Floats = (np.cumsum(level_weights, axis=1) - level_weights / 2)[:, self.level_indices]
        return weights_below

    def centred_ranks(self, weights: Floats) -> Floats:
        """Mid-ranks of the weighted sample minus their mean (replicates x items)."""
        centred: Floats = self.weight_below(weights) - weights.sum(axis=1, keepdims=True) / 2
        return centred


def spearman(human_values: Floats, judge_values: Floats, prompt_groups: Groups, random_seed: int) -> Figure:
    """Spearman's rho with mid-ranks for ties, in [-1, 1]; interval clustered by `prompt_groups`.

    Undefined for fewer than 3 items or a constant side. Source: Kendall & Gibbons, Rank Correlation
    Methods (1990), chapter 3.
    """
    if undefined_reason := _undefined_reason(human_values, judge_values):
        return undefined_figure(undefined_reason, len(human_values))
    human_levels, judge_levels = (
        _SortedValues.from_values(human_values),
        _SortedValues.from_values(judge_values),
    )

    def statistic(weights: Floats) -> Floats:
        return _weighted_correlation(human_levels.centred_ranks(weights), judge_levels.centred_ranks(weights), weights)

    return estimate(statistic, prompt_groups, random_seed, CONSTANT_JUDGE)


def partial_spearman(
    human_values: Floats, judge_values: Floats, text_lengths: Floats, prompt_groups: Groups, random_seed: int
) -> Figure:
    """Spearman's rho between human and judge with `text_lengths` (characters) held fixed, in [-1, 1].

    Undefined like `spearman`, and where length alone fixes the order of one side.
    Source: Conover, Practical Nonparametric Statistics (1999), section 5.4.
    """
    if undefined_reason := _undefined_reason(human_values, judge_values) or (
        CONSTANT_LENGTH if np.ptp(text_lengths) == 0 else None
    ):
        return undefined_figure(undefined_reason, len(human_values))
    side_levels = [_SortedValues.from_values(side_values) for side_values in (human_values, judge_values, text_lengths)]

    def statistic(weights: Floats) -> Floats:
        x, y, z = (sorted_side.centred_ranks(weights) for sorted_side in side_levels)
        xy, xz, yz = (_weighted_correlation(*rank_pair, weights) for rank_pair in ((x, y), (x, z), (y, z)))
        # Rounding can bring 1 - r² a hair below 0. Where length decides nearly everything the ratio is rounding
        # noise, hence the coarser bound.
        residual_scale = np.sqrt(np.clip((1 - xz**2) * (1 - yz**2), 0, None))
        return _safe_ratio(xy - xz * yz, residual_scale, min_denominator=1e-6)

    return estimate(statistic, prompt_groups, random_seed, LENGTH_DECIDES)


def kendall(human_values: Floats, judge_values: Floats) -> Figure:
    """Kendall's tau-b (corrected for ties), in [-1, 1], without interval.

    Undefined for fewer than 3 items or a constant side. Source: as `spearman`.
    """
    # A slow import, kept off the start of the server.
    from scipy import stats

    if undefined_reason := _undefined_reason(human_values, judge_values):
        return undefined_figure(undefined_reason, len(human_values))
    return Figure(
        # The method decides only how the p-value is computed, which nobody uses; the asymptotic one is cheap.
        float(stats.kendalltau(human_values, judge_values, method="asymptotic").statistic),
        n=len(human_values),
    )


def auc(is_positive: Flags, judge_values: Floats, prompt_groups: Groups, random_seed: int) -> Figure:
    """Probability that a positive item has the higher value, ties counting half, in [0, 1].

    Undefined without items of both classes. Source: Hanley & McNeil, Radiology 143 (1982).
    """
    if not is_positive.any() or is_positive.all():
        return undefined_figure(ONE_CLASS if len(is_positive) else NO_ITEMS, len(is_positive))
    # By ranks in O(n log n): comparing each positive with each negative would be their product.
    value_levels = _SortedValues.from_values(judge_values)

    def statistic(weights: Floats) -> Floats:
        positive_weights, negative_weights = weights * is_positive, weights * ~is_positive
        return _safe_ratio(
            (positive_weights * value_levels.weight_below(negative_weights)).sum(axis=1),
            positive_weights.sum(axis=1) * negative_weights.sum(axis=1),
        )

    return estimate(statistic, prompt_groups, random_seed, ONE_CLASS)


def _undefined_reason(human_values: Floats, judge_values: Floats) -> Message | None:
    if len(human_values) < MIN_ITEMS:
        return TOO_FEW_ITEMS
    if np.ptp(human_values) == 0:
        return CONSTANT_HUMAN
    return CONSTANT_JUDGE if np.ptp(judge_values) == 0 else None


def _weighted_correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Weighted Pearson correlation per replicate of centred x and y (replicates x items)."""
    weighted_x = weights * x
    covariance = np.einsum("ij,ij->i", weighted_x, y)
    variance_product = np.einsum("ij,ij->i", weighted_x, x) * np.einsum("ij,ij,ij->i", weights, y, y)
    return _safe_ratio(covariance, np.sqrt(variance_product))


def _safe_ratio(numerator: Floats, denominator: Floats, min_denominator: float = 1e-12) -> Floats:
    """The ratio, NaN where the denominator is 0 but for rounding (at most `min_denominator`)."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > min_denominator)
