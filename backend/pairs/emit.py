"""The last stage: accepted over refused, balanced, stored; a share of the pairs goes to people first.

Streams over the candidates; of each possible pair only ids and surface features stay in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from backend.agents.balance import BalanceResult, PairTexts, balance_pairs
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairDecision, PairRun, RunPair
from backend.db.tables import PreferencePair
from backend.pairs.moves import sync_dataset
from backend.pairs.records import PairingReport, PairRequest
from backend.pairs.sides import CHUNK, PossiblePairs
from backend.pairs.vocabulary import PairState


@dataclass
class _PossiblePair:
    """What stays in memory of a possible pair."""

    run_prompt_id: int
    chosen_id: int
    rejected_id: int
    difference: float


def emit_pairs(database: Database, run_id: int, request: PairRequest) -> PairingReport:
    """Make the pairs of a run anew, except those that somebody decided or that are with people."""
    collected_pairs: list[_PossiblePair] = []
    possible_pairs = PossiblePairs(database, run_id, request.way)
    balance_result = balance_pairs(
        _collect_texts(possible_pairs, collected_pairs),
        by_length=request.balance_length,
        by_style=request.balance_style,
        second_judged=request.second is not None,
    )
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
            has_decision = select(PairDecision.id).where(PairDecision.pair_id == RunPair.id).exists()
            pair_rows = session.execute(
                select(RunPair.id, RunPair.chosen_id, RunPair.rejected_id)
                .where(RunPair.run_id == run_id, RunPair.state == PairState.PROPOSED, ~has_decision)
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
                PreferencePair.chosen_id == greeting_by_candidate[pair_row.chosen_id],
                PreferencePair.rejected_id == greeting_by_candidate[pair_row.rejected_id],
            )
        )


def _store(session: Session, run_id: int, pair_batch: Sequence[_PossiblePair]) -> None:
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
