"""How often locked labels were opened before: what a run says of them holds for the first opening only."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.core.enums import GamePhase
from backend.db.principle_tables import (
    PrincipleComparison,
    PrincipleRun,
    PrincipleStep,
)
from backend.principles.algorithm.labels import GamePartition


@dataclass(frozen=True)
class LockedSetUses:
    """Who read locked labels of a run before it did: runs that opened any of them at their end, and
    comparisons of two versions on the same data."""

    runs: tuple[int, ...] = ()
    comparisons: int = 0

    @property
    def number(self) -> int:
        """The how-manieth use this one is, from 1."""
        return len(self.runs) + self.comparisons + 1


def uses_before(session: Session, run_id: int) -> LockedSetUses:
    """Uses before this run opened its locked set; until now where it has not."""
    run_row = session.get_one(PrincipleRun, run_id)
    opened_at = session.scalar(select(PrincipleStep.created_at).filter_by(run_id=run_id, phase=GamePhase.LOCKED.value))
    locked_ids = {greeting_id for greeting_id, _ in run_row.labels[GamePartition.LOCKED.value]}
    return count_uses(session, run_row.dataset, locked_ids, opened_at, run_id)


def count_uses(
    session: Session,
    dataset_name: str,
    locked_ids: Collection[int],
    before_time: datetime | None = None,
    excluded_run: int | None = None,
) -> LockedSetUses:
    """Uses of these greetings' labels before a moment (None: until now), those by one run left out."""
    step_query = (
        select(PrincipleStep.run_id, PrincipleRun.labels[GamePartition.LOCKED.value])
        .join(PrincipleRun, PrincipleRun.id == PrincipleStep.run_id)
        # A run that stopped before this phase has read nothing of its locked set.
        .where(PrincipleStep.phase == GamePhase.LOCKED.value)
        .order_by(PrincipleStep.id)
    )
    # Comparisons read every label of their data set, the locked ones too.
    comparison_query = select(func.count(PrincipleComparison.id)).where(
        PrincipleComparison.dataset == dataset_name, PrincipleComparison.result.is_not(None)
    )
    if before_time is not None:
        step_query = step_query.where(PrincipleStep.created_at < before_time)
        comparison_query = comparison_query.where(PrincipleComparison.created_at < before_time)
    locked_set = set(locked_ids)
    run_ids = [
        run_id
        for run_id, label_rows in session.execute(step_query)
        # One shared greeting is enough: whoever chose by that run has chosen by part of this set.
        if run_id != excluded_run and any(greeting_id in locked_set for greeting_id, _ in label_rows)
    ]
    return LockedSetUses(tuple(run_ids), session.scalar(comparison_query) or 0)
