"""The verdict of a run's judge on a candidate, and from which value on it accepts one."""

from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import aliased

from backend.db.pair_tables import Candidate
from backend.db.tables import Verdict
from backend.vocabulary import RUBRIC_EXCELLENT, Scale

LIMITS = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT}
"""From which value on a judge accepts. A judge whose scale has no such line cannot label."""


def current_of(
    judge_id: int | None, verdict: Any = Verdict, candidate: Any = Candidate
) -> ColumnElement[bool]:
    """The join of candidates with what the judge says of them now."""
    newer = aliased(Verdict)
    return and_(
        verdict.greeting_id == candidate.greeting_id,
        verdict.rater_id == judge_id,
        verdict.item_id.is_(None),
        ~select(newer.id).where(newer.supersedes_id == verdict.id).exists(),
    )


def accepted() -> ColumnElement[bool]:
    """The condition that a verdict accepts."""
    return or_(*(and_(Verdict.scale == scale, Verdict.value >= limit) for scale, limit in LIMITS.items()))
