"""What people and judges think of a model's greetings: the share called excellent, of comparisons won."""

import numpy as np

from backend.agreement.board import FIXED_THRESHOLDS, decide_items
from backend.agreement.categorical import rate_figure
from backend.agreement.figures import Figure, Flags, Floats, Groups
from backend.agreement.minimums import withhold_if_few
from backend.vocabulary import Scale


def judge_opinions(
    human_values: Floats, judge_values: Floats, prompt_groups: Groups, judge_scale: Scale, *, is_paired: bool
) -> Floats:
    """A judge's yes (1), no (0) or tie (.5) per item; NaN where it has none.

    Pairs are decided by the sign of the margin, verdicts on a scale with a fixed threshold by that one, so
    also where people are silent. Other scores have a threshold only where people's verdicts give one.
    """
    if not is_paired and judge_scale not in FIXED_THRESHOLDS:
        return decide_items(human_values, judge_values, prompt_groups, judge_scale, is_paired=False)
    decisions = (
        (np.sign(judge_values) + 1) / 2 if is_paired else (judge_values >= FIXED_THRESHOLDS[judge_scale]).astype(float)
    )
    return np.where(np.isfinite(judge_values), decisions, np.nan)


def share_of_model(opinions: Floats, is_first: Flags, is_second: Flags, prompt_groups: Groups) -> Figure:
    """The model's share of good opinions with its interval; withheld on too few items.

    opinions: (items,) of 1, 0, .5 and NaN, about the first greeting of an item. first, second: whether that
    greeting, or the one beside it, is the model's; where both are, the item says nothing and is left out.
    """
    item_credits = np.where(is_first, opinions, 1.0 - opinions)
    is_counted = (is_first != is_second) & ~np.isnan(opinions)
    return withhold_if_few(rate_figure(item_credits[is_counted], prompt_groups[is_counted]), int(is_counted.sum()))
