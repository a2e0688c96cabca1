"""From how many items on a figure is shown; below, a perfect 1.00 would be little more than chance.

A judge that guesses orders five good and five bad items perfectly once in C(10, 5) = 252 times, two and two
once in 6 times. And the interval that would warn of it needs 10 requests (`bootstrap.MIN_GROUPS`).
"""

import numpy as np

from backend.agreement.categorical import TIE
from backend.agreement.figures import Figure, Floats, undefined
from backend.errors import Message

ITEMS = 10
"""Items that every figure of agreement rests on at least."""
OF_A_KIND = 5
"""Items that people put into the rarer of two kinds, at least: AUC, kappa and orders hang on these few."""
MATCHED = 30
"""Items with a partner of like length that a length-matched figure rests on at least: 15 and 15."""


def few_items(n: int) -> Message:
    """Why nothing is said of so few items."""
    return Message(f"Only {_count(n)}; at least {ITEMS} are needed.", f"只有 {n} 条，至少需要 {ITEMS} 条。")


def few_of_a_kind(n: int) -> Message:
    """Why nothing is said where so few items are of the rarer kind."""
    return Message(
        f"Only {_count(n)} of the rarer kind for people; at least {OF_A_KIND} are needed.",
        f"人工较少的一类只有 {n} 条，至少需要 {OF_A_KIND} 条。",
    )


def few_matched(n: int) -> Message:
    """Why nothing is said where so few items have a partner of like length."""
    have = "has" if n == 1 else "have"
    return Message(
        f"Only {_count(n)} {have} a partner of like length; at least {MATCHED} are needed.",
        f"只有 {n} 条找得到长度相近的对照，至少需要 {MATCHED} 条。",
    )


def rarer(human: Floats, *, paired: bool) -> int:
    """How many of the items (each 0, 1 or .5 for a tie) people put into the rarer kind, or told apart.

    Which of two greetings is called A is arbitrary, so pairs have no rarer kind: all that are no tie count.
    """
    if paired:
        return int((human != TIE).sum())
    counts = np.unique(human, return_counts=True)[1]
    return int(len(human) - counts.max()) if len(counts) else 0


def withheld(figure: Figure, n: int, kind: int | None = None) -> Figure:
    """The figure, resting on `n` items, or in its place the reason why they are too few to show it.

    kind: items of the rarer kind, where the figure hangs on them. What is undefined keeps its reason, but
    for few items.
    """
    if 0 < n < ITEMS:
        return undefined(few_items(n), n)
    if figure.value is not None and kind is not None and kind < OF_A_KIND:
        return undefined(few_of_a_kind(kind), n)
    return figure.on(n)


def _count(n: int) -> str:
    return "1 item" if n == 1 else f"{n:,} items"
