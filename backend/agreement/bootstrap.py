"""Percentile bootstrap clustered by request: all items of a request move together.

A resample is a weight per item (how often its request was drawn), so a statistic is a function of a
weight matrix and thousands of resamples cost a few matrix products.
Source: Davison & Hinkley, Bootstrap Methods and their Application (1997), sections 3.8 and 5.3.
"""

from collections.abc import Callable, Iterator

import numpy as np

from backend.agreement.figures import (
    FEW_GROUPS,
    NO_SPREAD,
    UNSTABLE,
    Figure,
    Floats,
    Groups,
    undefined,
)
from backend.errors import Message

REPLICATES = 1000
MIN_GROUPS = 10
LEVEL = 0.95
CHUNK = 100
MAX_UNDEFINED = 0.05

Statistic = Callable[[Floats], Floats]
"""Weights (replicates x items) in, one value per replicate out; NaN where it is undefined."""


def estimate(statistic: Statistic, groups: Groups, seed: int, why: Message) -> Figure:
    """The statistic with its 95 % interval, in its own unit; undefined with `why` where it is NaN.

    groups: (items,) of int or str, the cluster of each item. Fewer than 10 clusters give no interval.
    """
    value = float(statistic(np.ones((1, len(groups))))[0])
    if np.isnan(value):
        return undefined(why, len(groups))
    found = interval(statistic, groups, seed)
    figure = Figure(value, why=found) if isinstance(found, Message) else Figure(value, *found)
    return figure.on(len(groups))


def interval(statistic: Statistic, groups: Groups, seed: int) -> tuple[float, float] | Message:
    """Percentile interval of the statistic, or the reason why there is none."""
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < MIN_GROUPS:
        return FEW_GROUPS
    drawn = np.concatenate([statistic(counts[:, member]) for counts in _draws(len(names), seed)])
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < (1 - MAX_UNDEFINED) * len(drawn):
        return UNSTABLE
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (float(low), float(high)) if high - low > 1e-12 else NO_SPREAD


def _draws(groups: int, seed: int) -> Iterator[Floats]:
    """How often each group is drawn: chunks of (replicates x groups)."""
    random = np.random.default_rng(seed)
    share = np.full(groups, 1 / groups)
    for _ in range(0, REPLICATES, CHUNK):
        yield random.multinomial(groups, share, size=CHUNK).astype(float)
