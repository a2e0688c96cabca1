"""Order statistics against constants worked out by hand and against scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from backend.agreement.statistics import figures
from backend.agreement.statistics.rank import auc, kendall, partial_spearman, spearman

EACH = np.arange
SMALL = st.integers(-3, 3).map(float)


def sides(least: int = 3, most: int = 30):  # type: ignore[no-untyped-def]
    return st.lists(st.tuples(SMALL, SMALL, SMALL), min_size=least, max_size=most).map(lambda rows: np.array(rows).T)


def test_spearman_by_hand() -> None:
    # Squared rank differences 1+1+1+1+0 = 4: 1 - 6*4 / (5*24) = 0.8
    figure = spearman(np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5]), EACH(5), random_seed=0)
    assert figure.value == pytest.approx(0.8)
    assert (figure.low, figure.high, figure.why) == (None, None, figures.FEW_GROUPS)


def test_kendall_by_hand() -> None:
    # 2 of 10 pairs discordant: (8 - 2) / 10
    assert kendall(np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])).value == pytest.approx(0.6)
    # 6 pairs: 4 concordant, one tied on each side: 4 / sqrt(5 * 5)
    assert kendall(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 3])).value == pytest.approx(0.8)


def test_auc_by_hand() -> None:
    # Pairs (3,2) (3,1) (2,1) won, (2,2) a tie: 3.5 / 4
    positive = np.array([True, True, False, False])
    assert auc(positive, np.array([3.0, 2, 2, 1]), EACH(4), random_seed=0).value == pytest.approx(0.875)


def test_partial_spearman_by_hand() -> None:
    human = np.array([1.0, 2, 3, 4, 5])
    value = np.array([2.0, 1, 4, 3, 5])
    length = np.array([3.0, 1, 2, 5, 4])
    # d^2 human-value: 4 -> 1 - 24/120 = .8; human-length: 4+1+1+1+1 = 8 -> 1 - 48/120 = .6;
    # value-length: 1+0+4+4+1 = 10 -> .5
    expected = (0.8 - 0.6 * 0.5) / np.sqrt((1 - 0.36) * (1 - 0.25))
    assert partial_spearman(human, value, length, EACH(5), random_seed=0).value == pytest.approx(expected)


@given(sides())
def test_same_as_scipy_and_sklearn(data: np.ndarray) -> None:
    human, value, _ = data
    rho = spearman(human, value, EACH(len(human)), random_seed=0).value
    if np.ptp(human) == 0 or np.ptp(value) == 0:
        assert rho is None and kendall(human, value).value is None
        return
    assert rho == pytest.approx(stats.spearmanr(human, value).statistic)
    assert kendall(human, value).value == pytest.approx(stats.kendalltau(human, value).statistic)
    positive = human > np.median(human)
    if positive.any():
        expected = roc_auc_score(positive, value)
        assert auc(positive, value, EACH(len(human)), random_seed=0).value == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(sides(), st.randoms(use_true_random=False))
def test_order_of_items_and_monotone_transforms_do_not_matter(data: np.ndarray, random) -> None:  # type: ignore[no-untyped-def]
    human, value, length = data
    groups = EACH(len(human))
    shuffled = np.array(random.sample(range(len(human)), len(human)))
    base = spearman(human, value, groups, random_seed=3)
    moved = spearman(human[shuffled], value[shuffled], groups[shuffled], random_seed=3)
    bent = spearman(np.exp(human), value**3, groups, random_seed=3)
    turned = spearman(human, -value, groups, random_seed=3)
    for other in (moved, bent):
        assert other.value == (None if base.value is None else pytest.approx(base.value))
        assert other.low == (None if base.low is None else pytest.approx(base.low))
    assert turned.value == (None if base.value is None else pytest.approx(-base.value))
    partial = partial_spearman(human, value, length, groups, random_seed=3)
    if partial.value is not None:
        assert -1 - 1e-9 <= partial.value <= 1 + 1e-9


@pytest.mark.parametrize("size", [0, 1, 2])
def test_fewer_than_three_items(size: int) -> None:
    some = np.arange(float(size))
    for figure in (spearman(some, some, EACH(size), 0), kendall(some, some)):
        assert figure.value is None and figure.why == figures.TOO_FEW_ITEMS


def test_undefined_says_why() -> None:
    flat, rising = np.ones(20), np.arange(20.0)
    assert spearman(flat, rising, EACH(20), 0).why == figures.CONSTANT_HUMAN
    assert spearman(rising, flat, EACH(20), 0).why == figures.CONSTANT_JUDGE
    assert auc(np.ones(20, dtype=bool), rising, EACH(20), 0).why == figures.ONE_CLASS
    assert auc(np.ones(0, dtype=bool), rising[:0], EACH(0), 0).why == figures.NO_ITEMS
    assert partial_spearman(rising, rising[::-1], flat, EACH(20), 0).why == figures.CONSTANT_LENGTH
    assert partial_spearman(rising, rising**2, rising, EACH(20), 0).why == figures.LENGTH_DECIDES


def test_a_constant_judge_has_an_auc_of_one_half() -> None:
    assert auc(np.arange(20) % 2 == 0, np.ones(20), EACH(20), 0).value == pytest.approx(0.5)
