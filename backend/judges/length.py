"""The trivial judge: longer is better. Whoever agrees with people no better than this has no taste."""

from collections.abc import Sequence

from backend.core.enums import Scale
from backend.core.text import count_characters
from backend.judges.base import EMPTY_GREETING, Judgment, Sample, version_of


class LengthJudge:
    """Counts the characters without white space."""

    name = "length"
    # Of no corpus: it learns nothing, so its verdicts stay valid through every import.
    version = version_of({"judge": "length", "revision": 1})
    scale = Scale.SCORE

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """Characters of each greeting; an empty greeting is unscored."""
        return [_length_judgment(count_characters(sample.greeting)) for sample in samples]


def _length_judgment(character_count: int) -> Judgment:
    return Judgment(float(character_count), f"{character_count} 字") if character_count else EMPTY_GREETING
