"""Two judges on the same greetings, side by side, the disagreements first where that is wished."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from backend.db.tables import Greeting, Prompt, Verdict
from backend.scoring.records import Opinion, OpinionPair, OpinionPairPage
from backend.vocabulary import RUBRIC_EXCELLENT, Scale

_GOOD_THRESHOLDS = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT}


def load_opinion_pairs(
    session: Session,
    first_judge_id: int,
    second_judge_id: int,
    *,
    only_disagreements: bool,
    offset: int,
    limit: int,
) -> OpinionPairPage:
    """Greetings that both judges came to. `differ` keeps those on which one says good and the other not,
    or gives no verdict at all; judges whose scale has no such line are kept as they are."""
    first_verdict, second_verdict = aliased(Verdict), aliased(Verdict)
    conditions = [
        _is_current_verdict(first_verdict, first_judge_id),
        _is_current_verdict(second_verdict, second_judge_id),
    ]
    if only_disagreements:
        conditions.append(_judges_disagree(session, first_verdict, second_verdict, first_judge_id, second_judge_id))
    joined_query = (
        select(Greeting.id, Prompt.text, Greeting.text, first_verdict, second_verdict)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .join(first_verdict, first_verdict.greeting_id == Greeting.id)
        .join(second_verdict, second_verdict.greeting_id == Greeting.id)
        .where(*conditions)
    )
    total_count = session.scalar(select(func.count()).select_from(joined_query.subquery())) or 0
    page_rows = session.execute(joined_query.order_by(Greeting.id).offset(offset).limit(limit))
    return OpinionPairPage(total_count, tuple(_build_opinion_pair(page_row) for page_row in page_rows))


def _build_opinion_pair(columns: Sequence[Any]) -> OpinionPair:
    greeting_id, prompt_text, greeting_text, first_verdict, second_verdict = columns
    return OpinionPair(
        greeting_id, prompt_text, greeting_text, _build_opinion(first_verdict), _build_opinion(second_verdict)
    )


def _build_opinion(verdict: Verdict) -> Opinion:
    return Opinion(verdict.value, verdict.reason, verdict.dimensions or {})


def _is_current_verdict(verdict: Any, rater_id: int) -> ColumnElement[bool]:
    newer_verdict = aliased(Verdict)
    return and_(
        verdict.rater_id == rater_id,
        verdict.item_id.is_(None),
        ~exists().where(newer_verdict.supersedes_id == verdict.id),
    )


def _judges_disagree(
    session: Session, first_verdict: Any, second_verdict: Any, first_judge_id: int, second_judge_id: int
) -> ColumnElement[bool]:
    one_unscored = first_verdict.value.is_(None) != second_verdict.value.is_(None)
    thresholds = [_good_threshold(session, rater_id) for rater_id in (first_judge_id, second_judge_id)]
    if None in thresholds:
        return or_(one_unscored, first_verdict.value.is_not(None))
    return or_(one_unscored, (first_verdict.value >= thresholds[0]) != (second_verdict.value >= thresholds[1]))


def _good_threshold(session: Session, rater_id: int) -> float | None:
    verdict_scale = session.scalar(select(Verdict.scale).where(Verdict.rater_id == rater_id).limit(1))
    return _GOOD_THRESHOLDS.get(verdict_scale) if verdict_scale else None
