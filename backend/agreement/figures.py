"""A figure knows its interval, or why it has none: never 0 or NaN in place of "undefined"."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import Message

Floats = NDArray[np.float64]
Groups = NDArray[Any]


@dataclass(frozen=True)
class Figure:
    """A statistic with its 95 % interval.

    `value` None: undefined, and `why` says so. `low` and `high` None beside a value: no interval, and
    `why` gives the reason where one was wanted.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    why: Message | None = None


def undefined(why: Message) -> Figure:
    """A figure that does not exist for these data, with the reason."""
    return Figure(None, why=why)


NO_ITEMS = Message("No item has both a human and a judge value.", "没有同时具有人工与评审取值的条目。")
TOO_FEW_ITEMS = Message("Fewer than 3 items have both values.", "同时具有两种取值的条目少于 3 条。")
CONSTANT_HUMAN = Message("All human values are the same.", "人工取值全部相同。")
CONSTANT_JUDGE = Message("All judge values are the same.", "评审取值全部相同。")
ONE_CLASS = Message(
    "People put all items into one class; both good and bad ones are needed.",
    "人工把所有条目归为同一类，需要好、坏两类都有。",
)
ONLY_TIES = Message("People are evenly split on every item.", "每个条目的人工意见都是平手。")
