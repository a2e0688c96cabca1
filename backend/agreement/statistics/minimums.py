"""From how many items on a figure is shown; below, a perfect 1.00 would be little more than chance."""

import numpy as np

from backend.agreement.statistics.categorical import TIE
from backend.agreement.statistics.figures import Figure, Floats, undefined_figure
from backend.core.errors import Message

# Items that every figure of agreement rests on at least.
MIN_FIGURE_ITEMS = 10


# Items that people put into the rarer of two kinds, at least: AUC, kappa and orders hang on these few.
MIN_RARER_ITEMS = 5


# Items with a partner of like length that a length-matched figure rests on at least: 15 and 15.
MIN_MATCHED_ITEMS = 30


def too_few_items(item_count: int) -> Message:
    """Why nothing is said of so few items."""
    return Message(
        f"Only {_count_text(item_count)}; at least {MIN_FIGURE_ITEMS} are needed.",
        f"只有 {item_count} 条，至少需要 {MIN_FIGURE_ITEMS} 条。",
    )


def too_few_of_kind(item_count: int) -> Message:
    """Why nothing is said where so few items are of the rarer kind."""
    return Message(
        f"Only {_count_text(item_count)} of the rarer kind for people; at least {MIN_RARER_ITEMS} are needed.",
        f"人工较少的一类只有 {item_count} 条，至少需要 {MIN_RARER_ITEMS} 条。",
    )


def too_few_matched(item_count: int) -> Message:
    """Why nothing is said where so few items have a partner of like length."""
    verb_form = "has" if item_count == 1 else "have"
    return Message(
        f"Only {_count_text(item_count)} {verb_form} a partner of like length; at least {MIN_MATCHED_ITEMS} are "
        "needed.",
        f"只有 {item_count} 条找得到长度相近的对照，至少需要 {MIN_MATCHED_ITEMS} 条。",
    )


def count_rarer(human_values: Floats, *, is_paired: bool) -> int:
    """How many of the items people put into the rarer kind, or (paired) decided.

    human_values: (items,) of 0, 1 and .5 (tie).

    Which of two greetings is called A is arbitrary, so pairs have no rarer kind: all that are no tie count.
    """
    if is_paired:
        return int((human_values != TIE).sum())
    class_counts = np.unique(human_values, return_counts=True)[1]
    return int(len(human_values) - class_counts.max()) if len(class_counts) else 0


def withhold_if_few(figure: Figure, item_count: int, rarer_count: int | None = None) -> Figure:
    """The figure, resting on `item_count` items, or in its place the reason why they are too few to show it.

    rarer_count: items of the rarer kind, where the figure hangs on them. What is undefined keeps its reason, but
    for few items.
    """
    # With no item at all the figure has a reason of its own, which says more than “only 0 items”.
    if 0 < item_count < MIN_FIGURE_ITEMS:
        return undefined_figure(too_few_items(item_count), item_count)
    if figure.value is not None and rarer_count is not None and rarer_count < MIN_RARER_ITEMS:
        return undefined_figure(too_few_of_kind(rarer_count), item_count)
    return figure.with_item_count(item_count)


def _count_text(item_count: int) -> str:
    return "1 item" if item_count == 1 else f"{item_count:,} items"
