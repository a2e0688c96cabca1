"""Undo: the answer stays in the table, a withdrawal is put on top, and the item comes back."""

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from backend.annotation import queue
from backend.annotation.labels import reused_request_error
from backend.annotation.progress import ProgressCache
from backend.annotation.records import ItemView
from backend.annotation.session import (
    CampaignSnapshot,
    LabelingSession,
    check_request_id,
    load_open_campaign,
)
from backend.annotation.views import own_review, view_item
from backend.core.enums import CampaignKind, Outcome
from backend.core.errors import UserError
from backend.db.queries import current_rows
from backend.db.tables import Comparison, Item, Review, Verdict


def undo_latest(
    labeling_session: LabelingSession,
    progress_cache: ProgressCache,
    campaign_id: int,
    rater_id: int,
    request_id: str,
) -> ItemView:
    """Withdraw the rater's latest standing answer in the campaign and hand the item back."""
    check_request_id(request_id)

    def withdraw_answer(session: Session) -> ItemView:
        campaign = load_open_campaign(session, campaign_id, rater_id)
        # A lost reply is asked for again under the same id; withdrawing once more would take back one answer
        # too many.
        item_id = _earlier_undo(session, campaign, rater_id, request_id)
        if item_id is None:
            item_id = _withdraw_latest(labeling_session, session, campaign, rater_id, request_id)
        return view_item(session, campaign, item_id, rater_id, progress_cache)

    return labeling_session.write(withdraw_answer)


def _earlier_undo(session: Session, campaign: CampaignSnapshot, rater_id: int, request_id: str) -> int | None:
    """The item that this very request gave back before."""
    answer_table = _answer_table(campaign)
    answer_row = session.scalar(select(answer_table).where(answer_table.request_id == request_id))
    if answer_row is None:
        return None
    item_row = session.get_one(Item, answer_row.item_id)
    if item_row.campaign_id != campaign.id or answer_row.rater_id != rater_id or not answer_row.withdrawn:
        raise reused_request_error()
    return item_row.id


def _withdraw_latest(
    labeling_session: LabelingSession,
    session: Session,
    campaign: CampaignSnapshot,
    rater_id: int,
    request_id: str,
) -> int:
    latest_answer = session.scalar(_LATEST_QUERIES[campaign.kind], {"campaign": campaign.id, "rater": rater_id})
    if latest_answer is None:
        raise UserError("There is nothing to undo in this campaign.", "这个任务里没有可以撤销的回答。")
    # A skip gave its slot away, so undoing one may meet a full item: the Conflict then leaves the skip as it
    # is.
    item_id: int = latest_answer.item_id
    queue.lease_item(labeling_session, session, campaign, item_id, rater_id)
    session.add(_build_withdrawal(latest_answer, request_id))
    # Without the verdict on which it rests, a review would count as given before the blind half.
    if rater_review := own_review(session, item_id, rater_id):
        session.add(_build_withdrawal(rater_review, request_id))
    session.flush()
    return item_id


# A row on top and no deletion: an answer once acknowledged stays readable, and the newest id still stamps the
# state.
def _build_withdrawal(answer_row: Comparison | Verdict | Review, request_id: str) -> Comparison | Verdict | Review:
    chain_columns = {
        "rater_id": answer_row.rater_id,
        "item_id": answer_row.item_id,
        "revision": answer_row.revision + 1,
        "supersedes_id": answer_row.id,
        "request_id": request_id,
    }
    if isinstance(answer_row, Comparison):
        shown_columns = {"left_id": answer_row.left_id, "right_id": answer_row.right_id}
        return Comparison(**chain_columns, **shown_columns, outcome=Outcome.WITHDRAWN, reasons=[])
    if isinstance(answer_row, Verdict):
        return Verdict(**chain_columns, greeting_id=answer_row.greeting_id, scale=answer_row.scale, withdrawn=True)
    return Review(**chain_columns, verdict_id=answer_row.verdict_id, withdrawn=True)


def _answer_table(campaign: CampaignSnapshot) -> Any:
    return Comparison if campaign.kind == CampaignKind.COMPARE else Verdict


def _latest_query(answer_table: Any) -> Any:
    return (
        select(answer_table)
        .join(Item, Item.id == answer_table.item_id)
        .where(
            Item.campaign_id == bindparam("campaign"),
            answer_table.rater_id == bindparam("rater"),
            current_rows(answer_table),
        )
        .order_by(answer_table.id.desc())
        .limit(1)
    )


_LATEST_QUERIES = {
    CampaignKind.COMPARE: _latest_query(Comparison),
    CampaignKind.VALIDATE: _latest_query(Verdict),
}
