"""A figure knows its items and its interval (percentile bootstrap clustered by request), or why it has none."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.core.errors import Message

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Groups = NDArray[Any]


@dataclass(frozen=True)
class Figure:
    """A statistic with its 95 % interval.

    `value` None: undefined or withheld, and `why` says so. `low` and `high` None beside a value: no
    interval, and `why` gives the reason where one was wanted. `n`: how many items it rests on; None where
    it rests on none, such as a fixed threshold.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    why: Message | None = None
    n: int | None = None

    def with_item_count(self, item_count: int) -> "Figure":
        """The same figure, resting on `item_count` items."""
        return replace(self, n=item_count)


def undefined_figure(explanation: Message, item_count: int | None = None) -> Figure:
    """A figure that does not exist for these data, with the reason."""
    return Figure(None, why=explanation, n=item_count)


NO_ITEMS = Message("No item has both a human and a judge value.", "没有同时具有人工与评审取值的条目。")
TOO_FEW_ITEMS = Message("Fewer than 3 items have both values.", "同时具有两种取值的条目少于 3 条。")
CONSTANT_HUMAN = Message("All human values are the same.", "人工取值全部相同。")
CONSTANT_JUDGE = Message("All judge values are the same.", "评审取值全部相同。")
CONSTANT_LENGTH = Message("All lengths are the same.", "长度全部相同。")
LENGTH_DECIDES = Message(
    "Length alone fixes the order, so nothing is left once it is held fixed.",
    "仅凭长度就已决定次序，排除长度后没有剩余信息。",
)
ONE_CLASS = Message(
    "People put all items into one class; both good and bad ones are needed.",
    "人工把所有条目归为同一类，需要好、坏两类都有。",
)
ONLY_TIES = Message("Every item is a tie for people or for the judge.", "每个条目在人工或评审一方都是平手。")
NO_FOLDS = Message(
    "A threshold needs good and bad items in at least two requests of different folds.",
    "确定阈值需要好、坏两类条目都出现在至少两个不同折的请求中。",
)
NO_MATCH = Message(
    "No good and bad items are within 2 characters of each other's length.",
    "没有长度相差不超过 2 个字的好、坏条目。",
)
NO_PAIRS = Message(
    "No request has two items that people judged differently.", "没有哪个请求含有两条人工评价不同的条目。"
)
NO_RATERS = Message("No item was rated by two raters.", "没有被两位评分者共同评价的条目。")
NO_VARIATION = Message("All ratings are the same.", "所有评分都相同。")
FEW_GROUPS = Message("Fewer than 10 requests: too few for an interval.", "请求少于 10 个，不足以给出区间。")
NO_SPREAD = Message(
    "Every resample gives the same figure, so no interval can be given.",
    "每次重抽样的结果都相同，无法给出区间。",
)
UNSTABLE = Message(
    "The figure is undefined in too many resamples for an interval.",
    "过多的重抽样中该指标无定义，无法给出区间。",
)


# Resamples of an interval: as many as Efron & Tibshirani (1993) ask of percentile intervals.
REPLICATES = 1000
# Requests below which resampling them says little of what other requests would have given.
MIN_GROUPS = 10
CONFIDENCE_LEVEL = 0.95
# Resamples computed at once: 100 times 20,000 items of 8 bytes are 16 MB, where all would be 160 MB an array.
CHUNK_SIZE = 100
# Share of resamples in which a figure may be undefined: leaving out more would hide how unstable it is.
MAX_UNDEFINED_SHARE = 0.05

# Weights (replicates x items) in, one value per replicate out; NaN where it is undefined.
Statistic = Callable[[Floats], Floats]


def estimate(statistic: Statistic, prompt_groups: Groups, random_seed: int, undefined_reason: Message) -> Figure:
    """The statistic with its 95 % interval, in its own unit; undefined with `undefined_reason` where it is NaN.

    prompt_groups: (items,) of int or str, the cluster of each item. Fewer than 10 clusters give no interval.
    """
    # Weight 1 for every item: figure and resamples come from the same code and cannot drift apart.
    observed = float(statistic(np.ones((1, len(prompt_groups))))[0])
    if np.isnan(observed):
        return undefined_figure(undefined_reason, len(prompt_groups))
    interval_or_reason = bootstrap_interval(statistic, prompt_groups, random_seed)
    estimated_figure = (
        Figure(observed, why=interval_or_reason)
        if isinstance(interval_or_reason, Message)
        else Figure(observed, *interval_or_reason)
    )
    return estimated_figure.with_item_count(len(prompt_groups))


def bootstrap_interval(statistic: Statistic, prompt_groups: Groups, random_seed: int) -> tuple[float, float] | Message:
    """Percentile interval of the statistic, or the reason why there is none.

    Whole requests are drawn, never single items: greetings of one request are alike, and items drawn one by one would
    give intervals that are too narrow.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; Field & Welsh, JRSS B 69 (2007).
    """
    group_names, group_indices = np.unique(prompt_groups, return_inverse=True)
    if len(group_names) < MIN_GROUPS:
        return FEW_GROUPS
    replicates = np.concatenate(
        [statistic(draw_counts[:, group_indices]) for draw_counts in _group_draws(len(group_names), random_seed)]
    )
    defined_replicates = replicates[~np.isnan(replicates)]
    if len(defined_replicates) < (1 - MAX_UNDEFINED_SHARE) * len(replicates):
        return UNSTABLE
    lower_bound, upper_bound = np.quantile(defined_replicates, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    # An interval of no width would claim certainty: a judge without a mistake so far makes none in any
    # resample.
    return (float(lower_bound), float(upper_bound)) if upper_bound - lower_bound > 1e-12 else NO_SPREAD


def _group_draws(group_count: int, random_seed: int) -> Iterator[Floats]:
    """How often each group is drawn: chunks of (replicates x groups)."""
    generator = np.random.default_rng(random_seed)
    group_shares = np.full(group_count, 1 / group_count)
    for _ in range(0, REPLICATES, CHUNK_SIZE):
        # Counts instead of indices: a statistic then weighs items and never copies them.
        yield generator.multinomial(group_count, group_shares, size=CHUNK_SIZE).astype(float)
