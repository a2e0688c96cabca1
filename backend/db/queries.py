"""Queries that several rooms share: which row of an append-only chain is current, which version of a judge counts."""

from collections.abc import Sequence

MISSING_TOLERANCE = 0.05
"""The share of verdicts that a newer version may lack, such as items that it could not answer."""


def current_version(verdict_counts: Sequence[int]) -> int:
    """The place of the version that stands for its judge.

    verdicts: how many values each version gave, at least one version, the oldest first.
    """
    enough_verdicts = (1 - MISSING_TOLERANCE) * max(verdict_counts)
    return max(
        version_index for version_index, verdict_count in enumerate(verdict_counts) if verdict_count >= enough_verdicts
    )
