"""Yes and no: textbook tables, sklearn, ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from backend.agreement.statistics import figures
from backend.agreement.statistics.categorical import (
    accuracy_figure,
    cohen_kappa,
    confusion_table,
    gwet_ac1,
    majority,
    rate_figure,
    wilson_interval,
)


def table(yes_yes: int, yes_no: int, no_yes: int, no_no: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = [yes_yes, yes_no, no_yes, no_no]
    human, judge = np.repeat([1.0, 1, 0, 0], counts), np.repeat([1.0, 0, 1, 0], counts)
    return human, judge, np.arange(len(human))


def test_wilson_by_hand() -> None:
    # z^2 = 3.8415. 8 of 10: centre (.8 + .19207) / 1.38415 = .71674, half 1.95996 / 1.38415 *
    # sqrt(.016 + .0096037) = .22658
    assert wilson_interval(0.8, 10) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    # 10 of 10: low = n / (n + z^2) = 10 / 13.8415
    assert wilson_interval(1.0, 10) == (pytest.approx(0.72246, abs=1e-5), 1.0)
    assert wilson_interval(0.0, 10) == (0.0, pytest.approx(0.27754, abs=1e-5))


def test_kappa_by_hand() -> None:
    # Seen (20 + 15) / 50 = .7; chance (25*30 + 25*20) / 2500 = .5; (.7 - .5) / (1 - .5) = .4
    assert cohen_kappa(*table(20, 5, 10, 15), random_seed=0).value == pytest.approx(0.4)


def test_gwet_table() -> None:
    # Gwet (2002): 118, 5, 2, 0. Seen .944; kappa's chance 14770/15625 = .94528, so kappa = -.0234.
    # AC1: share of yes (123 + 120) / 250 = .972, chance 2 * .972 * .028 = .054432, AC1 = .9408.
    human, judge, groups = table(118, 5, 2, 0)
    assert cohen_kappa(human, judge, groups, random_seed=0).value == pytest.approx(-0.0234, abs=1e-4)
    assert gwet_ac1(human, judge, groups, random_seed=0).value == pytest.approx(0.9408, abs=1e-4)


def test_confusion_rows_are_human() -> None:
    human, judge, _ = table(20, 5, 10, 15)
    assert confusion_table(human, judge, np.array([0.0, 1.0])).tolist() == [[15, 10], [5, 20]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=30))
def test_kappa_like_sklearn(rows: list[tuple[int, int]]) -> None:
    human, judge = np.array(rows, dtype=float).T
    categories, groups = np.array([1.0, 2, 3]), np.arange(len(human)) % 3
    ours = confusion_table(human, judge, categories)
    assert ours.tolist() == confusion_matrix(human, judge, labels=categories).tolist()
    for weighting in ("none", "linear", "quadratic"):
        figure = cohen_kappa(human, judge, groups, 0, categories=categories, weighting=weighting)
        if np.ptp(human) == 0:
            assert figure.value is None and figure.why == figures.ONE_CLASS
            continue
        weights = None if weighting == "none" else weighting
        expected = cohen_kappa_score(human, judge, labels=categories, weights=weights)
        assert figure.value == pytest.approx(expected)
    ac1 = gwet_ac1(human, judge, groups, 0, categories=categories).value
    assert ac1 is not None and ac1 <= 1


def test_ties_earn_half_and_leave_kappa() -> None:
    human = np.array([1.0, 0, 0.5, 0.5, 1, 0])
    judge = np.array([1.0, 0, 1.0, 0.5, 0.5, 1])
    groups = np.arange(6)
    # 1 + 1 + .5 + .5 + .5 + 0 of 6
    assert accuracy_figure(human, judge, groups).value == pytest.approx(3.5 / 6)
    clear = [0, 1, 5]
    expected = cohen_kappa_score(human[clear], judge[clear])
    assert cohen_kappa(human, judge, groups, random_seed=0).value == pytest.approx(expected)
    ties = np.full(4, 0.5)
    assert cohen_kappa(ties, ties, np.arange(4), random_seed=0).why == figures.ONLY_TIES
    assert gwet_ac1(ties, ties, np.arange(4), random_seed=0).why == figures.ONLY_TIES


def test_majority() -> None:
    assert majority(np.array([0, 0.49, 0.5, 0.51, 1])).tolist() == [0, 0, 0.5, 1, 1]


def test_rate_counts_groups_where_items_move_together() -> None:
    credit = np.repeat([1.0, 0, 1, 1, 0, 1, 0, 1, 1, 1], 7)
    alone = rate_figure(credit[::7], np.arange(10))
    assert (alone.low, alone.high) == pytest.approx(wilson_interval(0.7, 10))
    together = rate_figure(credit, np.repeat(np.arange(10), 7))
    assert (together.low, together.high) == pytest.approx(wilson_interval(0.7, 10))
    perfect = rate_figure(np.ones(70), np.repeat(np.arange(10), 7))
    assert (perfect.low, perfect.high) == pytest.approx(wilson_interval(1.0, 10))


def test_nothing_to_count() -> None:
    none = np.empty(0)
    for figure in (
        rate_figure(none, none),
        accuracy_figure(none, none, none),
        cohen_kappa(none, none, none, 0),
        gwet_ac1(none, none, none, 0),
    ):
        assert figure.value is None and figure.why == figures.NO_ITEMS


def test_one_class_of_people_leaves_kappa_undefined_and_ac1_not() -> None:
    human, judge, groups = table(9, 1, 0, 0)
    assert cohen_kappa(human, judge, groups, random_seed=0).why == figures.ONE_CLASS
    # Share of yes .95, chance 2 * .95 * .05 = .095; (.9 - .095) / .905
    assert gwet_ac1(human, judge, groups, random_seed=0).value == pytest.approx(0.88950, abs=1e-5)
