"""Agreement where length is no help: matched classes, same-request and hard pairs; thresholds from other requests."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.agreement.statistics import minimums
from backend.agreement.statistics.categorical import TIE, rate_figure
from backend.agreement.statistics.figures import (
    NO_FOLDS,
    NO_ITEMS,
    NO_MATCH,
    NO_PAIRS,
    ONE_CLASS,
    Figure,
    Flags,
    Floats,
    Groups,
    undefined_figure,
)
from backend.agreement.statistics.rank import auc
from backend.core.errors import Message
from backend.core.text import assign_bucket

# Few, for each fold must hold good and bad items, and the smallest data sets have some dozen requests.
FOLD_COUNT = 5


@dataclass(frozen=True)
class Decisions:
    """Yes (1) or no (0) per item, and the median threshold; NaN for all where it is undefined."""

    decision: Floats
    threshold: Figure


def cross_fit_decisions(human_values: Floats, judge_values: Floats, prompt_groups: Groups) -> Decisions:
    """Decide each item by the threshold that is most accurate on the items of other folds.

    human_values: (items,) of 0, 1 and .5 (tie, not learnt from); judge_values: (items,) on any scale, higher is
    better; prompt_groups: (items,), the request: folds are made of whole groups. The threshold is in the judge's unit.
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
            # All or nothing: deciding some folds only would report an accuracy on an arbitrary part.
            return _undecided_items(len(human_values), NO_FOLDS)
        thresholds.append(best_threshold(human_values[in_training], judge_values[in_training]))
        decisions[fold_indices == fold_index] = judge_values[fold_indices == fold_index] >= thresholds[-1]
    return Decisions(decisions, Figure(float(np.median(thresholds))))


def best_threshold(human_values: Floats, judge_values: Floats) -> float:
    """The threshold with the most items on their right side (value >= threshold means 1).

    human_values: (items,) of 0 and 1; judge_values: (items,). It lies half way between two values that occur, or
    at the edge where one answer for all is best; of equally good ones the middle one is taken.
    """
    sorted_values, level_indices = np.unique(judge_values, return_inverse=True)
    level_gains = np.bincount(level_indices, np.where(human_values == 1, -1.0, 1.0))
    right_counts = np.concatenate([[0.0], np.cumsum(level_gains)])
    # The last edge lies above every value: >= must be able to say no to all.
    candidate_edges = [
        sorted_values[0],
        *(sorted_values[:-1] + sorted_values[1:]) / 2,
        np.nextafter(sorted_values[-1], np.inf),
    ]
    # The middle of a plateau is farthest from both sides, so that a new item near its edge is decided alike.
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


# Characters by which two greetings may differ and still count as equally long.
LENGTH_TOLERANCE = 2
# Characters of advantage up to which the longer greeting is no safe guess.
HARD_GAP = 5


def length_matched(is_positive: Flags, text_lengths: Floats) -> Flags:
    """Items (items,) of a subset in which each positive has a negative within 2 characters of length.

    Greedy, nearest lengths first, without replacement; among equals the earlier item is taken.
    is_positive: (items,); text_lengths: (items,) in characters.
    Source: Rosenbaum & Rubin, American Statistician 39 (1985).
    """
    good_by_length, bad_by_length = (
        _items_by_length(is_positive, text_lengths),
        _items_by_length(~is_positive, text_lengths),
    )
    is_chosen = np.zeros(len(text_lengths), dtype=bool)
    for length_gap in sorted(range(-LENGTH_TOLERANCE, LENGTH_TOLERANCE + 1), key=abs):
        for text_length in sorted(good_by_length):
            good_items, bad_items = (
                good_by_length[text_length],
                bad_by_length.get(text_length + length_gap, []),
            )
            match_count = min(len(good_items), len(bad_items))
            is_chosen[good_items[:match_count] + bad_items[:match_count]] = True
            del good_items[:match_count], bad_items[:match_count]
    return is_chosen


def matched_auc(
    human_values: Floats,
    judge_values: Floats,
    text_lengths: Floats,
    prompt_groups: Groups,
    random_seed: int,
    *,
    item_ids: Groups | None = None,
) -> Figure:
    """AUC in [0, 1] over the length-matched subset; interval clustered by `prompt_groups`.

    human_values: (rows,) of 0, 1 and .5 (tie, left out). item_ids: (rows,), the item that a row stands for, where
    a pair is given both ways round; without it every row is one. Undefined for one class, or where nothing
    matches; withheld where fewer items match than `MIN_MATCHED_ITEMS`.
    """
    is_clear = human_values != TIE
    is_positive = human_values[is_clear] == 1
    if not is_positive.any() or is_positive.all():
        return undefined_figure(ONE_CLASS if len(human_values) else NO_ITEMS, 0)
    is_matched = length_matched(is_positive, text_lengths[is_clear])
    if not is_matched.any():
        return undefined_figure(NO_MATCH, 0)
    row_items = np.arange(len(human_values)) if item_ids is None else item_ids
    # Items and not rows: a pair taken both ways round would pass the minimum with half the items.
    item_count = len(np.unique(row_items[is_clear][is_matched]))
    if item_count < minimums.MIN_MATCHED_ITEMS:
        return undefined_figure(minimums.too_few_matched(item_count), item_count)
    return auc(
        is_positive[is_matched],
        judge_values[is_clear][is_matched],
        prompt_groups[is_clear][is_matched],
        random_seed,
    ).with_item_count(item_count)


def same_prompt_accuracy(human_values: Floats, judge_values: Floats, prompt_groups: Groups) -> Figure:
    """Share, in [0, 1], of same-request pairs that the judge orders like people; equal values earn half.

    human_values, judge_values: (items,), higher is better. Only pairs that people tell apart count; undefined without.
    The figure counts these pairs as its items.
    """
    group_names, group_indices = np.unique(prompt_groups, return_inverse=True)
    pair_credits, pair_groups = [], []
    for group_index in range(len(group_names)):
        item_indices = np.flatnonzero(group_indices == group_index)
        first_items, second_items = (item_indices[pair_side] for pair_side in np.triu_indices(len(item_indices), 1))
        human_order = np.sign(human_values[first_items] - human_values[second_items])
        judge_order = np.sign(judge_values[first_items] - judge_values[second_items])
        pair_credits.append(((1 + human_order * judge_order) / 2)[human_order != 0])
        pair_groups.append(np.full(np.count_nonzero(human_order), group_index))
    all_credits = np.concatenate(pair_credits) if pair_credits else np.empty(0)
    return rate_figure(all_credits, np.concatenate(pair_groups)) if len(all_credits) else undefined_figure(NO_PAIRS, 0)


def hard_pairs(length_differences: Floats) -> Flags:
    """Pairs (pairs,) that a character counter gets wrong or nearly so.

    length_differences: (pairs,), characters of the preferred greeting minus characters of the other one.
    """
    return length_differences <= HARD_GAP


def _items_by_length(is_selected: Flags, text_lengths: Floats) -> dict[int, list[int]]:
    length_groups: dict[int, list[int]] = defaultdict(list)
    for item_index in np.flatnonzero(is_selected):
        length_groups[round(float(text_lengths[item_index]))].append(int(item_index))
    return length_groups
