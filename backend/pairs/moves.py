"""What stands in the data set: `preference_pairs` follows the state of every pair of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from backend.db.insert import insert_ignore
from backend.db.pair_tables import Candidate, PairDecision, PairRun, RunPair, RunPrompt
from backend.db.tables import PreferencePair
from backend.pairs.vocabulary import CONFIRMED, LABELLED_BY_JUDGE, USED, Decider, PairState

BATCH = 400


@dataclass(frozen=True)
class Move:
    """One pair into a state, by whom and why."""

    pair: int
    state: PairState
    by: Decider
    name: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Stored:
    id: int
    state: PairState
    dataset: int
    prompt: int | None
    chosen: int | None
    rejected: int | None


def move(session: Session, moves: Sequence[Move]) -> None:
    """Write decisions down, set the states, and let the data set follow."""
    for start in range(0, len(moves), BATCH):
        part = moves[start : start + BATCH]
        session.add_all(
            PairDecision(pair_id=one.pair, state=one.state, decided_by=one.by, name=one.name, note=one.note)
            for one in part
        )
        session.execute(update(RunPair), [{"id": one.pair, "state": one.state} for one in part])
        session.flush()
        follow(session, [one.pair for one in part])


def follow(session: Session, pair_ids: Sequence[int]) -> None:
    """Make the data set say what the states of these pairs say."""
    for start in range(0, len(pair_ids), BATCH):
        stored = _stored(session, pair_ids[start : start + BATCH])
        both = [(pair.dataset, a, b) for pair in stored for a, b in _orders(pair)]
        standing = tuple_(PreferencePair.dataset_id, PreferencePair.chosen_id, PreferencePair.rejected_id)
        session.execute(delete(PreferencePair).where(standing.in_(both)))
        insert_ignore(session, PreferencePair, [_row(pair) for pair in stored if pair.state in USED])


def _orders(pair: _Stored) -> list[tuple[int | None, int | None]]:
    return [(pair.chosen, pair.rejected), (pair.rejected, pair.chosen)]


def _row(pair: _Stored) -> dict[str, object]:
    chosen, rejected = _orders(pair)[pair.state is PairState.FLIPPED]
    return {
        "dataset_id": pair.dataset,
        "prompt_id": pair.prompt,
        "chosen_id": chosen,
        "rejected_id": rejected,
        "origin": LABELLED_BY_JUDGE if pair.state is PairState.PROPOSED else CONFIRMED,
    }


def _stored(session: Session, pair_ids: Sequence[int]) -> list[_Stored]:
    chosen, rejected = aliased(Candidate), aliased(Candidate)
    rows = session.execute(
        select(
            RunPair.id,
            RunPair.state,
            PairRun.dataset_id,
            RunPrompt.prompt_id,
            chosen.greeting_id,
            rejected.greeting_id,
        )
        .join(PairRun, PairRun.id == RunPair.run_id)
        .join(RunPrompt, RunPrompt.id == RunPair.run_prompt_id)
        .join(chosen, chosen.id == RunPair.chosen_id)
        .join(rejected, rejected.id == RunPair.rejected_id)
        .where(RunPair.id.in_(pair_ids))
    )
    return [_Stored(*row) for row in rows]
