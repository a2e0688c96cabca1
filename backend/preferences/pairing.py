"""The possible pairs of a run, page by page, and which accepted and refused candidates of a prompt become pairs."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import aliased

from backend.core.enums import DECISION_THRESHOLDS, is_excellent
from backend.core.text import strip_white_space
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun
from backend.db.queries import current_rows
from backend.db.tables import Verdict

# Pairs of one prompt: many from one request would teach that request.
MAX_PAIRS_PER_PROMPT = 6


class PairingMode(StrEnum):
    """Which of a prompt's accepted and refused candidates become pairs."""

    ALL = "all"
    BEST_WORST = "best_worst"
    HARDEST = "hardest"


@dataclass(frozen=True)
class JudgedCandidate:
    """A candidate with its verdict. `strength` orders candidates of the same verdict, higher is better.

    `second_accepted` is whether a second judge accepts it too, None where none gave a verdict.
    """

    id: int
    text: str
    accepted: bool
    strength: float = 0.0
    second_accepted: bool | None = None


@dataclass(frozen=True)
class CandidatePair:
    """Two candidates of one prompt, the accepted one first; `difference` is that of their surfaces, 0 to 2."""

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
        # Not a plain “and”: one side seen otherwise settles it, though nobody was asked about the other.
        confirmations = [
            None if candidate.second_accepted is None else candidate.second_accepted == candidate.accepted
            for candidate in (self.chosen, self.rejected)
        ]
        return False if False in confirmations else None if None in confirmations else True


def pair_candidates(
    run_prompt_id: int, judged_candidates: Sequence[JudgedCandidate], pairing_mode: PairingMode
) -> list[CandidatePair]:
    """The pairs of one prompt, accepted over refused. Empty where all have the same verdict.

    PairingMode.ALL gives every combination (at most MAX_PAIRS_PER_PROMPT, the closest surfaces first), BEST_WORST
    the strongest accepted over the weakest refused, HARDEST the two whose surfaces differ least.
    """
    accepted = [candidate for candidate in judged_candidates if candidate.accepted]
    rejected = [candidate for candidate in judged_candidates if not candidate.accepted]
    if not accepted or not rejected:
        return []
    if pairing_mode is PairingMode.BEST_WORST:
        # Among equals the earlier candidate, so that pairing again gives the same pairs.
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
    # By id last, so that pairs of equal difference come in one order on every database.
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
        # Texts of one character have no bigrams: all there is to compare is whether they are equal.
        if bigram_total
        else float(first_text == second_text)
    )


def is_current_verdict(
    judge_id: int | None, verdict_table: Any = Verdict, candidate_table: Any = Candidate
) -> ColumnElement[bool]:
    """The condition that joins candidates with the current verdict of a judge: the one that none supersedes."""
    return and_(
        verdict_table.greeting_id == candidate_table.greeting_id,
        # By judge and not by run: a verdict that another run paid for counts here too.
        verdict_table.rater_id == judge_id,
        verdict_table.item_id.is_(None),  # a judge's verdict on an item belongs to that item's campaign
        current_rows(verdict_table),
    )


def is_accepted() -> ColumnElement[bool]:
    """The condition that a verdict accepts."""
    return or_(
        *(
            # The same thresholds as `is_excellent`, in SQL: the
            # funnel counts in the database what pairing decides here.
            and_(Verdict.scale == judge_scale, Verdict.value >= lowest_accepted)
            for judge_scale, lowest_accepted in DECISION_THRESHOLDS.items()
        )
    )


# Candidates in one page: a read that stays open would keep SQLite's log from being cleared.
CHUNK = 1_000


class PossiblePairs:
    """The possible pairs of a run, prompt by prompt; counts the prompts that all went one way."""

    def __init__(self, database: Database, run_id: int, pairing_mode: PairingMode) -> None:
        self._database, self._run_id, self._pairing_mode = database, run_id, pairing_mode
        self.one_sided_prompts = 0

    def __iter__(self) -> Iterator[CandidatePair]:
        # groupby needs its rows in order; the pages come sorted by prompt, so a prompt may span two of them.
        for run_prompt_id, judged_rows in itertools.groupby(self._judged_candidates(), key=lambda pair: pair[0]):
            prompt_pairs = pair_candidates(
                run_prompt_id, [judged_candidate for _, judged_candidate in judged_rows], self._pairing_mode
            )
            self.one_sided_prompts += not prompt_pairs
            yield from prompt_pairs

    def _judged_candidates(self) -> Iterator[tuple[int, JudgedCandidate]]:
        # By place and not by offset: pages stay whole while verdicts come in, and the last is as quick as the first.
        last_position = (0, 0)
        while row_page := self._candidate_page(last_position):
            for candidate_row in row_page:
                yield candidate_row.run_prompt_id, _judged_candidate(candidate_row)
            last_position = (row_page[-1].run_prompt_id, row_page[-1].slot)

    def _candidate_page(self, last_position: tuple[int, int]) -> Sequence[Any]:
        run_prompt_id, slot_index = last_position
        after_condition = (Candidate.run_prompt_id > run_prompt_id) | (
            (Candidate.run_prompt_id == run_prompt_id) & (Candidate.slot > slot_index)
        )
        with self._database.read() as session:
            pair_run, second_verdict = session.get_one(PairRun, self._run_id), aliased(Verdict)
            candidate_query = (
                select(
                    Candidate.id,
                    Candidate.run_prompt_id,
                    Candidate.slot,
                    Candidate.text,
                    Verdict.value,
                    Verdict.scale,
                    Verdict.dimensions,
                    second_verdict.value.label("again"),
                    second_verdict.scale.label("again_scale"),
                )
                .select_from(Candidate)
                # Inner join: a candidate without a verdict is
                # unscored, which is neither accepted nor refused.
                .join(Verdict, is_current_verdict(pair_run.judge_id))
                # Outer join: most candidates were never put to the second judge.
                .outerjoin(second_verdict, is_current_verdict(pair_run.second_judge_id, second_verdict))
                .where(Candidate.run_id == self._run_id, Verdict.value.is_not(None), after_condition)
                .order_by(Candidate.run_prompt_id, Candidate.slot)
                .limit(CHUNK)
            )
            return session.execute(candidate_query).all()


def _judged_candidate(candidate_row: Any) -> JudgedCandidate:
    dimensions = candidate_row.dimensions or {}
    merit_count, fault_count = (len(dimensions.get(dimension_name) or ()) for dimension_name in ("merits", "faults"))
    # Of two with the same value the one with more praise and less blame is the stronger.
    strength = candidate_row.value + 0.001 * (merit_count - fault_count)
    second_accepts = (
        None if candidate_row.again is None else is_excellent(candidate_row.again, candidate_row.again_scale)
    )
    return JudgedCandidate(
        candidate_row.id,
        candidate_row.text,
        is_excellent(candidate_row.value, candidate_row.scale),
        strength,
        second_accepts,
    )
