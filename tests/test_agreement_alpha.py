"""Krippendorff's alpha against his own example."""

import numpy as np
import pytest

from backend.agreement.statistics import figures
from backend.agreement.statistics.categorical import krippendorff_alpha
from backend.agreement.statistics.judge_rows import alpha_row

NAN = np.nan
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: 4 observers, 12 units.
EXAMPLE = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)


def test_the_textbook_example() -> None:
    row = alpha_row(EXAMPLE)
    assert (row.raters, row.items) == (4, 11)
    assert row.nominal.value == pytest.approx(0.743, abs=5e-4)
    assert row.ordinal.value == pytest.approx(0.815, abs=5e-4)
    assert row.interval.value == pytest.approx(0.849, abs=5e-4)


def test_two_raters_by_hand() -> None:
    # Section A: 10 units, 4 disagreements. Zeros 14, ones 6 of 20: expected 2*14*6/19 = 8.842 of 20
    # coincidences, seen 8 (4 units, both orders): 1 - 8 / 8.842 = .095
    first = np.array([0, 1, 0, 0, 0, 0, 0, 0, 1, 0])
    second = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0])
    assert krippendorff_alpha(np.array([first, second], dtype=float), "nominal").value == pytest.approx(0.095, abs=5e-4)


def test_undefined_says_why() -> None:
    alone = np.array([[1.0, 2, 3], [NAN, NAN, NAN]])
    assert krippendorff_alpha(alone, "nominal").why == figures.NO_RATERS
    assert krippendorff_alpha(np.empty((0, 0)), "nominal").why == figures.NO_RATERS
    # The only item with another value was rated once, so it says nothing.
    flat = np.array([[1.0, 1, 2], [1.0, 1, NAN]])
    assert krippendorff_alpha(flat, "interval").why == figures.NO_VARIATION
    row = alpha_row(alone)
    assert (row.raters, row.items, row.ordinal.value) == (1, 0, None)
