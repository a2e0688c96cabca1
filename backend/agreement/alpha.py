"""Krippendorff's alpha: agreement among any number of raters, with missing ratings."""

from typing import Literal

import krippendorff
import numpy as np

from backend.agreement.figures import NO_RATERS, NO_VARIATION, Figure, Floats, undefined

Level = Literal["nominal", "ordinal", "interval"]


def pairable(matrix: Floats) -> Floats:
    """The columns of `matrix` (raters x items, NaN = not rated) that at least two raters rated."""
    return matrix[:, (~np.isnan(matrix)).sum(axis=0) > 1]


def krippendorff_alpha(matrix: Floats, level: Level) -> Figure:
    """Alpha of `matrix` (raters x items, NaN = not rated), at most 1; 0 is chance. Without interval.

    Undefined where no item has two ratings, or all ratings are the same.
    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    """
    rated = pairable(matrix)
    if not rated.size:
        return undefined(NO_RATERS, 0)
    items = rated.shape[1]
    if np.nanmin(rated) == np.nanmax(rated):
        return undefined(NO_VARIATION, items)
    return Figure(float(krippendorff.alpha(reliability_data=rated, level_of_measurement=level)), n=items)
