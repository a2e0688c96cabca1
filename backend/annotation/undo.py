"""Undo: the answer stays in the table, a withdrawal is put on top, and the item comes back."""

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from backend.annotation import queue
from backend.annotation.answers import reused
from backend.annotation.checks import check_request_id
from backend.annotation.desk import Desk, Round, current, open_round
from backend.annotation.progress import Bars
from backend.annotation.views import own_review, view
from backend.db.tables import Comparison, Item, Review, Verdict
from backend.errors import UserError
from backend.records import ItemView
from backend.vocabulary import CampaignKind, Outcome


def undo(desk: Desk, bars: Bars, campaign_id: int, rater_id: int, request_id: str) -> ItemView:
    """Withdraw the rater's latest standing answer in the campaign and hand the item back."""
    check_request_id(request_id)

    def withdraw(session: Session) -> ItemView:
        campaign = open_round(session, campaign_id, rater_id)
        item_id = _replayed(session, campaign, rater_id, request_id)
        if item_id is None:
            item_id = _withdraw_latest(desk, session, campaign, rater_id, request_id)
        return view(session, campaign, item_id, rater_id, bars)

    return desk.write(withdraw)


def _replayed(session: Session, campaign: Round, rater_id: int, request_id: str) -> int | None:
    """The item that this very request gave back before."""
    table = _table(campaign)
    row = session.scalar(select(table).where(table.request_id == request_id))
    if row is None:
        return None
    withdrawn = row.outcome == Outcome.WITHDRAWN if isinstance(row, Comparison) else row.withdrawn
    item = session.get_one(Item, row.item_id)
    if item.campaign_id != campaign.id or row.rater_id != rater_id or not withdrawn:
        raise reused()
    return item.id


def _withdraw_latest(desk: Desk, session: Session, campaign: Round, rater_id: int, request_id: str) -> int:
    last = session.scalar(_LATEST[campaign.kind], {"campaign": campaign.id, "rater": rater_id})
    if last is None:
        raise UserError("There is nothing to undo in this campaign.", "这个任务里没有可以撤销的回答。")
    item_id: int = last.item_id
    queue.take(desk, session, campaign, item_id, rater_id)
    session.add(_withdrawal(last, request_id))
    if review := own_review(session, item_id, rater_id):
        session.add(_withdrawal(review, request_id))
    session.flush()
    return item_id


def _withdrawal(row: Comparison | Verdict | Review, request_id: str) -> Comparison | Verdict | Review:
    chain = {
        "rater_id": row.rater_id,
        "item_id": row.item_id,
        "revision": row.revision + 1,
        "supersedes_id": row.id,
        "request_id": request_id,
    }
    if isinstance(row, Comparison):
        shown = {"left_id": row.left_id, "right_id": row.right_id}
        return Comparison(**chain, **shown, outcome=Outcome.WITHDRAWN, reasons=[])
    if isinstance(row, Verdict):
        return Verdict(**chain, greeting_id=row.greeting_id, scale=row.scale, withdrawn=True)
    return Review(**chain, verdict_id=row.verdict_id, withdrawn=True)


def _table(campaign: Round) -> Any:
    return Comparison if campaign.kind == CampaignKind.COMPARE else Verdict


def _latest(table: Any, stands: Any) -> Any:
    return (
        select(table)
        .join(Item, Item.id == table.item_id)
        .where(
            Item.campaign_id == bindparam("campaign"),
            table.rater_id == bindparam("rater"),
            stands,
            current(table),
        )
        .order_by(table.id.desc())
        .limit(1)
    )


_LATEST = {
    CampaignKind.COMPARE: _latest(Comparison, Comparison.outcome != Outcome.WITHDRAWN),
    CampaignKind.VALIDATE: _latest(Verdict, Verdict.withdrawn.is_(False)),
}
