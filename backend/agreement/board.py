"""The board: one row of figures per judge, always with how many items it left unscored."""

from dataclasses import dataclass

import numpy as np

from backend.agreement import categorical
from backend.agreement.alpha import krippendorff_alpha, pairable
from backend.agreement.figures import Figure, Floats, Groups, undefined
from backend.agreement.matched import matched, matched_auc
from backend.agreement.rank import auc, kendall, spearman
from backend.agreement.threshold import Decisions, cross_fitted
from backend.vocabulary import RUBRIC_EXCELLENT, Scale

FIXED_THRESHOLDS = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT}


@dataclass(frozen=True)
class JudgeRow:
    """How far one judge at one version agrees with the human reference.

    `n` counts items with a human and a judge value, `unscored` items with a human value alone.
    `ties` of the n are even for people or judge: accuracy gives them half, `kappa` (unweighted) and `ac1`
    leave them out. `auc` and `matched_auc` leave out the ties of people; the latter rests on
    `matched_items`. `base_rate` is the share that people call good (or prefer as A), `threshold` what
    turned values into yes or no.
    """

    judge: str
    version: str
    n: int
    unscored: int
    ties: int
    matched_items: int
    spearman: Figure
    kendall: Figure
    accuracy: Figure
    kappa: Figure
    ac1: Figure
    auc: Figure
    matched_auc: Figure
    base_rate: Figure
    threshold: Figure


@dataclass(frozen=True)
class AlphaRow:
    """Krippendorff's alpha between raters over the items that at least two of them rated."""

    raters: int
    items: int
    nominal: Figure
    ordinal: Figure
    interval: Figure


@dataclass(frozen=True)
class _Items:
    """What both sides judged; (items,) each. `told` and `decided` are 0, 1 or .5 for a tie."""

    human: Floats
    value: Floats
    groups: Groups
    lengths: Floats
    told: Floats
    decided: Floats

    def mirrored(self) -> "_Items":
        """Every pair also the other way round, so that no figure depends on which side was called A."""
        return _Items(
            np.concatenate([self.human, 1 - self.human]),
            np.concatenate([self.value, -self.value]),
            np.concatenate([self.groups, self.groups]),
            np.concatenate([self.lengths, -self.lengths]),
            np.concatenate([self.told, 1 - self.told]),
            np.concatenate([self.decided, 1 - self.decided]),
        )


def judge_row(
    judge: str,
    version: str,
    human: Floats,
    value: Floats,
    groups: Groups,
    lengths: Floats,
    scale: Scale,
    *,
    paired: bool,
    seed: int,
) -> JudgeRow:
    """The figures of one judge; every array is (items,).

    human: share in [0, 1] of people who call the greeting good (paired: who prefer A); NaN = no label.
    value: the judge's value on `scale` (paired: its margin score(A) - score(B)); NaN = unscored.
    groups: the request, as int or str; intervals are clustered by it.
    lengths: characters of the greeting (paired: characters of A minus characters of B).
    Figures that these items do not define say why. Raises ValueError for a human value outside [0, 1].
    """
    labelled = ~np.isnan(human)
    if ((human[labelled] < 0) | (human[labelled] > 1)).any():
        raise ValueError("human values are shares in [0, 1]")
    both = labelled & np.isfinite(value)
    told = categorical.majority(human[both])
    decisions = _decide(told, value[both], groups[both], scale, paired)
    items = _Items(human[both], value[both], groups[both], lengths[both], told, decisions.decision)
    seen = items.mirrored() if paired else items
    clear = seen.told != categorical.TIE
    positive, lengthwise = seen.told[clear] == 1, matched(seen.told[clear] == 1, seen.lengths[clear])
    why = decisions.threshold.why
    chance = (seen.told, seen.decided, seen.groups, seed)
    return JudgeRow(
        judge=judge,
        version=version,
        n=int(both.sum()),
        unscored=int((labelled & ~both).sum()),
        ties=int((~categorical.decided(items.told, items.decided)).sum()),
        matched_items=int(lengthwise.sum()),
        spearman=spearman(seen.human, seen.value, seen.groups, seed),
        kendall=kendall(seen.human, seen.value),
        accuracy=undefined(why) if why else categorical.accuracy(told, items.decided, items.groups),
        kappa=undefined(why) if why else categorical.cohen_kappa(*chance),
        ac1=undefined(why) if why else categorical.gwet_ac1(*chance),
        auc=auc(positive, seen.value[clear], seen.groups[clear], seed),
        matched_auc=matched_auc(seen.told, seen.value, seen.lengths, seen.groups, seed),
        base_rate=categorical.rate(told, items.groups),
        threshold=decisions.threshold,
    )


def decide(human: Floats, value: Floats, groups: Groups, scale: Scale, *, paired: bool) -> Floats:
    """The judge's yes (1), no (0) or tie (.5) per item, as `judge_row` counts it; NaN where there is none."""
    both = ~np.isnan(human) & np.isfinite(value)
    out = np.full(len(value), np.nan)
    out[both] = _decide(categorical.majority(human[both]), value[both], groups[both], scale, paired).decision
    return out


def alpha_row(matrix: Floats) -> AlphaRow:
    """Krippendorff's alpha of `matrix` (raters x items, NaN = not rated); one row per rater."""
    return AlphaRow(
        raters=int((~np.isnan(matrix)).any(axis=1).sum()),
        items=pairable(matrix).shape[1],
        nominal=krippendorff_alpha(matrix, "nominal"),
        ordinal=krippendorff_alpha(matrix, "ordinal"),
        interval=krippendorff_alpha(matrix, "interval"),
    )


def _decide(told: Floats, value: Floats, groups: Groups, scale: Scale, paired: bool) -> Decisions:
    """Yes, no or tie per item: the sign of a margin, a fixed threshold, or one learnt elsewhere."""
    if paired:
        return Decisions((np.sign(value) + 1) / 2, Figure(0.0))
    if scale in FIXED_THRESHOLDS:
        limit = FIXED_THRESHOLDS[scale]
        return Decisions((value >= limit).astype(float), Figure(limit))
    return cross_fitted(told, value, groups)
