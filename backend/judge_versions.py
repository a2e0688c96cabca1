"""Which version of a judge stands for it: the newest that has judged as much as any other version did.

A changed judge is a new version under the same name. One that was tried on five items does not take the
place of the one that judged all of them.
"""

from collections.abc import Sequence

TOLERANCE = 0.05
"""The share of verdicts that a newer version may lack, such as items that it could not answer."""


def standing(verdicts: Sequence[int]) -> int:
    """The place of the version that stands for its judge.

    verdicts: how many values each version gave, at least one version, the oldest first.
    """
    enough = (1 - TOLERANCE) * max(verdicts)
    return max(place for place, count in enumerate(verdicts) if count >= enough)
