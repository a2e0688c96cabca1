"""The verdict of a run's judge on a candidate, and from which value on it accepts one."""

from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import aliased

from backend.db.pair_tables import Candidate
from backend.db.tables import Verdict
from backend.vocabulary import RUBRIC_EXCELLENT, Scale

ACCEPTED_FROM = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT}
"""From which value on a judge accepts. A judge whose scale has no such line cannot label."""


def is_current_verdict(
    judge_id: int | None, verdict_table: Any = Verdict, candidate_table: Any = Candidate
) -> ColumnElement[bool]:
    """The join of candidates with what the judge says of them now."""
    newer_verdict = aliased(Verdict)
    return and_(
        verdict_table.greeting_id == candidate_table.greeting_id,
        verdict_table.rater_id == judge_id,
        verdict_table.item_id.is_(None),
        ~select(newer_verdict.id).where(newer_verdict.supersedes_id == verdict_table.id).exists(),
    )


def is_accepted() -> ColumnElement[bool]:
    """The condition that a verdict accepts."""
    return or_(
        *(
            and_(Verdict.scale == judge_scale, Verdict.value >= lowest_accepted)
            for judge_scale, lowest_accepted in ACCEPTED_FROM.items()
        )
    )
