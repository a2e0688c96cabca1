"""The possible pairs of a run, prompt by prompt, with both judges' verdicts; a page at a time in memory."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import aliased

from backend.agents.pairing import CandidatePair, JudgedCandidate, PairingMode, pair_candidates
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun
from backend.db.tables import Verdict
from backend.pairs.verdicts import ACCEPTED_FROM, is_current_verdict

CHUNK = 1_000


class PossiblePairs:
    """The possible pairs of a run, prompt by prompt; counts the prompts that all went one way."""

    def __init__(self, database: Database, run_id: int, pairing_mode: PairingMode) -> None:
        self._database, self._run_id, self._pairing_mode = database, run_id, pairing_mode
        self.one_sided_prompts = 0

    def __iter__(self) -> Iterator[CandidatePair]:
        for run_prompt_id, judged_rows in itertools.groupby(self._judged_candidates(), key=lambda pair: pair[0]):
            prompt_pairs = pair_candidates(
                run_prompt_id, [judged_candidate for _, judged_candidate in judged_rows], self._pairing_mode
            )
            self.one_sided_prompts += not prompt_pairs
            yield from prompt_pairs

    def _judged_candidates(self) -> Iterator[tuple[int, JudgedCandidate]]:
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
                .join(Verdict, is_current_verdict(pair_run.judge_id))
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
        None if candidate_row.again is None else candidate_row.again >= ACCEPTED_FROM[candidate_row.again_scale]
    )
    return JudgedCandidate(
        candidate_row.id,
        candidate_row.text,
        candidate_row.value >= ACCEPTED_FROM[candidate_row.scale],
        strength,
        second_accepts,
    )
