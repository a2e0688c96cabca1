"""Verdicts into the database: small transactions, and a second writing of the same changes nothing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.tables import Comparison, Rater, Verdict
from backend.judges.base import Draft, PairDraft
from backend.judges.spec import JudgeSpec
from backend.scoring.targets import OUTCOMES, Work
from backend.vocabulary import Outcome, RaterKind, Scale

FLIP = "flip"
"""First reason of a comparison in which the two orders of asking gave opposite winners."""

Judged = tuple[Work, Draft | PairDraft]


def rater_of(session: Session, name: str, version: str, scale: Scale | None, spec: JudgeSpec | None) -> int:
    """The id of the rater that stands for a judge at one version, made where it is new."""
    key = {"kind": RaterKind.JUDGE, "name": name, "version": version}
    config: dict[str, Any] = {"scale": scale.value} if scale else {}
    if spec is not None:
        config["spec"] = spec.plain()
    insert_ignore(session, Rater, [{**key, "config": config}])
    return session.scalars(select(Rater.id).filter_by(**key)).one()


def store(database: Database, rater_id: int, scale: Scale | None, judged: Sequence[Judged]) -> None:
    """Keep what was judged."""
    verdicts = [_verdict(rater_id, scale, work, draft) for work, draft in judged if isinstance(draft, Draft)]
    pairs = [_comparison(rater_id, work, draft) for work, draft in judged if isinstance(draft, PairDraft)]
    with database.write() as session:
        insert_ignore(session, Verdict, verdicts)
        insert_ignore(session, Comparison, pairs)


def _verdict(rater_id: int, scale: Scale | None, work: Work, draft: Draft) -> dict[str, Any]:
    return {
        "rater_id": rater_id,
        "greeting_id": work.id,
        "value": draft.value,
        "scale": scale or Scale.SCORE,
        "reason": draft.reason,
        "dimensions": draft.details,
        "revision": work.revision,
        "supersedes_id": work.previous,
    }


def _comparison(rater_id: int, work: Work, draft: PairDraft) -> dict[str, Any]:
    left, right = work.greetings
    return {
        "rater_id": rater_id,
        "item_id": work.id,
        "left_id": left,
        "right_id": right,
        "outcome": Outcome.SKIP if draft.outcome is None else OUTCOMES[draft.outcome],
        "reasons": [FLIP, *draft.reasons] if draft.flip else list(draft.reasons),
        "revision": work.revision,
        "supersedes_id": work.previous,
        "request_id": f"judge-{rater_id}-{work.id}-{work.revision}",
    }
