"""Thresholds come from other requests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agreement.statistics import figures
from backend.agreement.statistics.matched import best_threshold, cross_fit_decisions


def test_best_threshold_by_hand() -> None:
    assert best_threshold(np.array([0.0, 0, 1, 1]), np.array([1.0, 2, 4, 5])) == 3
    # All good is right three times of four, every other cut at most twice or as often: the edge wins.
    assert best_threshold(np.array([1.0, 1, 0, 1]), np.array([1.0, 2, 3, 4])) == 1
    assert best_threshold(np.array([0.0, 0, 1, 0]), np.array([1.0, 2, 3, 4])) > 4


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=25))
def test_no_other_cut_is_better(rows: list[tuple[bool, int]]) -> None:
    human, value = np.array([float(good) for good, _ in rows]), np.array([float(v) for _, v in rows])
    found = ((value >= best_threshold(human, value)) == human).sum()
    assert found == max(((value >= cut) == human).sum() for cut in np.arange(-0.5, 8))


def test_separable_classes_are_decided_rightly() -> None:
    human = np.tile([0.0, 1], 50)
    made = cross_fit_decisions(human, human * 10 + np.arange(100) / 100, np.arange(100) // 2)
    assert (made.decision == human).all()
    assert 1 < made.threshold.value < 10  # type: ignore[operator]


def test_noise_gains_nothing_from_the_choice() -> None:
    random = np.random.default_rng(0)
    right = []
    for _ in range(60):
        human, value = random.integers(0, 2, 100).astype(float), random.normal(size=100)
        right.append((cross_fit_decisions(human, value, np.arange(100)).decision == human).mean())
    assert np.mean(right) < 0.52


def test_a_request_has_no_say_in_its_own_threshold() -> None:
    human, value, groups = np.tile([0.0, 1], 50), np.tile([0.0, 1], 50), np.arange(100) // 2
    before = cross_fit_decisions(human, value, groups).decision
    turned = human.copy()
    turned[:2] = 1 - turned[:2]
    assert (cross_fit_decisions(turned, value, groups).decision[:2] == before[:2]).all()


def test_undefined_says_why() -> None:
    value, groups = np.arange(10.0), np.arange(10)
    for human in (np.ones(10), np.full(10, 0.5)):
        made = cross_fit_decisions(human, value, groups)
        assert made.threshold.why == figures.ONE_CLASS and np.isnan(made.decision).all()
    lone = cross_fit_decisions(np.eye(10)[0], value, groups)
    assert lone.threshold.why == figures.NO_FOLDS and np.isnan(lone.decision).all()
    assert cross_fit_decisions(np.tile([0.0, 1], 5), value, np.zeros(10)).threshold.why == figures.NO_FOLDS
    assert cross_fit_decisions(np.empty(0), np.empty(0), np.empty(0)).threshold.why == figures.NO_ITEMS


def test_ties_are_decided_but_not_learnt_from() -> None:
    human = np.array([0.0, 1, 0.5] * 10)
    made = cross_fit_decisions(human, np.array([0.0, 4, 3] * 10), np.arange(30))
    assert made.threshold.value == pytest.approx(2) and (made.decision[2::3] == 1).all()
