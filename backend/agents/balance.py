"""Pairs in which neither length nor style tells the chosen greeting from the rejected one.

Both sides are described by surface features only (`backend.judges.style`). A pair is *foretold* where such a
description picks the chosen side; what is left after balancing is foretold about as often as not.

Second looks: a judge's mistakes are a larger share of the pairs that go against the odds of their cell than
of the others, and the balance below keeps all of them. They stay only where a second judge confirmed them.

Length: pairs are put into cells by the lengths of their shorter and their longer side; in every cell as many
pairs stay whose chosen side is the longer one as pairs whose chosen side is the shorter one. So not only
"the longer one wins" is worth nothing afterwards, but every rule that reads the two lengths.

Style: a cross-fitted pair model gives each pair the probability p that its chosen side is the chosen one. A
pair stays with probability min(1, odds · (1 - p) / p), which leaves pairs of equal p foretold `odds` times as
often as not. This is repeated with a new model until the figure holds.

After: Rosenbaum & Rubin (1983) on balancing scores; the thinning is rejection sampling by propensity.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.errors import Message
from backend.judges.style import NAMES, measure
from backend.text import digest, squeeze

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

FOLDS = 5
FITTED_FROM = 40
"""Pairs below which no style model is fitted: its cross-validated accuracy would be noise."""
LENGTH_BAND = (0.45, 0.55)
STYLE_LIMIT = 0.60
AIM, AIM_STEP = 0.58, 0.01
"""Share foretold that the first thinning aims at, and how much lower each further one: the next model finds
other signs."""
ROUNDS = 9
_GAPS = (0, 2, 5, 10, 20, 40)
_STEP = 1.35
"""Ratio of neighbouring cells of the mean length."""


@dataclass(frozen=True)
class Texts:
    """One pair as balancing sees it; `group` is its prompt, which folds keep together.

    Where some of several have to go for their lengths, those of greater `surety` stay. `holds` is whether the
    label was confirmed by a second judge, None where none was asked.
    """

    group: int
    chosen: str
    rejected: str
    surety: float = 0.0
    holds: bool | None = None


@dataclass(frozen=True)
class Tells:
    """How well the surface alone tells chosen from rejected: shares of pairs, ties half; None: too few."""

    pairs: int
    length: float | None
    style: float | None

    @property
    def unsaid(self) -> Message | None:
        """Why there is no figure for style; None where there is one."""
        if self.style is not None:
            return None
        return Message(
            f"Style is not measured on fewer than {FITTED_FROM} pairs (here {self.pairs}): the figure would "
            "be noise. More requests or candidates give more pairs.",
            f"不到 {FITTED_FROM} 对（现有 {self.pairs} 对）不测表面特征，算出来也是噪声；"
            "多给些请求或候选，对就多了。",
        )

    @property
    def balanced(self) -> bool:
        """Whether both figures are where they should be (a missing one is no objection)."""
        low, high = LENGTH_BAND
        fair = self.length is None or low <= self.length <= high
        return fair and (self.style is None or self.style <= STYLE_LIMIT)


@dataclass(frozen=True)
class Balance:
    """What stays (indices into the pairs given), the figures before and after, and what it cost."""

    kept: tuple[int, ...]
    before: Tells
    after: Tells
    lost_to_length: int
    lost_to_style: int
    lost_to_second: int = 0


def balance(
    pairs: Iterable[Texts], *, by_length: bool = True, by_style: bool = True, twice: bool = False
) -> Balance:
    """The largest body of pairs that this method finds in which neither length nor style tells.

    With `twice` a pair falls first where its second judge sees it otherwise, and a scarce one (see `scarce`)
    where no second judge confirmed it.
    Deterministic: what goes is decided by surety, then by a hash of the texts. Memory: a few numbers a pair.
    """
    work = _Work(pairs)
    every = work.everything()
    before = work.tells(every)
    held = work.held() if twice else every
    kept = work.by_length(held) if by_length else held
    lost_to_second = int(every.sum() - held.sum())
    lost_to_length = int(held.sum() - kept.sum())
    if by_style:
        kept = work.by_style(kept, by_length=by_length)
    import numpy as np

    return Balance(
        kept=tuple(int(i) for i in np.flatnonzero(kept)),
        before=before,
        after=work.tells(kept),
        lost_to_length=lost_to_length,
        lost_to_style=int(held.sum() - kept.sum()) - lost_to_length,
        lost_to_second=lost_to_second,
    )


def tells(pairs: Iterable[Texts]) -> Tells:
    """How well length and style alone tell the chosen side in these pairs."""
    work = _Work(pairs)
    return work.tells(work.everything())


def scarce(lengths: Iterable[tuple[int, int]]) -> list[bool]:
    """Which pairs, by the lengths of their chosen and rejected side, go against the odds of their cell.

    Balance keeps all of these and as many of the others: so a judge's mistakes, which go either way, are
    common among them, and their labels are worth a second look.
    """
    sides = list(lengths)
    return _against(((a - b, _cell(a, b)) for a, b in sides), len(sides))


def _against(pairs: Iterable[tuple[float, tuple[int, int]]], size: int) -> list[bool]:
    cells: dict[tuple[int, int], dict[bool, list[int]]] = defaultdict(lambda: {True: [], False: []})
    for number, (gap, cell) in enumerate(pairs):
        if gap:
            cells[cell][gap > 0].append(number)
    sides = [(len(both[True]), len(both[False])) for both in cells.values()]
    rare = sum(longer for longer, _ in sides) < sum(shorter for _, shorter in sides)
    found = [False] * size
    for both in cells.values():
        # Of equal sides the one that is rare in the whole run.
        for number in min(both[rare], both[not rare], key=len):
            found[number] = True
    return found


class _Work:
    """Features of every pair, computed once; bodies of pairs are flags over them."""

    def __init__(self, pairs: Iterable[Texts]) -> None:
        import numpy as np

        # Plain arrays of doubles: no text is kept, however many pairs come.
        features, lengths, groups = array("d"), array("d"), array("q")
        chance, surety, holds = array("d"), array("d"), array("b")
        for pair in pairs:
            chosen, rejected = squeeze(pair.chosen), squeeze(pair.rejected)
            features.extend(a - b for a, b in zip(measure(chosen), measure(rejected), strict=True))
            lengths.extend((len(chosen), len(rejected)))
            chance.append(int(digest(chosen, rejected)[:12], 16) / 16**12)
            surety.append(pair.surety)
            holds.append(0 if pair.holds is None else 1 if pair.holds else -1)
            groups.append(pair.group)
        self.size = len(groups)
        self.difference: Floats = np.array(features).reshape(self.size, len(NAMES))
        sides: Floats = np.array(lengths).reshape(self.size, 2)
        self.gap: Floats = sides[:, 0] - sides[:, 1]
        self.cells = [_cell(a, b) for a, b in sides]
        self.groups = np.array(groups)
        self.chance: Floats = np.array(chance)
        self.holds = np.array(holds)
        self.order = np.lexsort((self.chance, -np.array(surety)))

    def everything(self) -> "Flags":
        import numpy as np

        return np.ones(self.size, dtype=bool)

    def held(self) -> "Flags":
        """Without pairs that a second judge sees otherwise, and scarce ones that none confirmed."""
        import numpy as np

        scarce = np.array(_against(zip(self.gap, self.cells, strict=True), self.size), dtype=bool)
        return np.asarray((self.holds > 0) | ((self.holds == 0) & ~scarce))

    def tells(self, kept: "Flags") -> Tells:
        import numpy as np

        def share(margins: "Floats") -> float:
            return float(np.mean((np.sign(margins) + 1) / 2))

        gaps, logits = self.gap[kept], self._foretold(kept, salt=0)
        return Tells(
            pairs=int(kept.sum()),
            length=share(gaps) if len(gaps) else None,
            style=None if logits is None else share(logits),
        )

    def by_length(self, kept: "Flags") -> "Flags":
        """In every cell as many with the longer side chosen as with the shorter one; equal ones stay."""
        sides: dict[tuple[int, int], dict[bool, list[int]]] = defaultdict(lambda: {True: [], False: []})
        for i in self.order:
            if kept[i] and self.gap[i] != 0:
                sides[self.cells[i]][bool(self.gap[i] > 0)].append(int(i))
        out = kept.copy()
        for both in sides.values():
            size = min(map(len, both.values()))
            for side in both.values():
                out[side[size:]] = False
        return out

    def by_style(self, kept: "Flags", *, by_length: bool) -> "Flags":
        """Thin out what style foretells until it does no longer, the lengths staying balanced."""
        for number in range(ROUNDS):
            told = self.tells(kept)
            if told.style is None or told.style <= STYLE_LIMIT:
                break
            kept = self._thinned(kept, number, AIM - number * AIM_STEP)
            kept = self.by_length(kept) if by_length else kept
        return kept

    def _thinned(self, kept: "Flags", number: int, aim: float) -> "Flags":
        """The most that stays with the share foretold at `aim`: the odds are found by halving."""
        import numpy as np

        logits = self._foretold(kept, salt=number + 1)
        assert logits is not None
        draw = self._draw(number)[kept]
        low, high = 0.0, 20.0  # logarithms of the odds; at 20 everything stays
        for _ in range(30):
            middle = (low + high) / 2
            # exp(-logit) is (1 - p) / p.
            stays = draw < np.exp(np.minimum(middle - logits, 0.0))
            share = np.mean(logits[stays] > 0) if stays.any() else 0.0
            low, high = (middle, high) if share <= aim else (low, middle)
        out = kept.copy()
        out[kept] = draw < np.exp(np.minimum(low - logits, 0.0))
        return out

    def _draw(self, number: int) -> "Floats":
        """A number in [0, 1) for each pair, another one in each round."""
        return (self.chance + number * 0.6180339887498949) % 1.0

    def _foretold(self, kept: "Flags", salt: int) -> "Floats | None":
        """The logit with which a model that never saw the pair's prompt picks the chosen side."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        if kept.sum() < FITTED_FROM:
            return None
        rows, fold = self.difference[kept], _folds(self.groups[kept], salt)
        spread = rows.std(axis=0)
        rows = np.divide(rows, spread, out=np.zeros_like(rows), where=spread > 0)
        out = np.zeros(len(rows))
        for number in range(FOLDS):
            held = fold == number
            if held.all() or not held.any():
                continue
            train = rows[~held]
            # Each pair in both orders: no constant can be learnt from always having the chosen side first.
            model = LogisticRegression(C=1.0, fit_intercept=False, solver="newton-cholesky")
            model.fit(np.vstack([train, -train]), np.repeat([1, 0], len(train)))
            out[held] = rows[held] @ model.coef_[0]
        return out


def _cell(chosen: float, rejected: float) -> tuple[int, int]:
    """Where a pair belongs by its two lengths, whichever is chosen."""
    gap, mean = abs(chosen - rejected), (chosen + rejected) / 2
    return sum(gap > end for end in _GAPS), round(math.log(max(mean, 1.0), _STEP))


def _folds(groups: "NDArray[np.int_]", salt: int) -> "NDArray[np.int_]":
    import numpy as np

    # Knuth's multiplicative hash: consecutive prompts fall into different folds, another way each round.
    mixed = (groups.astype(np.uint64) + np.uint64(salt * 7919 + 1)) * np.uint64(2654435761) % np.uint64(2**32)
    return (mixed * np.uint64(FOLDS) // np.uint64(2**32)).astype(int)
