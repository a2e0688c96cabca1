"""Two judges on the same greetings, side by side, the disagreements first where that is wished."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from backend.db.tables import Greeting, Prompt, Verdict
from backend.scoring.records import Beside, BesidePage, Opinion
from backend.vocabulary import RUBRIC_EXCELLENT, Scale

_LIMITS = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT}


def beside(
    session: Session, first_id: int, second_id: int, *, differ: bool, offset: int, limit: int
) -> BesidePage:
    """Greetings that both judges came to. `differ` keeps those on which one says good and the other not,
    or gives no verdict at all; judges whose scale has no such line are kept as they are."""
    first, second = aliased(Verdict), aliased(Verdict)
    conditions = [_current(first, first_id), _current(second, second_id)]
    if differ:
        conditions.append(_differ(session, first, second, first_id, second_id))
    joined = (
        select(Greeting.id, Prompt.text, Greeting.text, first, second)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .join(first, first.greeting_id == Greeting.id)
        .join(second, second.greeting_id == Greeting.id)
        .where(*conditions)
    )
    total = session.scalar(select(func.count()).select_from(joined.subquery())) or 0
    rows = session.execute(joined.order_by(Greeting.id).offset(offset).limit(limit))
    return BesidePage(total, tuple(_row(row) for row in rows))


def _row(row: Sequence[Any]) -> Beside:
    greeting_id, prompt, text, first, second = row
    return Beside(greeting_id, prompt, text, _opinion(first), _opinion(second))


def _opinion(verdict: Verdict) -> Opinion:
    return Opinion(verdict.value, verdict.reason, verdict.dimensions or {})


def _current(verdict: Any, rater_id: int) -> ColumnElement[bool]:
    newer = aliased(Verdict)
    return and_(
        verdict.rater_id == rater_id,
        verdict.item_id.is_(None),
        ~exists().where(newer.supersedes_id == verdict.id),
    )


def _differ(session: Session, first: Any, second: Any, first_id: int, second_id: int) -> ColumnElement[bool]:
    one_silent = first.value.is_(None) != second.value.is_(None)
    limits = [_limit(session, rater_id) for rater_id in (first_id, second_id)]
    if None in limits:
        return or_(one_silent, first.value.is_not(None))
    return or_(one_silent, (first.value >= limits[0]) != (second.value >= limits[1]))


def _limit(session: Session, rater_id: int) -> float | None:
    scale = session.scalar(select(Verdict.scale).where(Verdict.rater_id == rater_id).limit(1))
    return _LIMITS.get(scale) if scale else None
