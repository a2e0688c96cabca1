"""What people and judges think of a model's greetings: the share called excellent, of comparisons won."""

import numpy as np

from backend.agreement.board import FIXED_THRESHOLDS, decide
from backend.agreement.categorical import rate
from backend.agreement.figures import Figure, Flags, Floats, Groups
from backend.agreement.minimums import withheld
from backend.vocabulary import Scale


def opinion(human: Floats, value: Floats, groups: Groups, scale: Scale, *, paired: bool) -> Floats:
    """A judge's yes (1), no (0) or tie (.5) per item; NaN where it has none.

    Pairs are decided by the sign of the margin, verdicts on a scale with a fixed threshold by that one, so
    also where people are silent. Other scores have a threshold only where people's verdicts give one.
    """
    if not paired and scale not in FIXED_THRESHOLDS:
        return decide(human, value, groups, scale, paired=False)
    yes = (np.sign(value) + 1) / 2 if paired else (value >= FIXED_THRESHOLDS[scale]).astype(float)
    return np.where(np.isfinite(value), yes, np.nan)


def share(opinions: Floats, first: Flags, second: Flags, groups: Groups) -> Figure:
    """The model's share of good opinions with its interval; withheld on too few items.

    opinions: (items,) of 1, 0, .5 and NaN, about the first greeting of an item. first, second: whether that
    greeting, or the one beside it, is the model's; where both are, the item says nothing and is left out.
    """
    credit = np.where(first, opinions, 1.0 - opinions)
    counted = (first != second) & ~np.isnan(opinions)
    return withheld(rate(credit[counted], groups[counted]), int(counted.sum()))
