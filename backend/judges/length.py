"""The trivial judge: longer is better. Whoever agrees with people no better than this has no taste."""

from collections.abc import Sequence

from backend.judges.base import EMPTY, Draft, Sample, version_of
from backend.text import length
from backend.vocabulary import Scale


class LengthJudge:
    """Counts the characters without white space."""

    name = "length"
    version = version_of({"judge": "length", "revision": 1})
    scale = Scale.SCORE

    async def score(self, batch: Sequence[Sample]) -> list[Draft]:
        """Characters of each greeting; an empty greeting is unscored."""
        return [_draft(length(sample.greeting)) for sample in batch]


def _draft(count: int) -> Draft:
    return Draft(float(count), f"{count} 字") if count else EMPTY
