"""How often locked labels were opened before: what a run says of them holds for the first opening."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.db.principle_tables import PrincipleComparison, PrincipleRun, PrincipleStep
from backend.principles.labels import Part
from backend.principles.vocabulary import Phase


@dataclass(frozen=True)
class Uses:
    """Who read locked labels of a run before it did: runs that opened any of them at their end, and
    comparisons of two versions on the same data."""

    runs: tuple[int, ...] = ()
    comparisons: int = 0

    @property
    def number(self) -> int:
        """The how-manieth use this one is, from 1."""
        return len(self.runs) + self.comparisons + 1


def uses_before(session: Session, run_id: int) -> Uses:
    """Uses before this run opened its locked set; until now where it has not."""
    run = session.get_one(PrincipleRun, run_id)
    opened = session.scalar(
        select(PrincipleStep.created_at).filter_by(run_id=run_id, phase=Phase.LOCKED.value)
    )
    locked = {id_ for id_, _ in run.labels[Part.LOCKED.value]}
    return uses_of(session, run.dataset, locked, opened, run_id)


def uses_of(
    session: Session,
    dataset: str,
    locked: Collection[int],
    until: datetime | None = None,
    but: int | None = None,
) -> Uses:
    """Uses of these greetings' labels before `until`, run `but` apart."""
    steps = (
        select(PrincipleStep.run_id, PrincipleRun.labels[Part.LOCKED.value])
        .join(PrincipleRun, PrincipleRun.id == PrincipleStep.run_id)
        .where(PrincipleStep.phase == Phase.LOCKED.value)
        .order_by(PrincipleStep.id)
    )
    # Comparisons read every label of their data set, the locked ones too.
    compared = select(func.count(PrincipleComparison.id)).where(
        PrincipleComparison.dataset == dataset, PrincipleComparison.result.is_not(None)
    )
    if until is not None:
        steps = steps.where(PrincipleStep.created_at < until)
        compared = compared.where(PrincipleComparison.created_at < until)
    known = set(locked)
    runs = [
        run for run, labels in session.execute(steps) if run != but and any(id_ in known for id_, _ in labels)
    ]
    return Uses(tuple(runs), session.scalar(compared) or 0)
