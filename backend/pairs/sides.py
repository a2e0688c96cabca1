"""The possible pairs of a run, prompt by prompt, with both judges' verdicts; a page at a time in memory."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import aliased

from backend.agents.pairing import Judged, Pairing, Way, pair_up
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun
from backend.db.tables import Verdict
from backend.pairs.verdicts import LIMITS, current_of

CHUNK = 1_000


class Sides:
    """The possible pairs of a run, prompt by prompt; counts the prompts that all went one way."""

    def __init__(self, database: Database, run_id: int, way: Way) -> None:
        self._database, self._run_id, self._way = database, run_id, way
        self.one_sided = 0

    def __iter__(self) -> Iterator[Pairing]:
        for prompt, judged in itertools.groupby(self._judged(), key=lambda pair: pair[0]):
            pairs = pair_up(prompt, [one for _, one in judged], self._way)
            self.one_sided += not pairs
            yield from pairs

    def _judged(self) -> Iterator[tuple[int, Judged]]:
        after = (0, 0)
        while page := self._page(after):
            for row in page:
                yield row.run_prompt_id, _judged(row)
            after = (page[-1].run_prompt_id, page[-1].slot)

    def _page(self, after: tuple[int, int]) -> Sequence[Any]:
        prompt, slot = after
        beyond = (Candidate.run_prompt_id > prompt) | (
            (Candidate.run_prompt_id == prompt) & (Candidate.slot > slot)
        )
        with self._database.read() as session:
            run, second = session.get_one(PairRun, self._run_id), aliased(Verdict)
            query = (
                select(
                    Candidate.id,
                    Candidate.run_prompt_id,
                    Candidate.slot,
                    Candidate.text,
                    Verdict.value,
                    Verdict.scale,
                    Verdict.dimensions,
                    second.value.label("again"),
                    second.scale.label("again_scale"),
                )
                .select_from(Candidate)
                .join(Verdict, current_of(run.judge_id))
                .outerjoin(second, current_of(run.second_judge_id, second))
                .where(Candidate.run_id == self._run_id, Verdict.value.is_not(None), beyond)
                .order_by(Candidate.run_prompt_id, Candidate.slot)
                .limit(CHUNK)
            )
            return session.execute(query).all()


def _judged(row: Any) -> Judged:
    details = row.dimensions or {}
    merits, faults = (len(details.get(name) or ()) for name in ("merits", "faults"))
    # Of two with the same value the one with more praise and less blame is the stronger.
    strength = row.value + 0.001 * (merits - faults)
    again = None if row.again is None else row.again >= LIMITS[row.again_scale]
    return Judged(row.id, row.text, row.value >= LIMITS[row.scale], strength, again)
