"""The board's rows: one row of figures per judge or model, always with how many items each figure rests on."""

from dataclasses import dataclass

import numpy as np

from backend.agreement.statistics import categorical
from backend.agreement.statistics.categorical import krippendorff_alpha, pairable_columns, rate_figure
from backend.agreement.statistics.figures import Figure, Flags, Floats, Groups, undefined_figure
from backend.agreement.statistics.matched import Decisions, cross_fit_decisions, matched_auc
from backend.agreement.statistics.minimums import count_rarer, withhold_if_few
from backend.agreement.statistics.rank import auc, kendall, spearman
from backend.core.enums import DECISION_THRESHOLDS, Scale
from backend.core.errors import Message


@dataclass(frozen=True)
class JudgeRow:
    """How far one judge at one version agrees with the human reference.

    `n` counts items with a human and a judge value. Those with a human value alone are `unscored`:
    `never_asked` where nobody asked the judge, `without_verdict` where it was asked and gave none.
    `ties` of the n are even for people or judge: accuracy gives them half, `kappa` (unweighted) and `ac1`
    leave them out. `auc` and `matched_auc` leave out the ties of people. Each figure says its own `n` and
    is withheld where that is too small (`minimums`). `base_rate` is the share that people call good (or
    prefer as A), `threshold` what turned values into yes or no. `newer`: not the version that stands for
    the judge, but a newer one that has judged fewer of these items.
    """

    judge: str
    version: str
    n: int
    never_asked: int
    without_verdict: int
    ties: int
    spearman: Figure
    kendall: Figure
    accuracy: Figure
    kappa: Figure
    ac1: Figure
    auc: Figure
    matched_auc: Figure
    base_rate: Figure
    threshold: Figure
    newer: bool = False

    @property
    def unscored(self) -> int:
        """Items with a human value alone, for either reason."""
        return self.never_asked + self.without_verdict

    @property
    def key(self) -> str:
        """What tells this row from all others of a board: the judge, and the version where it has two."""
        return f"{self.judge}@{self.version}" if self.newer else self.judge


@dataclass(frozen=True)
class AlphaRow:
    """Krippendorff's alpha between raters over the items that at least two of them rated."""

    raters: int
    items: int
    nominal: Figure
    ordinal: Figure
    interval: Figure


@dataclass(frozen=True)
class _JudgedItems:
    """What both sides judged; (rows,) each. `human_decisions` and `judge_decisions` are 0, 1 or .5
    for a tie.

    `item_ids` has the item that a row stands for: a pair taken both ways round is two rows and one item.
    """

    human: Floats
    value: Floats
    groups: Groups
    lengths: Floats
    human_decisions: Floats
    judge_decisions: Floats
    item_ids: Groups

    def mirrored(self) -> "_JudgedItems":
        """Every pair also the other way round, so that no figure depends on which side was called A."""
        return _JudgedItems(
            np.concatenate([self.human, 1 - self.human]),
            np.concatenate([self.value, -self.value]),
            np.concatenate([self.groups, self.groups]),
            np.concatenate([self.lengths, -self.lengths]),
            np.concatenate([self.human_decisions, 1 - self.human_decisions]),
            np.concatenate([self.judge_decisions, 1 - self.judge_decisions]),
            np.concatenate([self.item_ids, self.item_ids]),
        )


def judge_row(
    judge_name: str,
    judge_version: str,
    human_values: Floats,
    judge_values: Floats,
    prompt_groups: Groups,
    text_lengths: Floats,
    judge_scale: Scale,
    *,
    is_paired: bool,
    random_seed: int,
    was_queried: Flags | None = None,
) -> JudgeRow:
    """The figures of one judge; every array is (items,).

    human_values: share in [0, 1] of people who call the greeting good (paired: who prefer A); NaN = no label.
    judge_values: the judge's value on `judge_scale` (paired: its margin score(A) - score(B)); NaN = unscored.
    prompt_groups: the request, as int or str; intervals are clustered by it.
    text_lengths: characters of the greeting (paired: characters of A minus characters of B).
    was_queried: whether the judge was asked (paired: of both greetings); without it all items count as asked.
    Figures that these items do not define say why. Raises ValueError for a human value outside [0, 1].
    """
    is_labelled = ~np.isnan(human_values)
    if ((human_values[is_labelled] < 0) | (human_values[is_labelled] > 1)).any():
        raise ValueError("human values are shares in [0, 1]")
    has_both = is_labelled & np.isfinite(judge_values)
    human_decisions = categorical.majority(human_values[has_both])
    # Before mirroring: a threshold learnt from pairs seen twice would count each of them twice.
    decisions = _decide_values(human_decisions, judge_values[has_both], prompt_groups[has_both], judge_scale, is_paired)
    item_ids = np.arange(len(human_decisions))
    judged_items = _JudgedItems(
        human_values[has_both],
        judge_values[has_both],
        prompt_groups[has_both],
        text_lengths[has_both],
        human_decisions,
        decisions.decision,
        item_ids,
    )
    without_value = is_labelled & ~has_both
    never_queried = without_value & ~was_queried if was_queried is not None else np.zeros_like(without_value)
    return JudgeRow(
        judge=judge_name,
        version=judge_version,
        n=int(has_both.sum()),
        never_asked=int(never_queried.sum()),
        without_verdict=int((without_value & ~never_queried).sum()),
        ties=int((~categorical.is_decided(human_decisions, judged_items.judge_decisions)).sum()),
        threshold=decisions.threshold,
        # Beside every figure, because raw agreement misleads where nearly all is good: at a base rate of .95,
        # 87 % agreement can mean a kappa below 0.
        base_rate=categorical.rate_figure(human_decisions, judged_items.groups),
        newer=False,
        **_order_figures(judged_items, random_seed, is_paired=is_paired),
        **_decision_figures(judged_items, decisions.threshold.why, random_seed, is_paired=is_paired),
    )


def _order_figures(judged_items: _JudgedItems, random_seed: int, *, is_paired: bool) -> dict[str, Figure]:
    """The figures that hang on the order of the judge's values alone."""
    counted_items = judged_items.mirrored() if is_paired else judged_items
    item_count, rarer_count = (
        len(judged_items.human_decisions),
        count_rarer(judged_items.human_decisions, is_paired=is_paired),
    )
    is_clear, clear_decisions = (
        counted_items.human_decisions != categorical.TIE,
        judged_items.human_decisions[judged_items.human_decisions != categorical.TIE],
    )
    auc_figure = auc(
        counted_items.human_decisions[is_clear] == 1,
        counted_items.value[is_clear],
        counted_items.groups[is_clear],
        random_seed,
    )
    return {
        "spearman": withhold_if_few(
            spearman(counted_items.human, counted_items.value, counted_items.groups, random_seed),
            item_count,
            rarer_count,
        ),
        "kendall": withhold_if_few(kendall(counted_items.human, counted_items.value), item_count, rarer_count),
        "auc": withhold_if_few(auc_figure, len(clear_decisions), count_rarer(clear_decisions, is_paired=is_paired)),
        # Not withheld here as the others are: it counts the matched items itself, of which there are fewer.
        "matched_auc": matched_auc(
            counted_items.human_decisions,
            counted_items.value,
            counted_items.lengths,
            counted_items.groups,
            random_seed,
            item_ids=counted_items.item_ids,
        ),
    }


def _decision_figures(
    judged_items: _JudgedItems, undefined_reason: Message | None, random_seed: int, *, is_paired: bool
) -> dict[str, Figure]:
    """The figures that hang on the judge's yes and no; undefined where `undefined_reason` says that it has none."""
    counted_items = judged_items.mirrored() if is_paired else judged_items
    clear_decisions = judged_items.human_decisions[
        categorical.is_decided(judged_items.human_decisions, judged_items.judge_decisions)
    ]
    chance_inputs = (
        counted_items.human_decisions,
        counted_items.judge_decisions,
        counted_items.groups,
        random_seed,
    )
    accuracy_figure, kappa_figure, ac1_figure = (
        [undefined_figure(undefined_reason)] * 3
        if undefined_reason
        else [
            categorical.accuracy_figure(
                judged_items.human_decisions, judged_items.judge_decisions, judged_items.groups
            ),
            categorical.cohen_kappa(*chance_inputs),
            categorical.gwet_ac1(*chance_inputs),
        ]
    )
    return {
        "accuracy": withhold_if_few(accuracy_figure, len(judged_items.human_decisions)),
        "kappa": withhold_if_few(kappa_figure, len(clear_decisions), count_rarer(clear_decisions, is_paired=is_paired)),
        "ac1": withhold_if_few(ac1_figure, len(clear_decisions)),
    }


def decide_items(
    human_values: Floats, judge_values: Floats, prompt_groups: Groups, judge_scale: Scale, *, is_paired: bool
) -> Floats:
    """The judge's yes (1), no (0) or tie (.5) per item, as `judge_row` counts it; NaN where there is none."""
    has_both = ~np.isnan(human_values) & np.isfinite(judge_values)
    decisions = np.full(len(judge_values), np.nan)
    decisions[has_both] = _decide_values(
        categorical.majority(human_values[has_both]),
        judge_values[has_both],
        prompt_groups[has_both],
        judge_scale,
        is_paired,
    ).decision
    return decisions


def alpha_row(rating_matrix: Floats) -> AlphaRow:
    """Krippendorff's alpha of `rating_matrix` (raters x items, NaN = not rated); one row per rater."""
    item_count = pairable_columns(rating_matrix).shape[1]
    return AlphaRow(
        raters=int((~np.isnan(rating_matrix)).any(axis=1).sum()),
        items=item_count,
        nominal=withhold_if_few(krippendorff_alpha(rating_matrix, "nominal"), item_count),
        ordinal=withhold_if_few(krippendorff_alpha(rating_matrix, "ordinal"), item_count),
        interval=withhold_if_few(krippendorff_alpha(rating_matrix, "interval"), item_count),
    )


def _decide_values(
    human_decisions: Floats, judge_values: Floats, prompt_groups: Groups, judge_scale: Scale, is_paired: bool
) -> Decisions:
    """Yes, no or tie per item: the sign of a margin, a fixed threshold, or one learnt elsewhere."""
    if is_paired:
        return Decisions((np.sign(judge_values) + 1) / 2, Figure(0.0))
    if judge_scale in DECISION_THRESHOLDS:
        fixed_threshold = DECISION_THRESHOLDS[judge_scale]
        return Decisions((judge_values >= fixed_threshold).astype(float), Figure(fixed_threshold))
    return cross_fit_decisions(human_decisions, judge_values, prompt_groups)


def judge_opinions(
    human_values: Floats, judge_values: Floats, prompt_groups: Groups, judge_scale: Scale, *, is_paired: bool
) -> Floats:
    """A judge's yes (1), no (0) or tie (.5) per item; NaN where it has none.

    Pairs are decided by the sign of the margin, verdicts on a scale with a fixed threshold by that one, so
    also where people are silent. Other scores have a threshold only where people's verdicts give one.
    """
    if not is_paired and judge_scale not in DECISION_THRESHOLDS:
        return decide_items(human_values, judge_values, prompt_groups, judge_scale, is_paired=False)
    decisions = (
        (np.sign(judge_values) + 1) / 2
        if is_paired
        else (judge_values >= DECISION_THRESHOLDS[judge_scale]).astype(float)
    )
    return np.where(np.isfinite(judge_values), decisions, np.nan)


def share_of_model(opinions: Floats, is_first: Flags, is_second: Flags, prompt_groups: Groups) -> Figure:
    """The model's share of good opinions with its interval; withheld on too few items.

    opinions: (items,) of 1, 0, .5 and NaN, about the first greeting of an item. is_first, is_second: (items,), whether
    the first or the second greeting is the model's; where both are, the item says nothing and is left out.
    """
    # An opinion is about the first greeting, so what is good for it is bad for the model that wrote the second.
    item_credits = np.where(is_first, opinions, 1.0 - opinions)
    is_counted = (is_first != is_second) & ~np.isnan(opinions)
    return withhold_if_few(rate_figure(item_credits[is_counted], prompt_groups[is_counted]), int(is_counted.sum()))
