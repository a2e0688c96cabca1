"""Is one judge better than another on the same items? An exact paired test, clustered by request."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.agreement.statistics.figures import Floats, Groups


@dataclass(frozen=True)
class PairedTest:
    """What changed from one judge to the next over the items that both scored.

    `fixed` were wrong and are right now, `broken` the other way round; `unscored` have no value from one
    of the two. `p` is one-sided: small where so clear a gain would be rare without any real one.
    """

    n: int
    unscored: int
    fixed: int
    broken: int
    p: float

    @property
    def gain(self) -> int:
        """Items that became right, less those that became wrong."""
        return self.fixed - self.broken


def compare_paired(human_values: Floats, old_values: Floats, new_values: Floats, prompt_groups: Groups) -> PairedTest:
    """Compare two judges; every array is (items,), labels and values 0 or 1, NaN where unscored.

    prompt_groups: (items,), the request. With one item a request the test is McNemar's exact one.
    """
    # Only what both scored: else a judge could win by leaving out what is hard.
    has_both = ~np.isnan(old_values) & ~np.isnan(new_values)
    was_right, is_right = (
        old_values[has_both] == human_values[has_both],
        new_values[has_both] == human_values[has_both],
    )
    _, group_indices = np.unique(prompt_groups[has_both], return_inverse=True)
    item_changes = is_right.astype(int) - was_right.astype(int)
    # Items of one request move together, so a request's changes get one sign between them.
    group_changes = (
        np.bincount(group_indices, item_changes).astype(int) if len(item_changes) else np.zeros(0, dtype=int)
    )
    return PairedTest(
        n=int(has_both.sum()),
        unscored=int((~has_both).sum()),
        fixed=int((item_changes > 0).sum()),
        broken=int((item_changes < 0).sum()),
        p=sign_flip_test(group_changes.tolist()),
    )


def sign_flip_test(differences: Sequence[int]) -> float:
    """P(sum of the differences under random signs >= the observed sum), exactly; 1 where all are zero.

    Source: Fisher, The Design of Experiments (1935), section 21; for differences of -1, 0 and 1 it is
    McNemar, Psychometrika 12 (1947), in its exact binomial form.
    """
    magnitudes = [abs(difference) for difference in differences if difference]
    total_size = sum(magnitudes)
    # Element k of `chance` is P(sum of what was added with a plus = k), so a sum s stands at (s + total) / 2.
    # Convolved rather than enumerated: n requests have 2^n signs, but their sums only as many values as their
    # total.
    probabilities = np.ones(1)
    for magnitude in magnitudes:
        extended = np.zeros(len(probabilities) + magnitude)
        extended[: len(probabilities)] += probabilities / 2
        extended[magnitude:] += probabilities / 2
        probabilities = extended
    first_index = (sum(differences) + total_size) // 2
    return min(1.0, float(probabilities[first_index:].sum()))
