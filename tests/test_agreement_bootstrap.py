"""The clustered interval: exact resampling, honest coverage, and when there is none."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from backend.agreement.statistics import figures, rank
from backend.agreement.statistics.categorical import rate_figure
from backend.agreement.statistics.figures import bootstrap_interval, estimate
from backend.agreement.statistics.rank import spearman


def mean_of(values: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_a_resample_by_weights_is_a_resample_by_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = []
    monkeypatch.setattr(rank, "estimate", lambda statistic, *_: statistics.append(statistic))
    random, groups = np.random.default_rng(5), np.arange(60)
    human, value = random.integers(0, 4, 60).astype(float), random.normal(size=60).round(1)
    rank.spearman(human, value, groups, 0)
    rank.auc(human > 1, value, groups, 0)
    weights = random.multinomial(60, np.full(60, 1 / 60), size=20)
    rho, area = (statistic(weights.astype(float)) for statistic in statistics)
    for i, times in enumerate(weights):
        copied, scored = np.repeat(human, times), np.repeat(value, times)
        assert rho[i] == pytest.approx(stats.spearmanr(copied, scored).statistic)
        assert area[i] == pytest.approx(roc_auc_score(copied > 1, scored))


def test_whole_groups_are_drawn() -> None:
    groups, seen = np.arange(60) // 4, []
    bootstrap_interval(lambda weights: (seen.append(weights), weights[:, 0])[1], groups, random_seed=9)
    drawn = np.concatenate(seen).reshape(-1, 15, 4)
    assert len(drawn) == 1000 and (drawn == drawn[:, :, :1]).all() and (drawn.sum(axis=(1, 2)) == 60).all()


def test_the_same_seed_gives_the_same_interval() -> None:
    values, groups = np.random.default_rng(1).normal(size=50), np.arange(50)
    first, again, other = (bootstrap_interval(mean_of(values), groups, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_clusters_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=40), 5)
    wide = estimate(mean_of(values), np.repeat(np.arange(40), 5), 0, figures.NO_ITEMS)
    narrow = estimate(mean_of(values), np.arange(200), 0, figures.NO_ITEMS)
    assert wide.value == narrow.value
    # Five identical copies carry the information of one: sqrt(5) = 2.24 times as wide.
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(2.24, abs=0.25)  # type: ignore[operator]


def test_no_interval_says_why() -> None:
    values = np.random.default_rng(1).normal(size=90)
    few = estimate(mean_of(values), np.arange(90) % 9, 0, figures.NO_ITEMS)
    assert few.value is not None and few.low is None and few.why == figures.FEW_GROUPS
    flat = estimate(mean_of(np.ones(90)), np.arange(90), 0, figures.NO_ITEMS)
    assert flat.value == 1 and flat.low is None and flat.why == figures.NO_SPREAD
    rare = np.zeros(90)
    rare[0] = 1.0
    only = estimate(
        lambda weights: np.where(weights @ rare > 0, weights @ values, np.nan),
        np.arange(90),
        0,
        figures.NO_ITEMS,
    )
    assert only.value is not None and only.low is None and only.why == figures.UNSTABLE


def test_coverage_of_spearman_on_clustered_data() -> None:
    # Both sides are normal with a cluster part: x = a + e, y = .6 x + .8 (b + d), so r = .6 whatever the
    # clusters, and Spearman's rho of the population is 6/pi * asin(r/2).
    truth = 6 / np.pi * np.arcsin(0.6 / 2)
    groups, random, runs = np.repeat(np.arange(60), 4), np.random.default_rng(11), 400
    few, clustered, naive = 200, 0, 0
    for run in range(runs):
        a, b = (np.repeat(random.normal(size=60), 4) * np.sqrt(0.7) for _ in range(2))
        x = a + random.normal(size=240) * np.sqrt(0.3)
        y = 0.6 * x + 0.8 * (b + random.normal(size=240) * np.sqrt(0.3))
        figure = spearman(x, y, groups, random_seed=run)
        clustered += figure.low <= truth <= figure.high  # type: ignore[operator]
        if run < few:
            alone = spearman(x, y, np.arange(240), random_seed=run)
            naive += alone.low <= truth <= alone.high  # type: ignore[operator]
    assert 0.92 <= clustered / runs <= 0.98
    assert naive / few < 0.90, "without clusters the interval must be too short, or this test shows nothing"


def test_coverage_of_a_rate_on_clustered_data() -> None:
    random, runs, covered = np.random.default_rng(4), 2000, 0
    groups = np.repeat(np.arange(80), 4)
    for _ in range(runs):
        chance = np.repeat(random.beta(3, 1, size=80), 4)  # mean .75, clusters differ
        figure = rate_figure((random.random(320) < chance).astype(float), groups)
        covered += figure.low <= 0.75 <= figure.high  # type: ignore[operator]
    assert 0.92 <= covered / runs <= 0.98
