"""What stands in the data set: `preference_pairs` follows the state of every pair of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from backend.db.insert import insert_ignore
from backend.db.pair_tables import Candidate, PairDecision, PairRun, RunPair, RunPrompt
from backend.db.tables import PreferencePair
from backend.pairs.vocabulary import CONFIRMED_BY_PEOPLE, LABELLED_BY_JUDGE, USABLE_STATES, Decider, PairState

BATCH = 400


@dataclass(frozen=True)
class StateChange:
    """One pair into a state, by whom and why."""

    pair_id: int
    state: PairState
    decided_by: Decider
    name: str = ""
    note: str = ""


@dataclass(frozen=True)
class _StoredPair:
    id: int
    state: PairState
    dataset_id: int
    prompt_id: int | None
    chosen_id: int | None
    rejected_id: int | None


def apply_changes(session: Session, changes: Sequence[StateChange]) -> None:
    """Write decisions down, set the states, and let the data set follow."""
    for batch_start in range(0, len(changes), BATCH):
        change_batch = changes[batch_start : batch_start + BATCH]
        session.add_all(
            PairDecision(
                pair_id=state_change.pair_id,
                state=state_change.state,
                decided_by=state_change.decided_by,
                name=state_change.name,
                note=state_change.note,
            )
            for state_change in change_batch
        )
        session.execute(
            update(RunPair),
            [{"id": state_change.pair_id, "state": state_change.state} for state_change in change_batch],
        )
        session.flush()
        sync_dataset(session, [state_change.pair_id for state_change in change_batch])


def sync_dataset(session: Session, pair_ids: Sequence[int]) -> None:
    """Make the data set say what the states of these pairs say."""
    for batch_start in range(0, len(pair_ids), BATCH):
        stored_pairs = _load_pairs(session, pair_ids[batch_start : batch_start + BATCH])
        dataset_keys = [
            (stored_pair.dataset_id, first_id, second_id)
            for stored_pair in stored_pairs
            for first_id, second_id in _both_orders(stored_pair)
        ]
        preference_key = tuple_(PreferencePair.dataset_id, PreferencePair.chosen_id, PreferencePair.rejected_id)
        session.execute(delete(PreferencePair).where(preference_key.in_(dataset_keys)))
        insert_ignore(
            session,
            PreferencePair,
            [_preference_row(stored_pair) for stored_pair in stored_pairs if stored_pair.state in USABLE_STATES],
        )


def _both_orders(stored_pair: _StoredPair) -> list[tuple[int | None, int | None]]:
    return [
        (stored_pair.chosen_id, stored_pair.rejected_id),
        (stored_pair.rejected_id, stored_pair.chosen_id),
    ]


def _preference_row(stored_pair: _StoredPair) -> dict[str, object]:
    chosen_id, rejected_id = _both_orders(stored_pair)[stored_pair.state is PairState.FLIPPED]
    return {
        "dataset_id": stored_pair.dataset_id,
        "prompt_id": stored_pair.prompt_id,
        "chosen_id": chosen_id,
        "rejected_id": rejected_id,
        "origin": LABELLED_BY_JUDGE if stored_pair.state is PairState.PROPOSED else CONFIRMED_BY_PEOPLE,
    }


def _load_pairs(session: Session, pair_ids: Sequence[int]) -> list[_StoredPair]:
    chosen_candidate, rejected_candidate = aliased(Candidate), aliased(Candidate)
    pair_rows = session.execute(
        select(
            RunPair.id,
            RunPair.state,
            PairRun.dataset_id,
            RunPrompt.prompt_id,
            chosen_candidate.greeting_id,
            rejected_candidate.greeting_id,
        )
        .join(PairRun, PairRun.id == RunPair.run_id)
        .join(RunPrompt, RunPrompt.id == RunPair.run_prompt_id)
        .join(chosen_candidate, chosen_candidate.id == RunPair.chosen_id)
        .join(rejected_candidate, rejected_candidate.id == RunPair.rejected_id)
        .where(RunPair.id.in_(pair_ids))
    )
    return [_StoredPair(*pair_row) for pair_row in pair_rows]
