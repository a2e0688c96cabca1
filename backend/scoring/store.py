"""Verdicts into the database: small transactions, and a second writing of the same changes nothing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.tables import Comparison, Rater, Verdict
from backend.judges.base import Judgment, PairJudgment
from backend.judges.spec import JudgeSpec
from backend.scoring.targets import STORED_OUTCOMES, WorkItem
from backend.vocabulary import Outcome, RaterKind, Scale

FLIP_REASON = "flip"
"""First reason of a comparison in which the two orders of asking gave opposite winners."""

JudgedWork = tuple[WorkItem, Judgment | PairJudgment]


def ensure_rater_id(
    session: Session,
    judge_name: str,
    judge_version: str,
    judge_scale: Scale | None,
    judge_spec: JudgeSpec | None,
) -> int:
    """The id of the rater that stands for a judge at one version, made where it is new."""
    rater_key = {"kind": RaterKind.JUDGE, "name": judge_name, "version": judge_version}
    rater_config: dict[str, Any] = {"scale": judge_scale.value} if judge_scale else {}
    if judge_spec is not None:
        rater_config["spec"] = judge_spec.plain()
    insert_ignore(session, Rater, [{**rater_key, "config": rater_config}])
    return session.scalars(select(Rater.id).filter_by(**rater_key)).one()


def store(database: Database, rater_id: int, judge_scale: Scale | None, judged_work: Sequence[JudgedWork]) -> None:
    """Keep what was judged."""
    verdicts = [
        _verdict_row(rater_id, judge_scale, work_item, judgment)
        for work_item, judgment in judged_work
        if isinstance(judgment, Judgment)
    ]
    comparisons = [
        _comparison_row(rater_id, work_item, judgment)
        for work_item, judgment in judged_work
        if isinstance(judgment, PairJudgment)
    ]
    with database.write() as session:
        insert_ignore(session, Verdict, verdicts)
        insert_ignore(session, Comparison, comparisons)


def _verdict_row(rater_id: int, judge_scale: Scale | None, work_item: WorkItem, judgment: Judgment) -> dict[str, Any]:
    return {
        "rater_id": rater_id,
        "greeting_id": work_item.id,
        "value": judgment.value,
        "scale": judge_scale or Scale.SCORE,
        "reason": judgment.reason,
        "dimensions": judgment.details,
        "revision": work_item.revision,
        "supersedes_id": work_item.superseded_id,
    }


def _comparison_row(rater_id: int, work_item: WorkItem, judgment: PairJudgment) -> dict[str, Any]:
    left_id, right_id = work_item.greeting_ids
    return {
        "rater_id": rater_id,
        "item_id": work_item.id,
        "left_id": left_id,
        "right_id": right_id,
        "outcome": Outcome.SKIP if judgment.outcome is None else STORED_OUTCOMES[judgment.outcome],
        "reasons": [FLIP_REASON, *judgment.reasons] if judgment.flip else list(judgment.reasons),
        "revision": work_item.revision,
        "supersedes_id": work_item.superseded_id,
        "request_id": f"judge-{rater_id}-{work_item.id}-{work_item.revision}",
    }
