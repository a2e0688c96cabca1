"""Figures to the last digit: values by hand, bounds from both sides, and on how many items each rests."""

import numpy as np
import pytest
from scipy import stats

from backend.agreement.statistics import figures, matched, minimums
from backend.agreement.statistics.categorical import (
    accuracy_figure,
    cohen_kappa,
    confusion_table,
    gwet_ac1,
    is_decided,
    krippendorff_alpha,
    pairable_columns,
    rate_figure,
    wilson_interval,
)
from backend.agreement.statistics.figures import Figure, bootstrap_interval, estimate, undefined_figure
from backend.agreement.statistics.judge_rows import (
    AlphaRow,
    alpha_row,
    decide_items,
    judge_opinions,
    judge_row,
    share_of_model,
)
from backend.agreement.statistics.matched import (
    FOLD_COUNT,
    best_threshold,
    cross_fit_decisions,
    length_matched,
    matched_auc,
    same_prompt_accuracy,
)
from backend.agreement.statistics.minimums import (
    count_rarer,
    too_few_items,
    too_few_matched,
    too_few_of_kind,
    withhold_if_few,
)
from backend.agreement.statistics.rank import auc, kendall, partial_spearman, spearman
from backend.core.enums import Scale
from backend.core.text import assign_bucket

NAN = np.nan
TEN = np.arange(10)


def close(figure: Figure, value: float, low: float, high: float, n: int) -> None:
    assert (figure.value, figure.low, figure.high) == pytest.approx((value, low, high), abs=1e-12)
    assert (figure.n, figure.why) == (n, None)


# Rates ----------------------------------------------------------------------------------------------


def wilson_score(successes: float, n: float) -> tuple[float, float]:
    found = stats.binomtest(round(successes), round(n)).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


@pytest.mark.parametrize(("good", "n"), [(0, 1), (1, 1), (1, 7), (3, 7), (7, 7), (40, 90), (1, 900)])
def test_wilson_is_that_of_scipy(good: int, n: int) -> None:
    assert wilson_interval(good / n, n) == pytest.approx(wilson_score(good, n), abs=1e-12)


def test_a_rate_of_single_items_is_wilson_of_all_of_them() -> None:
    credit = np.array([1.0] * 7 + [0.0] * 3)
    close(rate_figure(credit, TEN), 0.7, *wilson_score(7, 10), 10)


def test_a_rate_of_clusters_divides_by_the_design_effect() -> None:
    # Two requests of two items: (1, 1) and (1, 0). Errors .25 thrice and -.75: alone 3/16 + 9/16 = .75,
    # together .5² + .5² = .5. The effect is below one, so the four items count as four.
    credit, groups = np.array([1.0, 1, 1, 0]), np.array(["a", "a", "b", "b"])
    close(rate_figure(credit, groups), 0.75, *wilson_score(3, 4), 4)
    # (1, 1) twice, (0, 0), and (1, 0) twice: mean .6; errors .4 six times, -.6 four times: alone 2.4,
    # together .8² · 2 + 1.2² + .2² · 2 = 2.8: ten items count as 10 / (2.8 / 2.4).
    credit = np.array([1.0, 1, 1, 1, 0, 0, 1, 0, 1, 0])
    close(rate_figure(credit, np.repeat(np.arange(5), 2)), 0.6, *wilson_interval(0.6, 10 * 2.4 / 2.8), 10)


def test_a_rate_without_variation_counts_each_request_once() -> None:
    groups = np.array([4, 4, 4, 7, 7, 9])
    close(rate_figure(np.ones(6), groups), 1.0, *wilson_score(3, 3), 6)
    close(rate_figure(np.zeros(6), groups), 0.0, *wilson_score(0, 3), 6)
    assert rate_figure(np.empty(0), np.empty(0)) == undefined_figure(figures.NO_ITEMS, 0)


def test_a_tie_on_one_side_is_half_and_on_no_side_is_decided() -> None:
    human, judge = np.array([1, 0.5, 1, 0.5, 0, 0]), np.array([1, 1, 0.5, 0.5, 0, 1])
    assert is_decided(human, judge).tolist() == [True, False, False, False, True, True]
    assert accuracy_figure(human, judge, np.arange(6)).value == pytest.approx((1 + 0.5 + 0.5 + 0.5 + 1 + 0) / 6)


# Chance-corrected -------------------------------------------------------------------------------------


def test_three_categories_by_hand() -> None:
    # Human 1 1 2 2 3 3, judge 1 2 2 3 3 1. Seen 3/6; rows 2 2 2, columns 2 2 2: chance 1/3: kappa .25.
    human, judge = np.array([1.0, 1, 2, 2, 3, 3]), np.array([1.0, 2, 2, 3, 3, 1])
    three, each = np.array([1.0, 2, 3]), np.arange(6)
    assert confusion_table(human, judge, three).tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
    assert confusion_table(human, judge, three).dtype == np.int64
    assert cohen_kappa(human, judge, each, 0, categories=three).value == pytest.approx(0.25)
    # Linear: seen 1 + 1 + 2 = 4 of 6, chance (4 · 1 · 4 + 2 · 2 · 4) / 36 = 32/36.
    linear = cohen_kappa(human, judge, each, 0, categories=three, weighting="linear").value
    assert linear == pytest.approx(1 - (4 / 6) / (32 / 36))
    # Quadratic: seen 1 + 1 + 4 = 6 of 6, chance (4 · 4 · 1 + 2 · 4 · 4) / 36 = 48/36.
    square = cohen_kappa(human, judge, each, 0, categories=three, weighting="quadratic").value
    assert square == pytest.approx(1 - 1 / (48 / 36))
    # AC1: share of each 1/3: chance 3 · (1/3)(2/3) / 2 = 1/3; (1/2 - 1/3) / (2/3) = .25.
    assert gwet_ac1(human, judge, each, 0, categories=three).value == pytest.approx(0.25)
    # Without the last item: shares .3 .4 .3, chance (.21 + .24 + .21) / 2 = .33, seen .6.
    fewer = gwet_ac1(human[:5], judge[:5], each[:5], 0, categories=three)
    assert fewer.value == pytest.approx((0.6 - 0.33) / 0.67)


def test_kappa_and_ac1_keep_their_groups_when_ties_leave() -> None:
    human = np.tile([1.0, 0.5, 0.0, 1.0], 15)
    judge = np.tile([1.0, 1.0, 0.0, 0.0], 15)
    groups = np.repeat(np.arange(15), 4)
    kept = human != 0.5
    for statistic in (cohen_kappa, gwet_ac1):
        found = statistic(human, judge, groups, 5)
        assert found == statistic(human[kept], judge[kept], groups[kept], 5) and found.n == 45
    for statistic in (cohen_kappa, gwet_ac1):
        none = statistic(human[:0], judge[:0], groups[:0], 0)
        assert none == undefined_figure(figures.NO_ITEMS, 0)
        ties = np.full(12, 0.5)
        assert statistic(ties, ties, np.arange(12), 0) == undefined_figure(figures.ONLY_TIES, 0)
        assert statistic(ties, np.ones(12), np.arange(12), 0) == undefined_figure(figures.ONLY_TIES, 0)


def test_people_with_one_category_leave_kappa_undefined_with_its_items() -> None:
    assert cohen_kappa(np.ones(12), np.tile([1.0, 0], 6), np.arange(12), 0) == undefined_figure(figures.ONE_CLASS, 12)
    judged = cohen_kappa(np.tile([1.0, 0], 6), np.ones(12), np.arange(12), 0)
    assert judged.value == pytest.approx(0.0), "a judge with one category is chance"


# Order ----------------------------------------------------------------------------------------------


def test_order_needs_three_items_and_no_more() -> None:
    for rank in (
        spearman(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]), np.arange(3), 0),
        kendall(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])),
        partial_spearman(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]), np.array([2.0, 1, 3]), np.arange(3), 0),
    ):
        assert rank.value is not None or rank.why == figures.LENGTH_DECIDES
    two = np.array([1.0, 2])
    assert spearman(two, two, two, 0) == kendall(two, two) == undefined_figure(figures.TOO_FEW_ITEMS, 2)
    assert partial_spearman(two, two, two, two, 0) == undefined_figure(figures.TOO_FEW_ITEMS, 2)
    assert kendall(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == Figure(pytest.approx(1 / 3), n=3)


def test_an_undefined_order_says_its_items() -> None:
    flat, rising = np.ones(12), np.arange(12.0)
    assert spearman(flat, rising, rising, 0) == kendall(flat, rising) == undefined_figure(figures.CONSTANT_HUMAN, 12)
    assert spearman(rising, flat, rising, 0) == kendall(rising, flat) == undefined_figure(figures.CONSTANT_JUDGE, 12)
    assert partial_spearman(rising, flat, rising, rising, 0) == undefined_figure(figures.CONSTANT_JUDGE, 12)
    assert partial_spearman(rising, rising, flat, rising, 0) == undefined_figure(figures.CONSTANT_LENGTH, 12)
    assert (
        auc(flat == 1, rising, rising, 0)
        == auc(flat == 0, rising, rising, 0)
        == undefined_figure(figures.ONE_CLASS, 12)
    )
    assert auc(flat[:0] == 1, rising[:0], rising[:0], 0) == undefined_figure(figures.NO_ITEMS, 0)


def test_the_partial_order_s_interval_is_that_of_its_resamples() -> None:
    random = np.random.default_rng(2)
    human, value, lengths = random.normal(size=(3, 40)).round(1)
    value += human
    groups = np.repeat(np.arange(20), 2)
    found = partial_spearman(human, value, lengths, groups, random_seed=4)

    def one(times: np.ndarray) -> float:
        x, y, z = (stats.rankdata(np.repeat(side, times)) for side in (human, value, lengths))
        xy, xz, yz = (np.corrcoef(*pair)[0, 1] for pair in ((x, y), (x, z), (y, z)))
        return float((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))

    draws = np.random.default_rng(4)
    share = np.full(20, 1 / 20)
    times = np.concatenate([draws.multinomial(20, share, size=100) for _ in range(10)])
    drawn = [one(row[groups]) for row in times]
    low, high = np.quantile(drawn, [0.025, 0.975])
    close(found, one(np.ones(40, dtype=int)), low, high, 40)


# The interval -----------------------------------------------------------------------------------------


def test_ten_requests_have_an_interval_and_nine_have_none() -> None:
    values = np.random.default_rng(3).normal(size=30)

    def mean(weights: np.ndarray) -> np.ndarray:
        result: np.ndarray = weights @ values / weights.sum(axis=1)
        return result

    assert bootstrap_interval(mean, np.arange(30) % 9, 0) is figures.FEW_GROUPS
    found = estimate(mean, np.arange(30) % 10, 0, figures.NO_ITEMS)
    draws, share = np.random.default_rng(0), np.full(10, 0.1)
    drawn = [draws.multinomial(10, share, size=figures.CHUNK_SIZE) for _ in range(10)]
    each = np.concatenate([mean(times[:, np.arange(30) % 10].astype(float)) for times in drawn])
    close(found, values.mean(), *np.quantile(each, [0.025, 0.975]), 30)
    assert estimate(lambda w: np.full(len(w), NAN), TEN, 0, figures.NO_ITEMS) == undefined_figure(figures.NO_ITEMS, 10)


def test_one_undefined_resample_in_twenty_is_borne() -> None:
    for undefined_ones, borne in ((50, True), (51, False)):
        given = np.concatenate([np.full(undefined_ones, NAN), np.arange(1000.0 - undefined_ones)])
        pieces = iter(np.random.default_rng(1).permutation(given).reshape(10, 100))
        found = bootstrap_interval(lambda _, pieces=pieces: next(pieces), TEN, 0)
        assert isinstance(found, tuple) is borne
        if not borne:
            assert found is figures.UNSTABLE
    flat = iter(np.full((10, 100), 0.5))
    assert bootstrap_interval(lambda _: next(flat), TEN, 0) is figures.NO_SPREAD
    narrow = iter(np.concatenate([np.zeros(500), np.full(500, 1e-9)]).reshape(10, 100))
    assert bootstrap_interval(lambda _: next(narrow), TEN, 0) == (0.0, 1e-9)


# Length -----------------------------------------------------------------------------------------------


def test_partners_lie_within_two_characters_and_the_nearest_go_first() -> None:
    def kept(good: list[float], bad: list[float]) -> list[bool]:
        positive = np.array([True] * len(good) + [False] * len(bad))
        return length_matched(positive, np.array([*good, *bad])).tolist()

    for gap in (-2, -1, 0, 1, 2):
        assert kept([10], [10 + gap]) == [True, True]
    for gap in (-3, 3):
        assert kept([10], [10 + gap]) == [False, False]
    assert kept([10], [12, 11, 10]) == [True, False, False, True]
    assert kept([10], [12, 11]) == [True, False, True]
    assert kept([10, 10], [10]) == [True, False, True], "among equals the earlier"
    assert kept([10, 11], [9]) == [True, False, True]
    assert kept([10, 10], [10, 12, 12]) == [True, True, True, True, False]


def test_a_matched_area_of_thirty_items_by_hand() -> None:
    human, value = np.tile([1.0, 0.0, 0.5], 15), np.tile([1.0, 0.0, 9.0], 15)
    value[0] = -1.0  # loses to all fifteen
    found = matched_auc(human, value, np.full(45, 8.0), np.arange(45), 0)
    assert (found.value, found.n) == (pytest.approx(14 / 15), 30)
    seen = auc(human[human != 0.5] == 1, value[human != 0.5], np.arange(30), 0)
    assert (found.low, found.high) == (seen.low, seen.high)
    fewer = matched_auc(human[:43], value[:43], np.full(43, 8.0), np.arange(43), 0)
    assert fewer == undefined_figure(too_few_matched(28), 28)
    lengths = np.tile([8.0, 99.0, 8.0], 15)
    assert matched_auc(human, value, lengths, np.arange(45), 0) == undefined_figure(figures.NO_MATCH, 0)
    assert matched_auc(np.zeros(5), value[:5], lengths[:5], TEN[:5], 0) == undefined_figure(figures.ONE_CLASS, 0)
    assert matched_auc(human[:0], value[:0], lengths[:0], TEN[:0], 0) == undefined_figure(figures.NO_ITEMS, 0)


def test_pairs_of_one_request_carry_its_name() -> None:
    human = np.array([1.0, 0, 0, 1, 0, 1, 0])
    value = np.array([2.0, 1, 3, 1, 1, 0, 4])
    groups = np.array([0, 0, 0, 1, 1, 2, 2])
    # Request 0: (1, 0) right, (1, 0) wrong; 1: even, half; 2: wrong.
    found = same_prompt_accuracy(human, value, groups)
    expected = rate_figure(np.array([1.0, 0, 0.5, 0]), np.array([0, 0, 1, 2]))
    close(found, 1.5 / 4, expected.low or 0, expected.high or 0, 4)
    assert same_prompt_accuracy(human[:1], value[:1], groups[:1]) == undefined_figure(figures.NO_PAIRS, 0)


# Thresholds and minimums ------------------------------------------------------------------------------


def test_a_threshold_lies_half_way_or_at_an_edge() -> None:
    assert best_threshold(np.array([0.0, 1]), np.array([1.0, 4])) == 2.5
    assert best_threshold(np.array([1.0, 1]), np.array([1.0, 4])) == 1.0
    assert best_threshold(np.array([0.0, 0]), np.array([1.0, 4])) == np.nextafter(4.0, np.inf)
    # Cuts below 1, between 2 and 3, and above 4 are right twice of four; the middle one of them is taken.
    assert best_threshold(np.array([1.0, 0, 1, 0]), np.array([1.0, 2, 3, 4])) == 2.5
    # Two best cuts, 1.5 and 3.5: the upper middle one.
    assert best_threshold(np.array([0.0, 1, 0, 1]), np.array([1.0, 2, 3, 4])) == 3.5


def test_folds_are_even_and_each_is_decided_by_the_others() -> None:
    human, value = np.tile([0.0, 1.0], 10), np.repeat([0.0, 10.0], 10)
    value[:10] += np.tile([0.0, 2.0], 5)
    value[10:] += np.tile([0.0, 2.0], 5)
    found = cross_fit_decisions(human, value, np.arange(20))
    assert not np.isnan(found.decision).any() and found.threshold.n is None
    one_each = cross_fit_decisions(np.array([0.0, 1, 0, 1]), np.array([0.0, 4, 0, 4]), np.array(["a", "b", "c", "d"]))
    assert one_each.decision.tolist() == [0, 1, 0, 1] and one_each.threshold.value == 2.0
    lone = cross_fit_decisions(np.array([0.0, 1, 0, 0]), np.arange(4.0), np.arange(4))
    assert lone.threshold == undefined_figure(figures.NO_FOLDS) and np.isnan(lone.decision).all()
    assert len(lone.decision) == 4
    ties = cross_fit_decisions(np.full(3, 0.5), np.arange(3.0), np.arange(3))
    assert ties.threshold == undefined_figure(figures.ONE_CLASS)


def test_folds_follow_from_the_name_of_a_request() -> None:
    names = [f"请求{n}" for n in range(12)]
    by_hash = sorted(names, key=lambda name: assign_bucket(name, 2**48, hash_salt="threshold"))
    expected = {name: place % FOLD_COUNT for place, name in enumerate(by_hash)}
    twice = np.array([*names, *names])
    assert matched._assign_folds(twice).tolist() == [expected[name] for name in twice]
    assert by_hash != sorted(names), "or the order of names would do"


def test_what_is_withheld_from_how_many_items_on() -> None:
    shown = Figure(0.5)
    assert withhold_if_few(shown, 0) == Figure(0.5, n=0) and withhold_if_few(shown, 1) == undefined_figure(
        too_few_items(1), 1
    )
    assert withhold_if_few(shown, 9, 9) == undefined_figure(too_few_items(9), 9) and withhold_if_few(
        shown, 10
    ) == Figure(0.5, n=10)
    assert withhold_if_few(shown, 10, 4) == undefined_figure(too_few_of_kind(4), 10)
    assert withhold_if_few(shown, 10, 5) == Figure(0.5, n=10) and withhold_if_few(shown, 10, 0).why == too_few_of_kind(
        0
    )
    reason = undefined_figure(figures.ONE_CLASS)
    assert withhold_if_few(reason, 10, 1) == undefined_figure(figures.ONE_CLASS, 10)
    assert (minimums.MIN_FIGURE_ITEMS, minimums.MIN_RARER_ITEMS, minimums.MIN_MATCHED_ITEMS) == (10, 5, 30)


def test_the_rarer_kind() -> None:
    assert count_rarer(np.array([1.0, 1, 1, 0, 0, 0.5]), is_paired=False) == 3
    assert count_rarer(np.array([1.0, 1, 1, 0, 0, 0.5]), is_paired=True) == 5
    assert count_rarer(np.ones(4), is_paired=False) == 0 and count_rarer(np.ones(4), is_paired=True) == 4
    assert count_rarer(np.empty(0), is_paired=False) == 0


# Rows of the board ------------------------------------------------------------------------------------


def test_a_row_by_hand() -> None:
    human = np.array([1.0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0.5, 0.5, NAN, 1.0])
    value = np.array([3.0, 3, 2, 2, 2, 1, 1, 1, 1, 1, 2, 1, 2, 1, 3, NAN])
    groups = np.array([f"p{n}" for n in range(16)])
    made = judge_row(
        "j", "v1", human, value, groups, np.zeros(16), Scale.RUBRIC, is_paired=False, random_seed=3,
        was_queried=np.array([True] * 15 + [False]),
    )  # fmt: skip
    assert (made.judge, made.version, made.newer, made.key) == ("j", "v1", False, "j")
    assert (made.n, made.never_asked, made.without_verdict, made.unscored, made.ties) == (14, 1, 0, 1, 2)
    both, told = slice(0, 14), human[:14]
    said = (value[both] >= 2).astype(float)
    assert made.accuracy == accuracy_figure(told, said, groups[both])
    assert made.accuracy.value == pytest.approx((5 + 5 + 1) / 14)
    assert made.kappa == cohen_kappa(told, said, groups[both], 3) and made.kappa.n == 12
    assert made.ac1 == gwet_ac1(told, said, groups[both], 3)
    assert made.spearman == spearman(told, value[both], groups[both], 3)
    assert made.kendall == kendall(told, value[both])
    clear = told != 0.5
    assert made.auc == auc(told[clear] == 1, value[both][clear], groups[both][clear], 3) and made.auc.n == 12
    assert made.matched_auc == undefined_figure(too_few_matched(12), 12)
    assert made.base_rate == rate_figure(told, groups[both]) and made.threshold == Figure(2.0)


def test_pairs_are_seen_both_ways_round() -> None:
    human = np.tile([1.0, 1, 0, 0.5, 1], 6)
    value = np.tile([2.0, -1, -3, 1, 0], 6) + np.repeat(np.arange(6), 5) / 10
    lengths = np.tile([4.0, -6, 2, 0, 1], 6)
    groups = np.repeat(np.arange(15), 2)
    made = judge_row("j", "v", human, value, groups, lengths, Scale.SCORE, is_paired=True, random_seed=3)
    twice = np.concatenate([groups, groups])
    both_human, both_value = np.concatenate([human, 1 - human]), np.concatenate([value, -value])
    said = (np.sign(value) + 1) / 2
    both_said = np.concatenate([said, 1 - said])
    assert made.spearman == spearman(both_human, both_value, twice, 3).with_item_count(30)
    assert made.kendall == kendall(both_human, both_value).with_item_count(30)
    assert made.kappa == cohen_kappa(both_human, both_said, twice, 3).with_item_count(
        int(((human != 0.5) & (said != 0.5)).sum())
    )
    assert made.ac1 == gwet_ac1(both_human, both_said, twice, 3).with_item_count(made.kappa.n or 0)
    clear = both_human != 0.5
    assert made.auc == auc(both_human[clear] == 1, both_value[clear], twice[clear], 3).with_item_count(24)
    assert made.accuracy == accuracy_figure(human, said, groups) and made.threshold == Figure(0.0)
    # Lengths turn with the sides: six and two characters have no partner but the tie of one length.
    turned = np.concatenate([lengths, -lengths])
    items = np.concatenate([np.arange(30), np.arange(30)])
    assert made.matched_auc == matched_auc(both_human, both_value, turned, twice, 3, item_ids=items)


def test_without_a_threshold_the_yes_and_no_figures_say_why() -> None:
    made = judge_row(
        "j",
        "v",
        np.ones(12),
        np.arange(12.0),
        np.arange(12),
        np.zeros(12),
        Scale.SCORE,
        is_paired=False,
        random_seed=0,
    )
    for figure in (made.accuracy, made.kappa, made.ac1):
        assert figure.value is None and figure.why == figures.ONE_CLASS
    assert made.accuracy.n == 12 and made.threshold.why == figures.ONE_CLASS


def test_shares_are_between_nothing_and_all() -> None:
    for wrong in (-0.01, 1.01):
        with pytest.raises(ValueError, match="shares"):
            judge_row(
                "j",
                "v",
                np.array([wrong]),
                TEN[:1],
                TEN[:1],
                TEN[:1],
                Scale.BINARY,
                is_paired=False,
                random_seed=0,
            )


def test_a_judge_s_decisions_stand_at_their_items() -> None:
    human, value = np.array([1.0, NAN, 0, 1, 0.4]), np.array([1.0, 1, NAN, 0, 1])
    found = decide_items(human, value, np.arange(5), Scale.BINARY, is_paired=False)
    np.testing.assert_array_equal(found, [1, NAN, NAN, 0, 1])
    margins = decide_items(human, np.array([-2.0, 1, 1, 0, 3]), np.arange(5), Scale.SCORE, is_paired=True)
    np.testing.assert_array_equal(margins, [0, NAN, 1, 0.5, 1])
    learnt = decide_items(np.tile([0.0, 1], 10), np.tile([3.0, 5], 10), np.arange(20), Scale.SCORE, is_paired=False)
    np.testing.assert_array_equal(learnt, np.tile([0.0, 1], 10))
    rubric = decide_items(human, np.array([2.0, 9, 9, 1.99, np.inf]), np.arange(5), Scale.RUBRIC, is_paired=False)
    np.testing.assert_array_equal(rubric, [1, NAN, 1, 0, NAN])


def test_alpha_counts_raters_and_items() -> None:
    matrix = np.full((3, 12), NAN)
    matrix[0], matrix[1, :11] = np.tile([1.0, 2], 6), np.tile([1.0, 2], 6)[:11]
    assert pairable_columns(matrix).shape == (3, 11)
    assert alpha_row(matrix) == AlphaRow(2, 11, *[Figure(1.0, n=11)] * 3)
    assert krippendorff_alpha(matrix, "nominal") == Figure(1.0, n=11)
    nine = matrix[:, :9]
    assert alpha_row(nine) == AlphaRow(2, 9, *[undefined_figure(too_few_items(9), 9)] * 3)
    assert krippendorff_alpha(matrix[:1], "nominal") == undefined_figure(figures.NO_RATERS, 0)
    assert krippendorff_alpha(np.ones((2, 4)), "nominal") == undefined_figure(figures.NO_VARIATION, 4)
    # Two of three agree on a scale of distances: nominal and interval differ.
    uneven = np.array([[1.0, 2, 3, 4, 1], [1.0, 2, 3, 4, 4]])
    nominal, distance = (krippendorff_alpha(uneven, level).value for level in ("nominal", "interval"))
    # Values 1 1 1 2 2 3 3 4 4 4: pairs of unlike ones 1 - (6 + 2 + 2 + 6) / 90; seen 2 of 10.
    assert nominal == pytest.approx(1 - 0.2 / (1 - 16 / 90))
    assert distance == pytest.approx(1 - 1.8 / (2 * np.var([1, 1, 1, 2, 2, 3, 3, 4, 4, 4], ddof=1)))


def test_a_model_s_share_counts_what_stands_on_one_side_only() -> None:
    said = np.array([1.0, 0.0, 0.5, 1.0, NAN, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    first = np.array([True, True, True, False, True, True, False, False, True, True, True, True, False])
    second = ~first
    second[5], first[6], second[6] = True, False, False  # both sides, and neither
    found = share_of_model(said, first, second, np.arange(13))
    counted = [1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert found == rate_figure(np.array(counted), TEN).with_item_count(10)
    scored = judge_opinions(np.tile([0.0, 1], 10), np.tile([3.0, 5], 10), np.arange(20), Scale.SCORE, is_paired=False)
    np.testing.assert_array_equal(scored, np.tile([0.0, 1], 10))
    margin = judge_opinions(np.full(4, NAN), np.array([2.0, -1, 0, np.inf]), TEN[:4], Scale.BINARY, is_paired=True)
    np.testing.assert_array_equal(margin, [1, 0, 0.5, NAN])
