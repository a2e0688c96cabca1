"""Agreement where length is no help: matched classes, same-request pairs, hard pairs."""

from collections import defaultdict

import numpy as np

from backend.agreement import minimums
from backend.agreement.categorical import TIE, rate
from backend.agreement.figures import (
    NO_ITEMS,
    NO_MATCH,
    NO_PAIRS,
    ONE_CLASS,
    Figure,
    Flags,
    Floats,
    Groups,
    undefined,
)
from backend.agreement.rank import auc

TOLERANCE = 2
HARD_GAP = 5


def matched(positive: Flags, lengths: Floats) -> Flags:
    """Items (items,) of a subset in which each positive has a negative within 2 characters of length.

    Greedy, nearest lengths first, without replacement; among equals the earlier item is taken.
    lengths: (items,) in characters. Source: Rosenbaum & Rubin, American Statistician 39 (1985).
    """
    good, bad = _by_length(positive, lengths), _by_length(~positive, lengths)
    chosen = np.zeros(len(lengths), dtype=bool)
    for gap in sorted(range(-TOLERANCE, TOLERANCE + 1), key=abs):
        for length in sorted(good):
            ours, theirs = good[length], bad.get(length + gap, [])
            count = min(len(ours), len(theirs))
            chosen[ours[:count] + theirs[:count]] = True
            del ours[:count], theirs[:count]
    return chosen


def matched_auc(
    human: Floats,
    value: Floats,
    lengths: Floats,
    groups: Groups,
    seed: int,
    *,
    items: Groups | None = None,
) -> Figure:
    """AUC in [0, 1] over the length-matched subset; interval clustered by `groups`.

    human: (rows,) of 0, 1 and .5 (tie, left out). items: (rows,), the item that a row stands for, where a
    pair is given both ways round; without it every row is one. Undefined for one class, or where nothing
    matches; withheld where fewer items match than `minimums.MATCHED`.
    """
    clear = human != TIE
    positive = human[clear] == 1
    if not positive.any() or positive.all():
        return undefined(ONE_CLASS if len(human) else NO_ITEMS, 0)
    subset = matched(positive, lengths[clear])
    if not subset.any():
        return undefined(NO_MATCH, 0)
    rows = np.arange(len(human)) if items is None else items
    n = len(np.unique(rows[clear][subset]))
    if n < minimums.MATCHED:
        return undefined(minimums.few_matched(n), n)
    return auc(positive[subset], value[clear][subset], groups[clear][subset], seed).on(n)


def same_prompt_accuracy(human: Floats, value: Floats, groups: Groups) -> Figure:
    """Share, in [0, 1], of same-request pairs that the judge orders like people; equal values earn half.

    human, value: (items,), higher is better. Only pairs that people tell apart count; undefined without.
    The figure's `n` counts these pairs.
    """
    names, member = np.unique(groups, return_inverse=True)
    credit, group = [], []
    for name in range(len(names)):
        items = np.flatnonzero(member == name)
        first, second = (items[side] for side in np.triu_indices(len(items), 1))
        told = np.sign(human[first] - human[second])
        said = np.sign(value[first] - value[second])
        credit.append(((1 + told * said) / 2)[told != 0])
        group.append(np.full(np.count_nonzero(told), name))
    credits = np.concatenate(credit) if credit else np.empty(0)
    return rate(credits, np.concatenate(group)) if len(credits) else undefined(NO_PAIRS, 0)


def hard_pairs(difference: Floats) -> Flags:
    """Pairs (pairs,) that a character counter gets wrong or nearly so.

    difference: characters of the preferred greeting minus characters of the other one.
    """
    return difference <= HARD_GAP


def _by_length(which: Flags, lengths: Floats) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for item in np.flatnonzero(which):
        found[round(float(lengths[item]))].append(int(item))
    return found
