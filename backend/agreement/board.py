"""The board: one row of figures per judge, always with how many items each figure rests on."""

from dataclasses import dataclass

import numpy as np

from backend.agreement import categorical
from backend.agreement.alpha import krippendorff_alpha, pairable
from backend.agreement.figures import Figure, Flags, Floats, Groups, undefined
from backend.agreement.matched import matched_auc
from backend.agreement.minimums import rarer, withheld
from backend.agreement.rank import auc, kendall, spearman
from backend.agreement.threshold import Decisions, cross_fitted
from backend.errors import Message
from backend.vocabulary import RUBRIC_EXCELLENT, Scale

FIXED_THRESHOLDS = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT}


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
class _Items:
    """What both sides judged; (rows,) each. `told` and `decided` are 0, 1 or .5 for a tie.

    `item` is the item that a row stands for: a pair taken both ways round is two rows and one item.
    """

    human: Floats
    value: Floats
    groups: Groups
    lengths: Floats
    told: Floats
    decided: Floats
    item: Groups

    def mirrored(self) -> "_Items":
        """Every pair also the other way round, so that no figure depends on which side was called A."""
        return _Items(
            np.concatenate([self.human, 1 - self.human]),
            np.concatenate([self.value, -self.value]),
            np.concatenate([self.groups, self.groups]),
            np.concatenate([self.lengths, -self.lengths]),
            np.concatenate([self.told, 1 - self.told]),
            np.concatenate([self.decided, 1 - self.decided]),
            np.concatenate([self.item, self.item]),
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
    asked: Flags | None = None,
) -> JudgeRow:
    """The figures of one judge; every array is (items,).

    human: share in [0, 1] of people who call the greeting good (paired: who prefer A); NaN = no label.
    value: the judge's value on `scale` (paired: its margin score(A) - score(B)); NaN = unscored.
    groups: the request, as int or str; intervals are clustered by it.
    lengths: characters of the greeting (paired: characters of A minus characters of B).
    asked: whether the judge was asked (paired: of both greetings); without it all items count as asked.
    Figures that these items do not define say why. Raises ValueError for a human value outside [0, 1].
    """
    labelled = ~np.isnan(human)
    if ((human[labelled] < 0) | (human[labelled] > 1)).any():
        raise ValueError("human values are shares in [0, 1]")
    both = labelled & np.isfinite(value)
    told = categorical.majority(human[both])
    decisions = _decide(told, value[both], groups[both], scale, paired)
    item = np.arange(len(told))
    items = _Items(human[both], value[both], groups[both], lengths[both], told, decisions.decision, item)
    missing = labelled & ~both
    never = missing & ~asked if asked is not None else np.zeros_like(missing)
    return JudgeRow(
        judge=judge,
        version=version,
        n=int(both.sum()),
        never_asked=int(never.sum()),
        without_verdict=int((missing & ~never).sum()),
        ties=int((~categorical.decided(told, items.decided)).sum()),
        threshold=decisions.threshold,
        base_rate=categorical.rate(told, items.groups),
        newer=False,
        **_orders(items, seed, paired=paired),
        **_decided(items, decisions.threshold.why, seed, paired=paired),
    )


def _orders(items: _Items, seed: int, *, paired: bool) -> dict[str, Figure]:
    """The figures that hang on the order of the judge's values alone."""
    seen = items.mirrored() if paired else items
    n, kind = len(items.told), rarer(items.told, paired=paired)
    clear, told = seen.told != categorical.TIE, items.told[items.told != categorical.TIE]
    area = auc(seen.told[clear] == 1, seen.value[clear], seen.groups[clear], seed)
    return {
        "spearman": withheld(spearman(seen.human, seen.value, seen.groups, seed), n, kind),
        "kendall": withheld(kendall(seen.human, seen.value), n, kind),
        "auc": withheld(area, len(told), rarer(told, paired=paired)),
        "matched_auc": matched_auc(seen.told, seen.value, seen.lengths, seen.groups, seed, items=seen.item),
    }


def _decided(items: _Items, why: Message | None, seed: int, *, paired: bool) -> dict[str, Figure]:
    """The figures that hang on the judge's yes and no; undefined where `why` says that it has none."""
    seen = items.mirrored() if paired else items
    clear = items.told[categorical.decided(items.told, items.decided)]
    chance = (seen.told, seen.decided, seen.groups, seed)
    accuracy, kappa, ac1 = (
        [undefined(why)] * 3
        if why
        else [
            categorical.accuracy(items.told, items.decided, items.groups),
            categorical.cohen_kappa(*chance),
            categorical.gwet_ac1(*chance),
        ]
    )
    return {
        "accuracy": withheld(accuracy, len(items.told)),
        "kappa": withheld(kappa, len(clear), rarer(clear, paired=paired)),
        "ac1": withheld(ac1, len(clear)),
    }


def decide(human: Floats, value: Floats, groups: Groups, scale: Scale, *, paired: bool) -> Floats:
    """The judge's yes (1), no (0) or tie (.5) per item, as `judge_row` counts it; NaN where there is none."""
    both = ~np.isnan(human) & np.isfinite(value)
    out = np.full(len(value), np.nan)
    out[both] = _decide(categorical.majority(human[both]), value[both], groups[both], scale, paired).decision
    return out


def alpha_row(matrix: Floats) -> AlphaRow:
    """Krippendorff's alpha of `matrix` (raters x items, NaN = not rated); one row per rater."""
    items = pairable(matrix).shape[1]
    return AlphaRow(
        raters=int((~np.isnan(matrix)).any(axis=1).sum()),
        items=items,
        nominal=withheld(krippendorff_alpha(matrix, "nominal"), items),
        ordinal=withheld(krippendorff_alpha(matrix, "ordinal"), items),
        interval=withheld(krippendorff_alpha(matrix, "interval"), items),
    )


def _decide(told: Floats, value: Floats, groups: Groups, scale: Scale, paired: bool) -> Decisions:
    """Yes, no or tie per item: the sign of a margin, a fixed threshold, or one learnt elsewhere."""
    if paired:
        return Decisions((np.sign(value) + 1) / 2, Figure(0.0))
    if scale in FIXED_THRESHOLDS:
        limit = FIXED_THRESHOLDS[scale]
        return Decisions((value >= limit).astype(float), Figure(limit))
    return cross_fitted(told, value, groups)
