"""The last stage: accepted over refused, balanced, stored; a share of the pairs goes to people first.

Streams over the candidates; of each possible pair only ids and surface features stay in memory.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from backend.agents.balance import Balance, Texts, balance
from backend.agents.pairing import Judged, Pairing, pair_up
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairDecision, PairRun, RunPair
from backend.db.tables import PreferencePair, Verdict
from backend.pairs.moves import follow
from backend.pairs.records import PairRequest, Report
from backend.pairs.verdicts import LIMITS, current_of
from backend.pairs.vocabulary import PairState

CHUNK = 1_000


@dataclass
class _Possible:
    """What stays in memory of a possible pair."""

    prompt: int
    chosen: int
    rejected: int
    difference: float


def emit(database: Database, run_id: int, request: PairRequest) -> Report:
    """Make the pairs of a run anew, except those that somebody decided or that are with people."""
    possible: list[_Possible] = []
    sides = Sides(database, run_id, request)
    found = balance(_noted(sides, possible), by_length=request.balance_length, by_style=request.balance_style)
    _clear(database, run_id)
    for start in range(0, len(found.kept), CHUNK):
        part = [possible[index] for index in found.kept[start : start + CHUNK]]
        with database.write() as session:
            _store(session, run_id, part)
    return _report(found, sides.one_sided)


class Sides:
    """The possible pairs of a run, prompt by prompt; counts the prompts that all went one way."""

    def __init__(self, database: Database, run_id: int, request: PairRequest) -> None:
        self._database, self._run_id, self._way = database, run_id, request.way
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
            judge = session.get_one(PairRun, self._run_id).judge_id
            query = (
                select(
                    Candidate.id,
                    Candidate.run_prompt_id,
                    Candidate.slot,
                    Candidate.text,
                    Verdict.value,
                    Verdict.scale,
                    Verdict.dimensions,
                )
                .join(Verdict, current_of(judge))
                .where(Candidate.run_id == self._run_id, Verdict.value.is_not(None), beyond)
                .order_by(Candidate.run_prompt_id, Candidate.slot)
                .limit(CHUNK)
            )
            return session.execute(query).all()


def _judged(row: Any) -> Judged:
    details = row.dimensions or {}
    merits, faults = (len(details.get(name) or ()) for name in ("merits", "faults"))
    # Of two with the same value the one with more praise and less blame is the stronger.
    return Judged(row.id, row.text, row.value >= LIMITS[row.scale], row.value + 0.001 * (merits - faults))


def _noted(sides: "Sides", possible: list[_Possible]) -> Iterator[Texts]:
    for pair in sides:
        possible.append(_Possible(pair.prompt, pair.chosen.id, pair.rejected.id, pair.difference))
        yield Texts(pair.prompt, pair.chosen.text, pair.rejected.text, pair.surety)


def _clear(database: Database, run_id: int) -> None:
    """Take back what an earlier attempt proposed and nobody touched."""
    while True:
        with database.write() as session:
            touched = select(PairDecision.id).where(PairDecision.pair_id == RunPair.id).exists()
            rows = session.execute(
                select(RunPair.id, RunPair.chosen_id, RunPair.rejected_id)
                .where(RunPair.run_id == run_id, RunPair.state == PairState.PROPOSED, ~touched)
                .limit(CHUNK)
            ).all()
            if not rows:
                return
            _unemit(session, run_id, rows)
            session.execute(delete(RunPair).where(RunPair.id.in_([row.id for row in rows])))


def _unemit(session: Session, run_id: int, rows: Sequence[Any]) -> None:
    dataset = session.get_one(PairRun, run_id).dataset_id
    sides = {id_ for row in rows for id_ in (row.chosen_id, row.rejected_id)}
    greeting = dict(
        session.execute(select(Candidate.id, Candidate.greeting_id).where(Candidate.id.in_(sides))).all()
    )
    for row in rows:
        session.execute(
            delete(PreferencePair).where(
                PreferencePair.dataset_id == dataset,
                PreferencePair.chosen_id == greeting[row.chosen_id],
                PreferencePair.rejected_id == greeting[row.rejected_id],
            )
        )


def _store(session: Session, run_id: int, part: Sequence[_Possible]) -> None:
    known = set(
        session.execute(
            select(RunPair.chosen_id, RunPair.rejected_id).where(
                RunPair.run_id == run_id, RunPair.chosen_id.in_([one.chosen for one in part])
            )
        ).all()
    )
    rows = [
        {
            "run_id": run_id,
            "run_prompt_id": one.prompt,
            "chosen_id": one.chosen,
            "rejected_id": one.rejected,
            "difference": one.difference,
            "state": PairState.PROPOSED,
        }
        for one in part
        if (one.chosen, one.rejected) not in known
    ]
    if rows:
        follow(session, list(session.scalars(insert(RunPair).returning(RunPair.id), rows)))


def _report(found: Balance, one_sided: int) -> Report:
    return Report(
        possible=found.before.pairs,
        before=found.before,
        after=found.after,
        lost_to_length=found.lost_to_length,
        lost_to_style=found.lost_to_style,
        one_sided=one_sided,
    )
