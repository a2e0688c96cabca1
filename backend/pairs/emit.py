"""The last stage: accepted over refused, balanced, stored; a share of the pairs goes to people first.

Streams over the candidates; of each possible pair only ids and surface features stay in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from backend.agents.balance import Balance, Texts, balance
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairDecision, PairRun, RunPair
from backend.db.tables import PreferencePair
from backend.pairs.moves import follow
from backend.pairs.records import PairRequest, Report
from backend.pairs.sides import CHUNK, Sides
from backend.pairs.vocabulary import PairState


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
    sides = Sides(database, run_id, request.way)
    found = balance(
        _noted(sides, possible),
        by_length=request.balance_length,
        by_style=request.balance_style,
        twice=request.second is not None,
    )
    _clear(database, run_id)
    for start in range(0, len(found.kept), CHUNK):
        part = [possible[index] for index in found.kept[start : start + CHUNK]]
        with database.write() as session:
            _store(session, run_id, part)
    return _report(found, sides.one_sided)


def _noted(sides: "Sides", possible: list[_Possible]) -> Iterator[Texts]:
    for pair in sides:
        possible.append(_Possible(pair.prompt, pair.chosen.id, pair.rejected.id, pair.difference))
        yield Texts(pair.prompt, pair.chosen.text, pair.rejected.text, pair.surety, pair.holds)


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
        lost_to_second=found.lost_to_second,
    )
