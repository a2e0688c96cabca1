"""Which accepted and refused candidates of one prompt become pairs."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.text import squeeze

MOST_A_PROMPT = 6
"""Pairs of one prompt: many from one request would teach that request."""


class Way(StrEnum):
    """Which of a prompt's accepted and refused candidates become pairs."""

    ALL = "all"
    BEST_WORST = "best_worst"
    HARDEST = "hardest"


@dataclass(frozen=True)
class Judged:
    """A candidate with its verdict. `strength` orders candidates of the same verdict, higher is better.

    `again` is what a second judge says, None where none said anything.
    """

    id: int
    text: str
    good: bool
    strength: float = 0.0
    again: bool | None = None


@dataclass(frozen=True)
class Pairing:
    """Two candidates of one prompt, the accepted one first."""

    prompt: int
    chosen: Judged
    rejected: Judged
    difference: float

    @property
    def surety(self) -> float:
        """How clearly the judge set the two apart."""
        return self.chosen.strength - self.rejected.strength

    @property
    def holds(self) -> bool | None:
        """Whether a second judge sees both sides as the first did; None where it was not asked about both.

        One side that it sees otherwise is enough for no.
        """
        said = [None if one.again is None else one.again == one.good for one in (self.chosen, self.rejected)]
        return False if False in said else None if None in said else True


def pair_up(prompt: int, judged: Sequence[Judged], way: Way) -> list[Pairing]:
    """The pairs of one prompt, accepted over refused. Empty where all have the same verdict.

    `all` gives every combination (at most MOST_A_PROMPT, the closest surfaces first), `best_worst` the
    strongest accepted over the weakest refused, `hardest` the two whose surfaces differ least.
    """
    good = [one for one in judged if one.good]
    bad = [one for one in judged if not one.good]
    if not good or not bad:
        return []
    if way is Way.BEST_WORST:
        good = [max(good, key=lambda one: (one.strength, -one.id))]
        bad = [min(bad, key=lambda one: (one.strength, one.id))]
    pairs = [
        Pairing(prompt, a, b, surface_difference(a.text, b.text)) for a, b in itertools.product(good, bad)
    ]
    pairs.sort(key=lambda pair: (pair.difference, pair.chosen.id, pair.rejected.id))
    return pairs[: 1 if way is Way.HARDEST else MOST_A_PROMPT]


def surface_difference(first: str, second: str) -> float:
    """How much two texts differ on the surface, 0 (equal) to 2.

    One part is the share of character pairs that they do not have in common (1 - Dice), the other the
    difference of their lengths over the longer one; white space counts nothing.
    """
    a, b = squeeze(first), squeeze(second)
    longest = max(len(a), len(b))
    if not longest:
        return 0.0
    return 1.0 - _dice(a, b) + abs(len(a) - len(b)) / longest


def _dice(a: str, b: str) -> float:
    first, second = (Counter(itertools.pairwise(text)) for text in (a, b))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else float(a == b)
