"""Agreement where length is no help: matched classes, same-request pairs, hard pairs."""

from collections import defaultdict

import numpy as np

from backend.agreement import minimums
from backend.agreement.categorical import TIE, rate_figure
from backend.agreement.figures import (
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
from backend.agreement.rank import auc

LENGTH_TOLERANCE = 2
HARD_GAP = 5


def length_matched(is_positive: Flags, text_lengths: Floats) -> Flags:
    """Items (items,) of a subset in which each positive has a negative within 2 characters of length.

    Greedy, nearest lengths first, without replacement; among equals the earlier item is taken.
    lengths: (items,) in characters. Source: Rosenbaum & Rubin, American Statistician 39 (1985).
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
    """AUC in [0, 1] over the length-matched subset; interval clustered by `groups`.

    human: (rows,) of 0, 1 and .5 (tie, left out). items: (rows,), the item that a row stands for, where a
    pair is given both ways round; without it every row is one. Undefined for one class, or where nothing
    matches; withheld where fewer items match than `minimums.MATCHED`.
    """
    is_clear = human_values != TIE
    is_positive = human_values[is_clear] == 1
    if not is_positive.any() or is_positive.all():
        return undefined_figure(ONE_CLASS if len(human_values) else NO_ITEMS, 0)
    is_matched = length_matched(is_positive, text_lengths[is_clear])
    if not is_matched.any():
        return undefined_figure(NO_MATCH, 0)
    row_items = np.arange(len(human_values)) if item_ids is None else item_ids
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

    human, value: (items,), higher is better. Only pairs that people tell apart count; undefined without.
    The figure's `n` counts these pairs.
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

    difference: characters of the preferred greeting minus characters of the other one.
    """
    return length_differences <= HARD_GAP


def _items_by_length(is_selected: Flags, text_lengths: Floats) -> dict[int, list[int]]:
    length_groups: dict[int, list[int]] = defaultdict(list)
    for item_index in np.flatnonzero(is_selected):
        length_groups[round(float(text_lengths[item_index]))].append(int(item_index))
    return length_groups
