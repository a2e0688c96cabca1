"""A figure on nearly nothing is withheld with the number of items, never shown as 1.00."""

from typing import Any

import numpy as np
import pytest

from backend.agreement.statistics import minimums
from backend.agreement.statistics.figures import NO_ITEMS, Figure, undefined_figure
from backend.agreement.statistics.judge_rows import JudgeRow, alpha_row, judge_row, share_of_model
from backend.core.enums import Scale


def perfect(human: Any, *, paired: bool = False) -> JudgeRow:
    """A judge that says what people say, on greetings of one length."""
    human = np.array(human, dtype=float)
    value = human * 2 - 1 if paired else human
    items = np.arange(len(human))
    return judge_row("j", "v", human, value, items, np.zeros(len(human)), Scale.BINARY, is_paired=paired, random_seed=0)


@pytest.mark.parametrize("paired", [False, True])
def test_a_perfect_judge_of_nine_items_has_no_figure_at_all(paired: bool) -> None:
    made = perfect([1, 0, 1, 0, 1, 0, 1, 0, 1], paired=paired)
    shown = (made.spearman, made.kendall, made.accuracy, made.kappa, made.ac1, made.auc)
    assert [(figure.value, figure.n) for figure in shown] == [(None, 9)] * 6
    assert {figure.why and figure.why.en for figure in shown} == {"Only 9 items; at least 10 are needed."}
    assert made.matched_auc.value is None and made.matched_auc.n == (9 if paired else 8)


@pytest.mark.parametrize("rare", [1, 2, 4])
def test_order_area_and_kappa_hang_on_the_rarer_kind(rare: int) -> None:
    made = perfect([0.0] * rare + [1.0] * (200 - rare))
    for figure in (made.spearman, made.kendall, made.kappa, made.auc):
        assert figure.value is None and figure.n == 200 and figure.why is not None
        assert f"Only {rare} item" in figure.why.en and f"只有 {rare} 条" in figure.why.zh
    assert (made.accuracy.value, made.accuracy.n, made.ac1.value) == (1, 200, 1)
    enough = perfect([0.0] * 5 + [1.0] * 195)
    assert enough.auc.value == enough.kappa.value == 1


def test_pairs_have_no_rarer_side() -> None:
    made = perfect([1.0] * 12, paired=True)
    assert made.auc.value == made.kappa.value == 1, "which one was called A is arbitrary"
    tied = perfect([0.5] * 20 + [1.0] * 4, paired=True)
    assert tied.spearman.value is None and tied.auc.value is None and tied.auc.n == 4


def test_matched_pairs_are_counted_once() -> None:
    assert perfect([1.0] * 29, paired=True).matched_auc.n == 29
    assert perfect([1.0] * 29, paired=True).matched_auc.value is None
    assert perfect([1.0] * 30, paired=True).matched_auc.value == 1


def test_alpha_on_two_items_is_withheld() -> None:
    two = alpha_row(np.array([[1.0, 0], [1, 0]]))
    assert (two.ordinal.value, two.items) == (None, 2)
    assert two.ordinal.why == minimums.too_few_items(2)
    ten = alpha_row(np.tile([[1.0, 0]], (2, 5)))
    assert (ten.ordinal.value, ten.ordinal.n) == (1, 10)


def test_a_model_s_share_of_few_items_is_withheld() -> None:
    few, many = np.ones(9), np.ones(10)
    assert share_of_model(few, few == 1, few == 0, np.arange(9)) == undefined_figure(minimums.too_few_items(9), 9)
    shown = share_of_model(many, many == 1, many == 0, np.arange(10))
    assert (shown.value, shown.n) == (1, 10)


def test_what_no_item_defines_keeps_its_own_reason() -> None:
    assert minimums.withhold_if_few(undefined_figure(NO_ITEMS), 0) == undefined_figure(NO_ITEMS, 0)
    assert minimums.withhold_if_few(Figure(0.5), 12, 5) == Figure(0.5, n=12)


def test_one_item_is_said_in_the_singular() -> None:
    assert minimums.too_few_items(1).en == "Only 1 item; at least 10 are needed."
    assert minimums.too_few_matched(1).en.startswith("Only 1 item has a partner")
