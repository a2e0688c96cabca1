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
    undefined_figure,
)
from backend.errors import Message

REPLICATES = 1000
MIN_GROUPS = 10
CONFIDENCE_LEVEL = 0.95
CHUNK_SIZE = 100
MAX_UNDEFINED_SHARE = 0.05

Statistic = Callable[[Floats], Floats]
"""Weights (replicates x items) in, one value per replicate out; NaN where it is undefined."""


def estimate(statistic: Statistic, prompt_groups: Groups, random_seed: int, undefined_reason: Message) -> Figure:
    """The statistic with its 95 % interval, in its own unit; undefined with `why` where it is NaN.

    groups: (items,) of int or str, the cluster of each item. Fewer than 10 clusters give no interval.
    """
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
    """Percentile interval of the statistic, or the reason why there is none."""
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
    return (float(lower_bound), float(upper_bound)) if upper_bound - lower_bound > 1e-12 else NO_SPREAD


def _group_draws(group_count: int, random_seed: int) -> Iterator[Floats]:
    """How often each group is drawn: chunks of (replicates x groups)."""
    generator = np.random.default_rng(random_seed)
    group_shares = np.full(group_count, 1 / group_count)
    for _ in range(0, REPLICATES, CHUNK_SIZE):
        yield generator.multinomial(group_count, group_shares, size=CHUNK_SIZE).astype(float)
