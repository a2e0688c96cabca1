"""A yes or no from a judge whose scale has no zero: the threshold comes from other requests."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.agreement.categorical import TIE
from backend.agreement.figures import NO_FOLDS, NO_ITEMS, ONE_CLASS, Figure, Floats, Groups, undefined_figure
from backend.errors import Message
from backend.text import assign_bucket

FOLD_COUNT = 5


@dataclass(frozen=True)
class Decisions:
    """Yes (1) or no (0) per item, and the median threshold; NaN for all where it is undefined."""

    decision: Floats
    threshold: Figure


def cross_fit_decisions(human_values: Floats, judge_values: Floats, prompt_groups: Groups) -> Decisions:
    """Decide each item by the threshold that is most accurate on the items of other folds.

    human: (items,) of 0, 1 and .5 (tie, not learnt from); value: (items,) on any scale, higher is better;
    groups: (items,), the request: folds are made of whole groups. The threshold is in the judge's unit.
    Undefined where a class is missing, or missing from what some fold may learn from.
    Source: Stone, JRSS B 36 (1974), on cross-validatory choice.
    """
    fold_indices, is_learnable = _assign_folds(prompt_groups), human_values != TIE
    if len(np.unique(human_values[is_learnable])) < 2:
        return _undecided_items(len(human_values), ONE_CLASS if len(human_values) else NO_ITEMS)
    decisions, thresholds = np.full(len(human_values), np.nan), []
    for fold_index in np.unique(fold_indices):
        in_training = is_learnable & (fold_indices != fold_index)
        if len(np.unique(human_values[in_training])) < 2:
            return _undecided_items(len(human_values), NO_FOLDS)
        thresholds.append(best_threshold(human_values[in_training], judge_values[in_training]))
        decisions[fold_indices == fold_index] = judge_values[fold_indices == fold_index] >= thresholds[-1]
    return Decisions(decisions, Figure(float(np.median(thresholds))))


def best_threshold(human_values: Floats, judge_values: Floats) -> float:
    """The threshold with the most items on their right side (value >= threshold means 1).

    human: (items,) of 0 and 1; value: (items,). It lies half way between two values that occur, or at
    the edge where one answer for all is best; of equally good ones the middle one is taken.
    """
    sorted_values, level_indices = np.unique(judge_values, return_inverse=True)
    level_gains = np.bincount(level_indices, np.where(human_values == 1, -1.0, 1.0))
    right_counts = np.concatenate([[0.0], np.cumsum(level_gains)])
    candidate_edges = [
        sorted_values[0],
        *(sorted_values[:-1] + sorted_values[1:]) / 2,
        np.nextafter(sorted_values[-1], np.inf),
    ]
    best_positions = np.flatnonzero(right_counts == right_counts.max())
    return float(candidate_edges[best_positions[len(best_positions) // 2]])


def _assign_folds(prompt_groups: Groups) -> NDArray[np.intp]:
    """A stable fold per item; groups are dealt out in the order of their hash, so folds are even."""
    group_names, group_indices = np.unique(prompt_groups, return_inverse=True)
    hash_order = sorted(
        range(len(group_names)),
        key=lambda i: assign_bucket(str(group_names[i]), 2**48, hash_salt="threshold"),
    )
    group_folds = np.empty(len(group_names), dtype=np.intp)
    group_folds[hash_order] = np.arange(len(group_names)) % FOLD_COUNT
    return group_folds[group_indices]


def _undecided_items(item_count: int, undefined_reason: Message) -> Decisions:
    return Decisions(np.full(item_count, np.nan), undefined_figure(undefined_reason))
