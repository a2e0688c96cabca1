"""Which accepted and refused candidates of one prompt become pairs."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.text import strip_white_space

MAX_PAIRS_PER_PROMPT = 6
"""Pairs of one prompt: many from one request would teach that request."""


class PairingMode(StrEnum):
    """Which of a prompt's accepted and refused candidates become pairs."""

    ALL = "all"
    BEST_WORST = "best_worst"
    HARDEST = "hardest"


@dataclass(frozen=True)
class JudgedCandidate:
    """A candidate with its verdict. `strength` orders candidates of the same verdict, higher is better.

    `again` is what a second judge says, None where none said anything.
    """

    id: int
    text: str
    accepted: bool
    strength: float = 0.0
    second_accepted: bool | None = None


@dataclass(frozen=True)
class CandidatePair:
    """Two candidates of one prompt, the accepted one first."""

    run_prompt_id: int
    chosen: JudgedCandidate
    rejected: JudgedCandidate
    difference: float

    @property
    def confidence(self) -> float:
        """How clearly the judge set the two apart."""
        return self.chosen.strength - self.rejected.strength

    @property
    def confirmed(self) -> bool | None:
        """Whether a second judge sees both sides as the first did; None where it was not asked about both.

        One side that it sees otherwise is enough for no.
        """
        confirmations = [
            None if candidate.second_accepted is None else candidate.second_accepted == candidate.accepted
            for candidate in (self.chosen, self.rejected)
        ]
        return False if False in confirmations else None if None in confirmations else True


def pair_candidates(
    run_prompt_id: int, judged_candidates: Sequence[JudgedCandidate], pairing_mode: PairingMode
) -> list[CandidatePair]:
    """The pairs of one prompt, accepted over refused. Empty where all have the same verdict.

    `all` gives every combination (at most MOST_A_PROMPT, the closest surfaces first), `best_worst` the
    strongest accepted over the weakest refused, `hardest` the two whose surfaces differ least.
    """
    accepted = [candidate for candidate in judged_candidates if candidate.accepted]
    rejected = [candidate for candidate in judged_candidates if not candidate.accepted]
    if not accepted or not rejected:
        return []
    if pairing_mode is PairingMode.BEST_WORST:
        accepted = [max(accepted, key=lambda candidate: (candidate.strength, -candidate.id))]
        rejected = [min(rejected, key=lambda candidate: (candidate.strength, candidate.id))]
    candidate_pairs = [
        CandidatePair(
            run_prompt_id,
            accepted_side,
            rejected_side,
            surface_difference(accepted_side.text, rejected_side.text),
        )
        for accepted_side, rejected_side in itertools.product(accepted, rejected)
    ]
    candidate_pairs.sort(key=lambda pair: (pair.difference, pair.chosen.id, pair.rejected.id))
    return candidate_pairs[: 1 if pairing_mode is PairingMode.HARDEST else MAX_PAIRS_PER_PROMPT]


def surface_difference(first_text: str, second_text: str) -> float:
    """How much two texts differ on the surface, 0 (equal) to 2.

    One part is the share of character pairs that they do not have in common (1 - Dice), the other the
    difference of their lengths over the longer one; white space counts nothing.
    """
    first_squeezed, second_squeezed = strip_white_space(first_text), strip_white_space(second_text)
    longer_length = max(len(first_squeezed), len(second_squeezed))
    if not longer_length:
        return 0.0
    return (
        1.0
        - _dice_coefficient(first_squeezed, second_squeezed)
        + abs(len(first_squeezed) - len(second_squeezed)) / longer_length
    )


def _dice_coefficient(first_text: str, second_text: str) -> float:
    first_bigrams, second_bigrams = (
        Counter(itertools.pairwise(compared_text)) for compared_text in (first_text, second_text)
    )
    bigram_total = first_bigrams.total() + second_bigrams.total()
    return (
        2 * (first_bigrams & second_bigrams).total() / bigram_total
        if bigram_total
        else float(first_text == second_text)
    )
