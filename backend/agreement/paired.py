"""Is one judge better than another on the same items? An exact paired test, clustered by request."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.agreement.figures import Floats, Groups


@dataclass(frozen=True)
class Paired:
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
        """Items gained."""
        return self.fixed - self.broken


def paired(human: Floats, before: Floats, after: Floats, groups: Groups) -> Paired:
    """Compare two judges; every array is (items,), labels and values 0 or 1, NaN where unscored.

    groups: the request. With one item a request the test is McNemar's exact one.
    """
    both = ~np.isnan(before) & ~np.isnan(after)
    was, is_now = before[both] == human[both], after[both] == human[both]
    _, member = np.unique(groups[both], return_inverse=True)
    change = is_now.astype(int) - was.astype(int)
    by_group = np.bincount(member, change).astype(int) if len(change) else np.zeros(0, dtype=int)
    return Paired(
        n=int(both.sum()),
        unscored=int((~both).sum()),
        fixed=int((change > 0).sum()),
        broken=int((change < 0).sum()),
        p=sign_flip(by_group.tolist()),
    )


def sign_flip(differences: Sequence[int]) -> float:
    """P(sum of the differences under random signs >= the observed sum), exactly; 1 where all are zero.

    Source: Fisher, The Design of Experiments (1935), section 21; for differences of -1, 0 and 1 it is
    McNemar, Psychometrika 12 (1947), in its exact binomial form.
    """
    sizes = [abs(one) for one in differences if one]
    total = sum(sizes)
    # Element k of `chance` is P(sum of what was added with a plus = k), so a sum s stands at (s + total) / 2.
    chance = np.ones(1)
    for size in sizes:
        grown = np.zeros(len(chance) + size)
        grown[: len(chance)] += chance / 2
        grown[size:] += chance / 2
        chance = grown
    start = (sum(differences) + total) // 2
    return min(1.0, float(chance[start:].sum()))
