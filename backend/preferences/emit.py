"""Accepted over refused, balanced, second opinions applied, stored; the data set follows the state of every pair."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, insert, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from backend.core.enums import CONFIRMED_BY_PEOPLE, LABELLED_BY_JUDGE, USABLE_STATES, Decider, PairState
from backend.core.text import strip_white_space
from backend.db.base import in_batches, insert_ignore
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairDecision, PairRun, RunPair, RunPrompt
from backend.db.tables import PreferencePair
from backend.judges.base import JudgeSpec
from backend.preferences.balance import BalanceResult, PairTexts, balance_pairs, scarce_pairs
from backend.preferences.pairing import CHUNK, PossiblePairs
from backend.preferences.records import PairingReport, PairRequest

# The second draw is a judge of its own by name: under the first one's it would pass for its newer version.
AGAIN_SUFFIX = " again"
# Temperature of a judge that is asked once more: at 0 it would say the same again.
SECOND_TEMPERATURE = 0.7
# Of the candidates, how many are judged twice: about as in the measured runs (docs/experiments.md).
SECOND_JUDGED_SHARE = 0.15
# Characters of a judge's name; the stem is cut, never the suffix that keeps its verdicts apart.
_LONGEST_NAME = 60


def redrawn_judge(judge_spec: JudgeSpec) -> JudgeSpec:
    """The same judge at another draw, under a name that says so."""
    judge_config = dict(judge_spec.config)
    judge_config |= {"temperature": max(float(judge_config.get("temperature") or 0), SECOND_TEMPERATURE)}
    # Another seed as well: a judge that is as warm already would
    # be answered from the ledger, with its own first reply.
    judge_config |= {"seed": int(judge_config.get("seed") or 0) + 1}
    return replace(
        judge_spec,
        name=judge_spec.name[: _LONGEST_NAME - len(AGAIN_SUFFIX)] + AGAIN_SUFFIX,
        config=judge_config,
    )


def mark(database: Database, run_id: int, request: PairRequest) -> int:
    """Mark the candidates of scarce pairs for a second verdict; returns how many. The same verdicts mark the same."""
    candidate_ids, length_pairs = [], []
    for chosen_id, rejected_id, side_lengths in _pair_lengths(PossiblePairs(database, run_id, request.way)):
        candidate_ids.append((chosen_id, rejected_id))
        length_pairs.append(side_lengths)
    # A set, because one candidate stands in several pairs, and its verdict is paid for once.
    marked_ids = sorted(
        {
            candidate_id
            for id_pair, is_scarce in zip(candidate_ids, scarce_pairs(length_pairs), strict=True)
            if is_scarce
            for candidate_id in id_pair
        }
    )
    # A transaction a batch: annotations come in between. Marks are idempotent, so a kill here costs nothing.
    for id_batch in in_batches(marked_ids):
        with database.write() as session:
            session.execute(update(Candidate).where(Candidate.id.in_(id_batch)).values(twice=True))
    return len(marked_ids)


def _pair_lengths(possible_pairs: PossiblePairs) -> Iterator[tuple[int, int, tuple[int, int]]]:
    for candidate_pair in possible_pairs:
        side_lengths = (
            len(strip_white_space(candidate_pair.chosen.text)),
            len(strip_white_space(candidate_pair.rejected.text)),
        )
        # Lengths and ids only: two numbers a pair stay in memory, not its texts.
        yield candidate_pair.chosen.id, candidate_pair.rejected.id, side_lengths


# Pairs in one statement: each binds six values in the
# DELETE below (three in either order), of SQLite's 32,766.
STATE_BATCH = 400


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
    """Write decisions down, set the states, and let the data set follow, within the session's transaction."""
    for change_batch in in_batches(changes, STATE_BATCH):
        # Appended, never changed: a decision that was taken
        # back stays on record, and the last one is the state.
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
        # The states must be in the database before the data set is made to follow them.
        session.flush()
        sync_dataset(session, [state_change.pair_id for state_change in change_batch])


def sync_dataset(session: Session, pair_ids: Sequence[int]) -> None:
    """Bring the data set's preference pairs in line with the states of these pairs: usable ones in, the others out."""
    for id_batch in in_batches(pair_ids, STATE_BATCH):
        stored_pairs = _load_pairs(session, id_batch)
        dataset_keys = [
            (stored_pair.dataset_id, first_id, second_id)
            for stored_pair in stored_pairs
            for first_id, second_id in _both_orders(stored_pair)
        ]
        # Deleted and inserted anew rather than compared: whatever
        # state a pair had, the result depends on the new one.
        preference_key = tuple_(PreferencePair.dataset_id, PreferencePair.chosen_id, PreferencePair.rejected_id)
        session.execute(delete(PreferencePair).where(preference_key.in_(dataset_keys)))
        insert_ignore(
            session,
            PreferencePair,
            [_preference_row(stored_pair) for stored_pair in stored_pairs if stored_pair.state in USABLE_STATES],
        )


# A pair may stand in the data set either way round, depending on the state that it had: both are taken out first.
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
        # Export and training without a data set read confirmed
        # pairs only: a panel's label must not pass for a person's.
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


@dataclass
class _PossiblePair:
    """What stays in memory of a possible pair."""

    run_prompt_id: int
    chosen_id: int
    rejected_id: int
    difference: float


def emit_pairs(database: Database, run_id: int, request: PairRequest) -> PairingReport:
    """Pair the run's judged candidates anew and store what balance keeps; returns the figures for the report.

    Pairs that somebody decided, or that are with people, stay as they are.
    """
    collected_pairs: list[_PossiblePair] = []
    possible_pairs = PossiblePairs(database, run_id, request.way)
    balance_result = balance_pairs(
        _collect_texts(possible_pairs, collected_pairs),
        by_length=request.balance_length,
        by_style=request.balance_style,
        second_judged=request.second is not None,
    )
    # After the balance was computed, so that a run stopped while computing still has its earlier pairs.
    _delete_untouched(database, run_id)
    for batch_start in range(0, len(balance_result.retained_indices), CHUNK):
        pair_batch = [
            collected_pairs[pair_index]
            for pair_index in balance_result.retained_indices[batch_start : batch_start + CHUNK]
        ]
        with database.write() as session:
            _store(session, run_id, pair_batch)
    return _pairing_report(balance_result, possible_pairs.one_sided_prompts)


def _collect_texts(possible_pairs: "PossiblePairs", collected_pairs: list[_PossiblePair]) -> Iterator[PairTexts]:
    for candidate_pair in possible_pairs:
        # A generator with a side effect: balance reads each text once, and only ids and numbers stay behind.
        collected_pairs.append(
            _PossiblePair(
                candidate_pair.run_prompt_id,
                candidate_pair.chosen.id,
                candidate_pair.rejected.id,
                candidate_pair.difference,
            )
        )
        yield PairTexts(
            candidate_pair.run_prompt_id,
            candidate_pair.chosen.text,
            candidate_pair.rejected.text,
            candidate_pair.confidence,
            candidate_pair.confirmed,
        )


def _delete_untouched(database: Database, run_id: int) -> None:
    """Take back what an earlier attempt proposed and nobody touched."""
    while True:
        with database.write() as session:
            # What somebody decided outlives a new pairing, whether or not balance would keep the pair today.
            has_decision = select(PairDecision.id).where(PairDecision.pair_id == RunPair.id).exists()
            pair_rows = session.execute(
                select(RunPair.id, RunPair.chosen_id, RunPair.rejected_id)
                .where(RunPair.run_id == run_id, RunPair.state == PairState.PROPOSED, ~has_decision)
                # The first page each time, since the rows of the last
                # one are gone; a transaction a page lets votes in.
                .limit(CHUNK)
            ).all()
            if not pair_rows:
                return
            _remove_from_dataset(session, run_id, pair_rows)
            session.execute(delete(RunPair).where(RunPair.id.in_([pair_row.id for pair_row in pair_rows])))


def _remove_from_dataset(session: Session, run_id: int, pair_rows: Sequence[Any]) -> None:
    dataset_id = session.get_one(PairRun, run_id).dataset_id
    candidate_ids = {
        candidate_id for pair_row in pair_rows for candidate_id in (pair_row.chosen_id, pair_row.rejected_id)
    }
    greeting_by_candidate = dict(
        session.execute(select(Candidate.id, Candidate.greeting_id).where(Candidate.id.in_(candidate_ids))).all()
    )
    for pair_row in pair_rows:
        session.execute(
            delete(PreferencePair).where(
                PreferencePair.dataset_id == dataset_id,
                # In the judge's order only: a proposed pair was never flipped.
                PreferencePair.chosen_id == greeting_by_candidate[pair_row.chosen_id],
                PreferencePair.rejected_id == greeting_by_candidate[pair_row.rejected_id],
            )
        )


def _store(session: Session, run_id: int, pair_batch: Sequence[_PossiblePair]) -> None:
    # Pairs that survived `_delete_untouched` keep their
    # state; once more they would break the unique constraint.
    stored_pairs = set(
        session.execute(
            select(RunPair.chosen_id, RunPair.rejected_id).where(
                RunPair.run_id == run_id,
                RunPair.chosen_id.in_([possible_pair.chosen_id for possible_pair in pair_batch]),
            )
        ).all()
    )
    new_rows = [
        {
            "run_id": run_id,
            "run_prompt_id": possible_pair.run_prompt_id,
            "chosen_id": possible_pair.chosen_id,
            "rejected_id": possible_pair.rejected_id,
            "difference": possible_pair.difference,
            "state": PairState.PROPOSED,
        }
        for possible_pair in pair_batch
        if (possible_pair.chosen_id, possible_pair.rejected_id) not in stored_pairs
    ]
    if new_rows:
        sync_dataset(session, list(session.scalars(insert(RunPair).returning(RunPair.id), new_rows)))


def _pairing_report(balance_result: BalanceResult, one_sided_count: int) -> PairingReport:
    return PairingReport(
        possible=balance_result.before.pairs,
        before=balance_result.before,
        after=balance_result.after,
        lost_to_length=balance_result.dropped_by_length,
        lost_to_style=balance_result.dropped_by_style,
        one_sided=one_sided_count,
        lost_to_second=balance_result.dropped_by_second,
    )
