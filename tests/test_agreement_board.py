"""One row per judge: what is counted, what is undefined, what must not matter."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.agreement.statistics import figures
from backend.agreement.statistics.figures import Figure
from backend.agreement.statistics.judge_rows import JudgeRow, judge_row
from backend.core.enums import Scale

NAN = np.nan


def row(human: Any, value: Any, scale: Scale = Scale.SCORE, paired: bool = False, **other: Any) -> JudgeRow:
    size = len(human)
    groups, lengths = other.get("groups", np.arange(size)), other.get("lengths", np.arange(float(size)))
    human, value = np.array(human, dtype=float), np.array(value, dtype=float)
    return judge_row("j", "v", human, value, groups, lengths, scale, is_paired=paired, random_seed=7)


def all_figures(made: JudgeRow) -> dict[str, Figure]:
    values = {field.name: getattr(made, field.name) for field in fields(made)}
    return {name: value for name, value in values.items() if isinstance(value, Figure)}


def flat(made: JudgeRow, *left_out: str) -> list[float]:
    """Every number of a row, NaN where undefined."""
    return [
        NAN if number is None else number
        for name, figure in all_figures(made).items()
        if name not in left_out
        for number in (figure.value, figure.low, figure.high)
    ]


def test_counts() -> None:
    human, value = np.tile([1, 0, NAN, 0.5, 1, NAN], 4), np.tile([1, NAN, 1, 0, 0, NAN], 4)
    made = row(human, value, Scale.BINARY)
    assert (made.n, made.unscored, made.ties) == (12, 4, 4)
    # Right, half for the tie, wrong.
    assert made.accuracy.value == pytest.approx(0.5)
    assert made.base_rate.value == pytest.approx(2.5 / 3)


@pytest.mark.parametrize(
    ("human", "value"),
    [([], []), ([1.0], [0.3]), ([1.0, 0], [2.0, 1]), ([NAN] * 5, [1.0] * 5), ([1.0] * 5, [NAN] * 5)],
)
@pytest.mark.parametrize("paired", [False, True])
def test_tiny_boards_never_show_a_number_that_is_not_one(human: Any, value: Any, paired: bool) -> None:
    for scale in Scale:
        for figure in all_figures(row(human, value, scale, paired)).values():
            assert figure.value is not None or figure.why is not None
            assert all(np.isfinite(x) for x in (figure.value, figure.low, figure.high) if x is not None)


def test_constant_sides() -> None:
    rising = np.arange(20.0)
    good, dull = row(np.ones(20), rising), row(rising % 2, np.ones(20))
    assert good.spearman.why == figures.CONSTANT_HUMAN
    assert good.accuracy.why == good.kappa.why == good.auc.why == figures.ONE_CLASS
    assert good.base_rate.value == 1
    assert dull.spearman.why == dull.kendall.why == figures.CONSTANT_JUDGE
    assert dull.auc.value == pytest.approx(0.5) and dull.kappa.value is not None


def test_fixed_thresholds() -> None:
    human = np.tile([1.0, 0, 1, 0], 3)
    assert row(human, human, Scale.BINARY).accuracy.value == 1
    rubric = row(human, np.tile([2.0, 1.95, 3, 1], 3), Scale.RUBRIC)
    assert (rubric.accuracy.value, rubric.threshold.value) == (1, 2.0)


def test_human_values_are_shares() -> None:
    with pytest.raises(ValueError, match="shares"):
        row([3, 1], [1, 0])


def test_never_asked_and_asked_without_verdict_are_counted_apart() -> None:
    human, value = np.tile([1, 0, 1, NAN], 5), np.tile([1, NAN, NAN, NAN], 5)
    asked = np.tile([True, True, False, False], 5)
    made = judge_row(
        "j",
        "v",
        human,
        value,
        np.arange(20),
        np.ones(20),
        Scale.BINARY,
        is_paired=False,
        random_seed=0,
        was_queried=asked,
    )
    assert (made.n, made.never_asked, made.without_verdict, made.unscored) == (5, 5, 5, 10)
    silent = row(human, value, Scale.BINARY)
    assert (silent.never_asked, silent.without_verdict) == (0, 10), "without a word of it all were asked"


def test_every_figure_says_its_own_items_and_a_mirrored_pair_is_one() -> None:
    # Of 40 items people call 10 a tie; the judge, by the sign of a margin, calls 4 of the others one.
    human = np.concatenate([np.full(10, 0.5), np.ones(30)])
    value = np.concatenate([np.ones(36), np.zeros(4)])
    made = row(human, value, paired=True, lengths=np.zeros(40))
    sizes = {name: figure.n for name, figure in all_figures(made).items()}
    assert sizes == {
        "spearman": 40,
        "kendall": 40,
        "accuracy": 40,
        "kappa": 26,
        "ac1": 26,
        "auc": 30,
        "matched_auc": 30,
        "base_rate": 40,
        "threshold": None,
    }
    assert made.ties == 14


def test_a_perfect_judge_and_a_random_one() -> None:
    random = np.random.default_rng(0)
    human, lengths = random.integers(0, 2, 300).astype(float), random.integers(20, 40, 300).astype(float)
    perfect = row(human, human + random.random(300) / 2, lengths=lengths)
    assert perfect.auc.value == perfect.accuracy.value == perfect.matched_auc.value == 1
    assert perfect.kappa.why == figures.NO_SPREAD and perfect.kappa.value == 1
    noise = row(human, random.random(300), lengths=lengths)
    for figure, chance in ((noise.spearman, 0), (noise.kappa, 0), (noise.auc, 0.5), (noise.accuracy, 0.5)):
        assert figure.low < chance < figure.high  # type: ignore[operator]


ITEMS = st.lists(
    st.tuples(st.sampled_from([0, 0.25, 0.5, 1, NAN]), st.sampled_from([-2.0, -1, 0, 1, 2, NAN])),
    min_size=12,
    max_size=40,
)


@settings(deadline=None, max_examples=25)
@given(ITEMS, st.randoms(use_true_random=False), st.sampled_from([False, True]))
def test_the_order_of_items_does_not_matter(items: list[Any], random: Any, paired: bool) -> None:
    human, value = np.array(items).T
    order = np.array(random.sample(range(len(items)), len(items)))
    groups = np.array([f"p{i % 13}" for i in range(len(items))])
    base = row(human, value, paired=paired, groups=groups)
    moved = row(human[order], value[order], paired=paired, groups=groups[order])
    # Among items of one length the matching takes the earlier one.
    assert flat(base, "matched_auc") == pytest.approx(flat(moved, "matched_auc"), nan_ok=True)


@settings(deadline=None, max_examples=25)
@given(ITEMS, st.lists(st.booleans(), min_size=40, max_size=40))
def test_which_greeting_was_called_a_does_not_matter(items: list[Any], flips: list[bool]) -> None:
    human, value = np.array(items).T
    turn = np.array(flips[: len(items)])
    lengths = np.arange(float(len(items))) - 7
    base = row(human, value, paired=True, lengths=lengths)
    other = row(
        np.where(turn, 1 - human, human),
        np.where(turn, -value, value),
        paired=True,
        lengths=np.where(turn, -lengths, lengths),
    )
    left_out = ("base_rate", "matched_auc")
    assert flat(base, *left_out) == pytest.approx(flat(other, *left_out), nan_ok=True)
    assert (base.n, base.unscored, base.ties) == (other.n, other.unscored, other.ties)


def test_pairs_by_hand() -> None:
    # Always A by people: right, right, wrong, undecided, four times over.
    made = row(np.ones(16), np.tile([3, 1, -2, 0], 4), paired=True)
    assert made.accuracy.value == pytest.approx(2.5 / 4)
    assert (made.n, made.ties, made.threshold.value, made.base_rate.value) == (16, 4, 0, 1)
    # Both ways round: 4 right, 2 wrong of 6, sides even, chance one half: (2/3 - 1/2) / (1/2)
    assert (made.kappa.value, made.ac1.value) == pytest.approx((1 / 3, 1 / 3))
    # Margins 3, 1, -2, 0 against -3, -1, 2, 0: they win 4, 3, 1 and 2, and 0 ties once.
    assert made.auc.value == pytest.approx((4 + 3 + 1 + 2.5) / 16)
