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

from backend.core.errors import Message
from backend.core.text import digest, strip_white_space
from backend.judges.style import FEATURE_NAMES, measure_style

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    FlagArray = NDArray[np.bool_]

# Parts of a cross-fitted style model. Prompts stay whole: a candidate stands in several pairs of its prompt, and
# a model must not have seen the texts that it is measured on.
FOLDS = 5
# Pairs below which no style model is fitted: its cross-validated accuracy would be noise.
FITTED_FROM = 40
# Where the share of pairs whose chosen side is the longer one must lie; 0.5 says nothing.
LENGTH_BAND = (0.45, 0.55)
# Share of pairs that style may foretell, cross-fitted; 0.5 says nothing.
STYLE_LIMIT = 0.60
# Share foretold that the first thinning aims at, and how much lower each further one: the next model finds
# other signs.
FIRST_AIM, AIM_STEP = 0.58, 0.01
# The last one aims at 0.50, below which there is nothing to win.
ROUNDS = 9
# Characters; upper ends of the cells by difference of the two lengths, the last cell is open.
_GAP_LIMITS = (0, 2, 5, 10, 20, 40)
# Ratio of neighbouring cells of the mean length.
_LENGTH_RATIO = 1.35


@dataclass(frozen=True)
class PairTexts:
    """One pair as balancing sees it; `group` is its prompt, which folds keep together.

    Where some of several have to go for their lengths, those of greater `confidence` stay. `confirmed` is whether the
    label was confirmed by a second judge, None where none was asked.
    """

    group: int
    chosen: str
    rejected: str
    confidence: float = 0.0
    confirmed: bool | None = None


@dataclass(frozen=True)
class SurfaceAccuracy:
    """How well the surface alone tells chosen from rejected, as shares of the `pairs` from 0 to 1; a tie is half.

    `length`: pairs whose chosen side is the longer one; None without pairs. `style`: pairs that a cross-fitted model
    picks rightly; None below FITTED_FROM pairs.
    """

    pairs: int
    length: float | None
    style: float | None

    @property
    def missing_style_notice(self) -> Message | None:
        """Why there is no figure for style; None where there is one."""
        if self.style is not None:
            return None
        # A sentence and not 0 or 0.5: either would read as a figure that was measured.
        return Message(
            f"Style is not measured on fewer than {FITTED_FROM} pairs (here {self.pairs}): the figure would "
            "be noise. More requests or candidates give more pairs.",
            f"不到 {FITTED_FROM} 对（现有 {self.pairs} 对）不测表面特征，算出来也是噪声；多给些请求或候选，对就多了。",
        )

    @property
    def is_balanced(self) -> bool:
        """Whether both figures are where they should be (a missing one is no objection)."""
        lower_limit, upper_limit = LENGTH_BAND
        length_is_fair = self.length is None or lower_limit <= self.length <= upper_limit
        return length_is_fair and (self.style is None or self.style <= STYLE_LIMIT)


@dataclass(frozen=True)
class BalanceResult:
    """What stays (indices into the pairs given, ascending), the figures before and after, and what it cost.

    The `dropped_…` counts are pairs and add up to all that went: by the second judge, then by length, then by style.
    """

    retained_indices: tuple[int, ...]
    before: SurfaceAccuracy
    after: SurfaceAccuracy
    dropped_by_length: int
    dropped_by_style: int
    dropped_by_second: int = 0


def balance_pairs(
    pair_texts: Iterable[PairTexts],
    *,
    by_length: bool = True,
    by_style: bool = True,
    second_judged: bool = False,
) -> BalanceResult:
    """The largest body of pairs that this method finds in which neither length nor style tells.

    `by_length`, `by_style`: which of the two to balance. With `second_judged` a pair falls first where its second
    judge sees it otherwise, and a scarce one (see `scarce_pairs`) where no second judge confirmed it.
    Deterministic: what goes is decided by confidence, then by a hash of the texts. Memory: a few numbers a pair.
    """
    pair_features = _BalanceWork(pair_texts)
    all_pairs = pair_features.all_pairs()
    before = pair_features.surface_accuracy(all_pairs)
    # Before the balance of lengths: dropped after it,
    # unconfirmed pairs would leave their cells lopsided again.
    confirmed_pairs = pair_features.confirmed_pairs() if second_judged else all_pairs
    retained_pairs = pair_features.balance_length(confirmed_pairs) if by_length else confirmed_pairs
    dropped_by_second = int(all_pairs.sum() - confirmed_pairs.sum())
    # Counted before style is thinned: what the balance of lengths drops again there is a price of style.
    dropped_by_length = int(confirmed_pairs.sum() - retained_pairs.sum())
    if by_style:
        retained_pairs = pair_features.balance_style(retained_pairs, keep_lengths=by_length)
    import numpy as np

    return BalanceResult(
        retained_indices=tuple(int(pair_index) for pair_index in np.flatnonzero(retained_pairs)),
        before=before,
        after=pair_features.surface_accuracy(retained_pairs),
        dropped_by_length=dropped_by_length,
        dropped_by_style=int(confirmed_pairs.sum() - retained_pairs.sum()) - dropped_by_length,
        dropped_by_second=dropped_by_second,
    )


def measure_surface(pair_texts: Iterable[PairTexts]) -> SurfaceAccuracy:
    """How well length and style alone tell the chosen side in these pairs; nothing is dropped."""
    pair_features = _BalanceWork(pair_texts)
    return pair_features.surface_accuracy(pair_features.all_pairs())


def scarce_pairs(length_pairs: Iterable[tuple[int, int]]) -> list[bool]:
    """Which pairs, by the lengths (characters) of their chosen and rejected side, go against the odds of their cell.

    One flag a pair, in the order given.

    Balance keeps all of these and as many of the others: so a judge's mistakes, which go either way, are
    common among them, and their labels are worth a second look.
    """
    length_list = list(length_pairs)
    return _against_odds(
        (
            (chosen_length - rejected_length, _length_cell(chosen_length, rejected_length))
            for chosen_length, rejected_length in length_list
        ),
        len(length_list),
    )


def _against_odds(gaps_and_cells: Iterable[tuple[float, tuple[int, int]]], pair_count: int) -> list[bool]:
    pairs_by_cell: dict[tuple[int, int], dict[bool, list[int]]] = defaultdict(lambda: {True: [], False: []})
    for pair_index, (length_gap, length_cell) in enumerate(gaps_and_cells):
        # Two of equal length have no longer side, so no rule about lengths can use them: never scarce.
        if length_gap:
            pairs_by_cell[length_cell][length_gap > 0].append(pair_index)
    cell_sizes = [(len(cell_pairs[True]), len(cell_pairs[False])) for cell_pairs in pairs_by_cell.values()]
    longer_is_rare = sum(longer_count for longer_count, _ in cell_sizes) < sum(
        shorter_count for _, shorter_count in cell_sizes
    )
    is_scarce = [False] * pair_count
    for cell_pairs in pairs_by_cell.values():
        # Where a cell has as many of both, those that are rare in the whole run.
        for pair_index in min(cell_pairs[longer_is_rare], cell_pairs[not longer_is_rare], key=len):
            is_scarce[pair_index] = True
    return is_scarce


class _BalanceWork:
    """Features of every pair, computed once; bodies of pairs are flags over them."""

    def __init__(self, pair_texts: Iterable[PairTexts]) -> None:
        import numpy as np

        # Plain arrays of doubles: no text is kept, however many pairs come.
        features, side_lengths, prompt_groups = array("d"), array("d"), array("q")
        random_draws, confidences, confirmations = array("d"), array("d"), array("b")
        for pair_text in pair_texts:
            chosen_text, rejected_text = (
                strip_white_space(pair_text.chosen),
                strip_white_space(pair_text.rejected),
            )
            # The gap alone goes in: a linear pair model sees nothing else of the two descriptions.
            features.extend(
                chosen_value - rejected_value
                for chosen_value, rejected_value in zip(
                    measure_style(chosen_text), measure_style(rejected_text), strict=True
                )
            )
            side_lengths.extend((len(chosen_text), len(rejected_text)))
            # From the texts and not from a generator: the same pairs stay in a run that is paired again.
            random_draws.append(int(digest(chosen_text, rejected_text)[:12], 16) / 16**12)
            confidences.append(pair_text.confidence)
            # One signed byte a pair: 1 confirmed, -1 seen otherwise, 0 nobody asked.
            confirmations.append(0 if pair_text.confirmed is None else 1 if pair_text.confirmed else -1)
            prompt_groups.append(pair_text.group)
        self.pair_count = len(prompt_groups)
        self.feature_gaps: FloatArray = np.array(features).reshape(self.pair_count, len(FEATURE_NAMES))
        length_columns: FloatArray = np.array(side_lengths).reshape(self.pair_count, 2)
        self.length_gaps: FloatArray = length_columns[:, 0] - length_columns[:, 1]
        self.length_cells = [
            _length_cell(chosen_value, rejected_value) for chosen_value, rejected_value in length_columns
        ]
        self.prompt_groups = np.array(prompt_groups)
        self.random_draws: FloatArray = np.array(random_draws)
        self.confirmations = np.array(confirmations)
        # lexsort sorts by its last key first: the surest pairs lead, and the draw decides among equals.
        self.confidence_order = np.lexsort((self.random_draws, -np.array(confidences)))

    def all_pairs(self) -> "FlagArray":
        import numpy as np

        return np.ones(self.pair_count, dtype=bool)

    def confirmed_pairs(self) -> "FlagArray":
        """Without pairs that a second judge sees otherwise, and scarce ones that none confirmed."""
        import numpy as np

        against_odds = np.array(
            _against_odds(zip(self.length_gaps, self.length_cells, strict=True), self.pair_count), dtype=bool
        )
        # A second verdict against the first counts in both directions, a missing one only where it was due.
        return np.asarray((self.confirmations > 0) | ((self.confirmations == 0) & ~against_odds))

    def surface_accuracy(self, retained: "FlagArray") -> SurfaceAccuracy:
        """How well length and style alone pick the chosen side in the retained pairs, cross-fitted."""
        import numpy as np

        def chosen_share(margins: "FloatArray") -> float:
            # A tie is half: a guesser who cannot tell is right every other time.
            return float(np.mean((np.sign(margins) + 1) / 2))

        # Salt 0 is for measuring alone: thinning has other folds,
        # so no figure comes from the model that chose the pairs.
        length_gaps, style_logits = self.length_gaps[retained], self._style_logits(retained, fold_salt=0)
        return SurfaceAccuracy(
            pairs=int(retained.sum()),
            length=chosen_share(length_gaps) if len(length_gaps) else None,
            style=None if style_logits is None else chosen_share(style_logits),
        )

    def balance_length(self, retained: "FlagArray") -> "FlagArray":
        """In every cell as many with the longer side chosen as with the shorter one; equal ones stay."""
        pairs_by_cell: dict[tuple[int, int], dict[bool, list[int]]] = defaultdict(lambda: {True: [], False: []})
        # The surest first, so that those behind `smaller_size` are the least sure of their cell.
        for pair_index in self.confidence_order:
            if retained[pair_index] and self.length_gaps[pair_index] != 0:
                pairs_by_cell[self.length_cells[pair_index]][bool(self.length_gaps[pair_index] > 0)].append(
                    int(pair_index)
                )
        still_retained = retained.copy()
        for cell_pairs in pairs_by_cell.values():
            smaller_size = min(map(len, cell_pairs.values()))
            for pair_indices in cell_pairs.values():
                still_retained[pair_indices[smaller_size:]] = False
        return still_retained

    def balance_style(self, retained: "FlagArray", *, keep_lengths: bool) -> "FlagArray":
        """Thin out what style foretells until it does no longer, the lengths staying balanced."""
        for round_index in range(ROUNDS):
            surface_accuracy = self.surface_accuracy(retained)
            if surface_accuracy.style is None or surface_accuracy.style <= STYLE_LIMIT:
                break
            retained = self._thinned(retained, round_index, FIRST_AIM - round_index * AIM_STEP)
            # Thinning drops pairs whatever their lengths, so
            # the cells have to be evened out after every round.
            retained = self.balance_length(retained) if keep_lengths else retained
        return retained

    def _thinned(self, retained: "FlagArray", round_index: int, target_share: float) -> "FlagArray":
        """The most that stays with the share foretold at `target_share`: the odds are found by halving."""
        import numpy as np

        style_logits = self._style_logits(retained, fold_salt=round_index + 1)
        assert style_logits is not None
        random_draws = self._round_draws(round_index)[retained]
        low_log_odds, high_log_odds = 0.0, 20.0  # logarithms of the odds; at 20 everything stays
        # Thirty halvings leave 2e-8 of the interval, less than any difference between two draws matters.
        for _ in range(30):
            middle_log_odds = (low_log_odds + high_log_odds) / 2
            # exp(-logit) is (1 - p) / p.
            is_staying = random_draws < np.exp(np.minimum(middle_log_odds - style_logits, 0.0))
            # Where nothing stays nothing is foretold: the odds may rise.
            foretold_share = np.mean(style_logits[is_staying] > 0) if is_staying.any() else 0.0
            low_log_odds, high_log_odds = (
                (middle_log_odds, high_log_odds) if foretold_share <= target_share else (low_log_odds, middle_log_odds)
            )
        still_retained = retained.copy()
        # The lower end: only there the share is known to be within the aim.
        still_retained[retained] = random_draws < np.exp(np.minimum(low_log_odds - style_logits, 0.0))
        return still_retained

    def _round_draws(self, round_index: int) -> "FloatArray":
        """A number in [0, 1) for each pair, another one in each round."""
        # Steps of the golden ratio: no two rounds draw alike, and none needs a generator of its own.
        return (self.random_draws + round_index * 0.6180339887498949) % 1.0

    def _style_logits(self, retained: "FlagArray", fold_salt: int) -> "FloatArray | None":
        """The logit with which a model that never saw the pair's prompt picks the chosen side."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        if retained.sum() < FITTED_FROM:
            return None
        feature_rows, fold_numbers = (
            self.feature_gaps[retained],
            _assign_folds(self.prompt_groups[retained], fold_salt),
        )
        # Scaled by hand, without centring: the model has no intercept, and turned pairs must stay mirrored.
        deviations = feature_rows.std(axis=0)
        feature_rows = np.divide(feature_rows, deviations, out=np.zeros_like(feature_rows), where=deviations > 0)
        pair_logits = np.zeros(len(feature_rows))
        for fold_index in range(FOLDS):
            in_fold = fold_numbers == fold_index
            # Few prompts may all fall into one fold: nothing is
            # left to learn from, and logit 0 counts as a tie.
            if in_fold.all() or not in_fold.any():
                continue
            train_rows = feature_rows[~in_fold]
            # Each pair in both orders: no constant can be learnt from always having the chosen side first.
            style_model = LogisticRegression(C=1.0, fit_intercept=False, solver="newton-cholesky")
            style_model.fit(np.vstack([train_rows, -train_rows]), np.repeat([1, 0], len(train_rows)))
            pair_logits[in_fold] = feature_rows[in_fold] @ style_model.coef_[0]
        return pair_logits


def _length_cell(chosen_length: float, rejected_length: float) -> tuple[int, int]:
    """Where a pair belongs by its two lengths, whichever is chosen."""
    # Symmetric in the two lengths: a cell that knew the chosen side could not balance the sides.
    length_gap, mean_length = abs(chosen_length - rejected_length), (chosen_length + rejected_length) / 2
    return sum(length_gap > gap_limit for gap_limit in _GAP_LIMITS), round(
        math.log(max(mean_length, 1.0), _LENGTH_RATIO)
    )


def _assign_folds(prompt_groups: "NDArray[np.int_]", fold_salt: int) -> "NDArray[np.int_]":
    import numpy as np

    # Knuth's multiplicative hash: consecutive prompts fall into different folds, another way each round.
    hashed_groups = (
        (prompt_groups.astype(np.uint64) + np.uint64(fold_salt * 7919 + 1)) * np.uint64(2654435761) % np.uint64(2**32)
    )
    return (hashed_groups * np.uint64(FOLDS) // np.uint64(2**32)).astype(int)
