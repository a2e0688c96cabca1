"""Agreement in yes and no: accuracy and its chance-corrected figures; Krippendorff's alpha for any number of raters."""

from typing import Literal

import krippendorff
import numpy as np
from numpy.typing import NDArray

from backend.agreement.statistics.figures import (
    NO_ITEMS,
    NO_RATERS,
    NO_VARIATION,
    ONE_CLASS,
    ONLY_TIES,
    Figure,
    Flags,
    Floats,
    Groups,
    estimate,
    undefined_figure,
)

MeasurementLevel = Literal["nominal", "ordinal", "interval"]


def pairable_columns(rating_matrix: Floats) -> Floats:
    """The columns of `rating_matrix` (raters x items, NaN = not rated) that at least two raters rated."""
    return rating_matrix[:, (~np.isnan(rating_matrix)).sum(axis=0) > 1]


def krippendorff_alpha(rating_matrix: Floats, measurement_level: MeasurementLevel) -> Figure:
    """Alpha of `rating_matrix` (raters x items, NaN = not rated), at most 1; 0 is chance. Without interval.

    Undefined where no item has two ratings, or all ratings are the same.
    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    """
    rated_columns = pairable_columns(rating_matrix)
    if not rated_columns.size:
        return undefined_figure(NO_RATERS, 0)
    item_count = rated_columns.shape[1]
    # The library raises an error here; expected disagreement is 0, so alpha would be 0 / 0.
    if np.nanmin(rated_columns) == np.nanmax(rated_columns):
        return undefined_figure(NO_VARIATION, item_count)
    return Figure(
        float(krippendorff.alpha(reliability_data=rated_columns, level_of_measurement=measurement_level)),
        n=item_count,
    )


# Quantile of the normal distribution at 0.975, written out: SciPy is too slow to import for one number.
Z95 = 1.959963984540054
TIE = 0.5
BINARY = np.array([0.0, 1.0])
Weighting = Literal["none", "linear", "quadratic"]


def majority(human_shares: Floats) -> Floats:
    """What most people answer, (items,): 1 above one half, 0 below, .5 exactly at it; NaN stays NaN.

    human_shares: (items,) in [0, 1], the share of raters for yes (of a pair: for A).
    """
    return (np.sign(human_shares - TIE) + 1) / 2


def is_decided(human_values: Floats, judge_decisions: Floats) -> Flags:
    """Items (items,) that are a tie for neither side."""
    decided_flags: Flags = (human_values != TIE) & (judge_decisions != TIE)
    return decided_flags


def wilson_interval(observed_rate: float, sample_count: float) -> tuple[float, float]:
    """95 % Wilson interval of a rate in [0, 1] over n > 0 observations.

    Source: Wilson, JASA 22 (1927); Agresti & Coull, American Statistician 52 (1998).
    """
    interval_centre = (observed_rate + Z95**2 / (2 * sample_count)) / (1 + Z95**2 / sample_count)
    half_width = (
        Z95
        / (1 + Z95**2 / sample_count)
        * np.sqrt(observed_rate * (1 - observed_rate) / sample_count + Z95**2 / (4 * sample_count**2))
    )
    # The interval always holds the rate; without the bounds rounding would break that at 0 and 1.
    return max(0.0, min(observed_rate, float(interval_centre - half_width))), min(
        1.0, max(observed_rate, float(interval_centre + half_width))
    )


def rate_figure(item_credits: Floats, prompt_groups: Groups) -> Figure:
    """Mean of credits in [0, 1] with a Wilson interval; undefined without items.

    Items of one group move together: the interval uses the effective number of items, n divided by the
    design effect. Without any variation that effect is unknown, and each group counts once.
    Source: Kish, Survey Sampling (1965), section 5.4; Korn & Graubard, Survey Methodology 24 (1998).
    """
    if not len(item_credits):
        return undefined_figure(NO_ITEMS, 0)
    mean_credit = float(item_credits.mean())
    _, group_indices = np.unique(prompt_groups, return_inverse=True)
    deviations = item_credits - mean_credit
    item_variance, group_variance = (deviations**2).sum(), (np.bincount(group_indices, deviations) ** 2).sum()
    # At least 1: a design effect below 1 (requests more alike than chance) is noise, and would narrow the interval.
    effective_count = (
        len(item_credits) / max(1.0, group_variance / item_variance) if item_variance else group_indices.max() + 1
    )
    return Figure(mean_credit, *wilson_interval(mean_credit, effective_count)).with_item_count(len(item_credits))


def accuracy_figure(human_values: Floats, judge_decisions: Floats, prompt_groups: Groups) -> Figure:
    """Share of items, in [0, 1], decided like most people did; a tie on either side earns half."""
    item_credits = np.where(is_decided(human_values, judge_decisions), human_values == judge_decisions, TIE)
    return rate_figure(item_credits, prompt_groups)


def confusion_table(human_values: Floats, judge_values: Floats, categories: Floats) -> NDArray[np.int64]:
    """Counts (categories x categories), rows human, columns judge; other values are left out."""
    category_count = len(categories)
    cell_counts: NDArray[np.int64] = (
        _confusion_cells(human_values, judge_values, categories).sum(axis=0).astype(np.int64)
    )
    return cell_counts.reshape(category_count, category_count)


def cohen_kappa(
    human_values: Floats,
    judge_values: Floats,
    prompt_groups: Groups,
    random_seed: int,
    *,
    categories: Floats = BINARY,
    weighting: Weighting = "none",
) -> Figure:
    """Cohen's kappa, at most 1; 0 is chance. Items outside `categories` (ties) are left out.

    Weighting is by distance in the order of `categories`. Undefined where nothing is left, or people use
    one category only (every judge would get 0).
    Source: Cohen, Educ. Psychol. Meas. 20 (1960) and Psychol. Bulletin 70 (1968).
    """
    item_cells = _confusion_cells(human_values, judge_values, categories)
    is_counted = item_cells.any(axis=1)
    if not is_counted.any():
        return undefined_figure(ONLY_TIES if len(human_values) else NO_ITEMS, 0)
    item_cells = item_cells[is_counted]
    category_count = len(categories)
    # Penalties and not credits: kappa is then 1 - observed / expected disagreement for all three weightings alike.
    distances = np.abs(np.subtract.outer(np.arange(category_count), np.arange(category_count))).astype(float)
    penalties = {"none": (distances > 0).astype(float), "linear": distances, "quadratic": distances**2}[weighting]

    def statistic(weights: Floats) -> Floats:
        weighted_tables = (weights @ item_cells).reshape(-1, category_count, category_count)
        row_totals, column_totals, table_totals = (
            weighted_tables.sum(axis=2),
            weighted_tables.sum(axis=1),
            weighted_tables.sum(axis=(1, 2)),
        )
        expected_share = np.einsum("bi,bj,ij->b", row_totals, column_totals, penalties) / table_totals
        # A resample in which people used one category has no kappa; as 0 or 1 it would pull the interval there.
        is_varied = (row_totals > 0).sum(axis=1) > 1
        observed_share = np.einsum("bij,ij->b", weighted_tables, penalties)
        kappa_values: Floats = 1 - np.divide(
            observed_share, expected_share, out=np.full(len(table_totals), np.nan), where=is_varied
        )
        return kappa_values

    return estimate(statistic, prompt_groups[is_counted], random_seed, ONE_CLASS)


def gwet_ac1(
    human_values: Floats,
    judge_values: Floats,
    prompt_groups: Groups,
    random_seed: int,
    *,
    categories: Floats = BINARY,
) -> Figure:
    """Gwet's AC1, at most 1; stays meaningful at extreme base rates. Items outside `categories` are left out.

    Undefined where nothing is left. Source: Gwet, Brit. J. Math. Stat. Psychol. 61 (2008).
    """
    item_cells = _confusion_cells(human_values, judge_values, categories)
    is_counted = item_cells.any(axis=1)
    if not is_counted.any():
        return undefined_figure(ONLY_TIES if len(human_values) else NO_ITEMS, 0)
    item_cells = item_cells[is_counted]
    category_count = len(categories)

    def statistic(weights: Floats) -> Floats:
        weighted_tables = (weights @ item_cells).reshape(-1, category_count, category_count)
        weighted_tables /= weighted_tables.sum(axis=(1, 2), keepdims=True)
        category_shares = (weighted_tables.sum(axis=1) + weighted_tables.sum(axis=2)) / 2
        expected_share = (category_shares * (1 - category_shares)).sum(axis=1) / (category_count - 1)
        observed_share = np.einsum("bii->b", weighted_tables)
        ac1_values: Floats = (observed_share - expected_share) / (1 - expected_share)
        return ac1_values

    return estimate(statistic, prompt_groups[is_counted], random_seed, NO_ITEMS)


def _confusion_cells(human_values: Floats, judge_values: Floats, categories: Floats) -> Floats:
    """Which cell of the confusion table an item falls into: (items x categories^2) of 0 and 1."""
    human_matches, judge_matches = human_values[:, None] == categories, judge_values[:, None] == categories
    # A one-hot row an item: a resample's table is then one matrix product.
    item_cells: Floats = (human_matches[:, :, None] & judge_matches[:, None, :]).astype(float)
    return item_cells.reshape(len(human_values), len(categories) ** 2)
