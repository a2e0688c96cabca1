"""Krippendorff's alpha: agreement among any number of raters, with missing ratings."""

from typing import Literal

import krippendorff
import numpy as np

from backend.agreement.figures import NO_RATERS, NO_VARIATION, Figure, Floats, undefined_figure

MeasurementLevel = Literal["nominal", "ordinal", "interval"]


def pairable_columns(rating_matrix: Floats) -> Floats:
    """The columns of `matrix` (raters x items, NaN = not rated) that at least two raters rated."""
    return rating_matrix[:, (~np.isnan(rating_matrix)).sum(axis=0) > 1]


def krippendorff_alpha(rating_matrix: Floats, measurement_level: MeasurementLevel) -> Figure:
    """Alpha of `matrix` (raters x items, NaN = not rated), at most 1; 0 is chance. Without interval.

    Undefined where no item has two ratings, or all ratings are the same.
    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    """
    rated_columns = pairable_columns(rating_matrix)
    if not rated_columns.size:
        return undefined_figure(NO_RATERS, 0)
    item_count = rated_columns.shape[1]
    if np.nanmin(rated_columns) == np.nanmax(rated_columns):
        return undefined_figure(NO_VARIATION, item_count)
    return Figure(
        float(krippendorff.alpha(reliability_data=rated_columns, level_of_measurement=measurement_level)),
        n=item_count,
    )
