"""Where length is no help."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agreement.statistics import figures
from backend.agreement.statistics.matched import hard_pairs, length_matched, matched_auc, same_prompt_accuracy


def test_matching_by_hand() -> None:
    positive = np.array([True, True, True, False, False, False, False])
    lengths = np.array([10.0, 20, 50, 10, 12, 21, 47])
    # 10-10 at once, then 20-21; 50-47 is too far and 12 is left without a partner.
    assert length_matched(positive, lengths).tolist() == [True, True, False, True, False, True, False]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=40))
def test_matched_classes_are_even_and_close(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([good for good, _ in rows], dtype=bool)
    lengths = np.array([length for _, length in rows], dtype=float)
    subset = length_matched(positive, lengths)
    good, bad = np.sort(lengths[subset & positive]), np.sort(lengths[subset & ~positive])
    assert len(good) == len(bad)
    # Pairs within 2 exist, so pairing both in order of length is within 2 as well.
    assert (np.abs(good - bad) <= 2).all()


def test_length_is_worthless_after_matching() -> None:
    random = np.random.default_rng(0)
    human = random.integers(0, 2, 2000).astype(float)
    lengths = (random.normal(30, 10, 2000) + 12 * human).round()
    figure = matched_auc(human, lengths, lengths, np.arange(2000), random_seed=0)
    assert figure.value == pytest.approx(0.5, abs=0.03)
    assert figure.low < 0.5 < figure.high  # type: ignore[operator]
    taste = matched_auc(human, human + random.normal(size=2000), lengths, np.arange(2000), random_seed=0)
    assert taste.low > 0.7  # type: ignore[operator]


def test_matched_auc_says_why_not() -> None:
    human, lengths = np.array([0.0, 0, 1, 1]), np.array([1.0, 2, 30, 40])
    assert matched_auc(human, lengths, lengths, np.arange(4), 0).why == figures.NO_MATCH
    assert matched_auc(np.ones(4), lengths, lengths, np.arange(4), 0).why == figures.ONE_CLASS
    assert matched_auc(human[:0], lengths[:0], lengths[:0], np.arange(0), 0).why == figures.NO_ITEMS


def test_a_matched_auc_on_few_items_is_withheld_with_their_number() -> None:
    human, lengths = np.tile([0.0, 1.0], 20), np.full(40, 9.0)
    lengths[4:] += 100 * np.arange(36)  # only the first four have a partner
    few = matched_auc(human, human, lengths, np.arange(40), 0)
    assert few.value is None and few.n == 4 and few.why is not None
    assert few.why.en == "Only 4 items have a partner of like length; at least 30 are needed."
    assert few.why.zh == "只有 4 条找得到长度相近的对照，至少需要 30 条。"
    for size, shown in ((28, False), (30, True)):
        figure = matched_auc(human[:size], human[:size], np.ones(size), np.arange(size), 0)
        assert (figure.n, figure.value is not None) == (size, shown)


def test_a_pair_taken_both_ways_round_is_one_item() -> None:
    human, value, lengths = np.tile([1.0, 0.0], 20), np.tile([1.0, -1.0], 20), np.zeros(40)
    twice = np.repeat(np.arange(20), 2)
    figure = matched_auc(human, value, lengths, twice, 0, item_ids=twice)
    assert figure.value is None and figure.n == 20, "40 rows, but 20 items"
    assert matched_auc(human, value, lengths, twice, 0).value == 1


def test_same_prompt_pairs_by_hand() -> None:
    human = np.array([1.0, 0, 0.5, 1, 1, 0, 1])
    value = np.array([3.0, 1, 1, 2, 5, 5, 4])
    groups = np.array(["a", "a", "a", "b", "b", "c", "d"])
    # In a: (1,0) right, (1,.5) right, (0,.5) a tie of the judge; b is a tie of people; c and d are alone.
    figure = same_prompt_accuracy(human, value, groups)
    assert (figure.value, figure.n) == (pytest.approx(2.5 / 3), 3), "n counts the pairs"
    assert same_prompt_accuracy(human[3:], value[3:], groups[3:]).why == figures.NO_PAIRS
    assert same_prompt_accuracy(human[:0], value[:0], groups[:0]).why == figures.NO_PAIRS


def test_hard_pairs() -> None:
    assert hard_pairs(np.array([-40.0, -5, 0, 5, 6, 40])).tolist() == [True, True, True, True, False, False]
