"""A yes or no from a judge whose scale has no zero: the threshold comes from other requests."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.agreement.categorical import TIE
from backend.agreement.figures import NO_FOLDS, NO_ITEMS, ONE_CLASS, Figure, Floats, Groups, undefined
from backend.errors import Message
from backend.text import bucket

FOLDS = 5


@dataclass(frozen=True)
class Decisions:
    """Yes (1) or no (0) per item, and the median threshold; NaN for all where it is undefined."""

    decision: Floats
    threshold: Figure


def cross_fitted(human: Floats, value: Floats, groups: Groups) -> Decisions:
    """Decide each item by the threshold that is most accurate on the items of other folds.

    human: (items,) of 0, 1 and .5 (tie, not learnt from); value: (items,) on any scale, higher is better;
    groups: (items,), the request: folds are made of whole groups. The threshold is in the judge's unit.
    Undefined where a class is missing, or missing from what some fold may learn from.
    Source: Stone, JRSS B 36 (1974), on cross-validatory choice.
    """
    folds, learnable = _folds(groups), human != TIE
    if len(np.unique(human[learnable])) < 2:
        return _undecided(len(human), ONE_CLASS if len(human) else NO_ITEMS)
    decision, found = np.full(len(human), np.nan), []
    for fold in np.unique(folds):
        train = learnable & (folds != fold)
        if len(np.unique(human[train])) < 2:
            return _undecided(len(human), NO_FOLDS)
        found.append(best_threshold(human[train], value[train]))
        decision[folds == fold] = value[folds == fold] >= found[-1]
    return Decisions(decision, Figure(float(np.median(found))))


def best_threshold(human: Floats, value: Floats) -> float:
    """The threshold with the most items on their right side (value >= threshold means 1).

    human: (items,) of 0 and 1; value: (items,). It lies half way between two values that occur, or at
    the edge where one answer for all is best; of equally good ones the middle one is taken.
    """
    levels, level = np.unique(value, return_inverse=True)
    gain = np.bincount(level, np.where(human == 1, -1.0, 1.0))
    right = np.concatenate([[0.0], np.cumsum(gain)])
    edges = [levels[0], *(levels[:-1] + levels[1:]) / 2, np.nextafter(levels[-1], np.inf)]
    best = np.flatnonzero(right == right.max())
    return float(edges[best[len(best) // 2]])


def _folds(groups: Groups) -> NDArray[np.intp]:
    """A stable fold per item; groups are dealt out in the order of their hash, so folds are even."""
    names, member = np.unique(groups, return_inverse=True)
    order = sorted(range(len(names)), key=lambda i: bucket(str(names[i]), 2**48, salt="threshold"))
    fold = np.empty(len(names), dtype=np.intp)
    fold[order] = np.arange(len(names)) % FOLDS
    return fold[member]


def _undecided(items: int, why: Message) -> Decisions:
    return Decisions(np.full(items, np.nan), undefined(why))
