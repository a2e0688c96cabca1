"""The lease queue: who answers which item, never more than k people each, nothing lost.

A lease outlives its time until somebody else needs the slot, so a late answer still counts where nobody
took over. Measured on SQLite at 10,000 items, k = 3 and 30,000 leases: a draw takes up to 3.5 ms, held and
expired leases 0.1 ms; hence no derived counters on items.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session, aliased

from backend.annotation.session import CampaignSnapshot, LabelingSession, WriteConflict
from backend.core.enums import CampaignKind
from backend.core.errors import Conflict
from backend.db.queries import is_skip, newest_rows
from backend.db.tables import Comparison, Item, Lease, Verdict

_LEASE_TABLE: Any = Lease.__table__


def current_skips(campaign_kind: CampaignKind) -> tuple[Any, ColumnElement[bool]]:
    """An alias of the table of answers, and the condition that a row of it is a skip that still stands."""
    answer_table: Any = aliased(Comparison if campaign_kind == CampaignKind.COMPARE else Verdict)
    return answer_table, is_skip(answer_table) & newest_rows(answer_table)


def _first_open_query(campaign_kind: CampaignKind) -> Any:
    """The first item by position that has a free or an expired slot and that the rater has not had."""
    # A skip has no lease (it gave its slot back), so it has to be looked for among the answers.
    answer_table, is_skip = current_skips(campaign_kind)
    rater_lease, other_lease = aliased(Lease), aliased(Lease)
    rater_id: Any = bindparam("rater")
    new_to_rater = (
        ~exists(1).where(rater_lease.item_id == Item.id, rater_lease.rater_id == rater_id),
        ~exists(1).where(answer_table.rater_id == rater_id, answer_table.item_id == Item.id, is_skip),
    )
    first_items = select(Item.id, Item.position).order_by(Item.position).limit(1)
    holder_count = select(func.count()).where(other_lease.item_id == Item.id).scalar_subquery()
    # Full items are the many: that they are full is asked first, of one covering index.
    free_items = first_items.where(
        Item.campaign_id == bindparam("campaign"), holder_count < bindparam("k"), *new_to_rater
    ).subquery()
    # Expired by the clock of the draw: no program has to run to free what somebody left behind.
    stale_items = (
        first_items.join(Lease, Lease.item_id == Item.id)
        .where(
            Lease.campaign_id == bindparam("campaign"),
            Lease.done.is_(False),
            Lease.expires_at <= bindparam("moment"),
            *new_to_rater,
        )
        .subquery()
    )
    # Two halves: free slots are found along the items by position, expired ones among the leases in hand, which
    # are few.
    return union_all(select(free_items), select(stale_items)).order_by("position").limit(1)


_FIRST_OPEN_QUERIES = {kind: _first_open_query(kind) for kind in CampaignKind}
_HELD_LEASE = (
    select(Lease.id, Lease.item_id)
    .join(Item, Item.id == Lease.item_id)
    .where(
        Lease.campaign_id == bindparam("campaign"),
        Lease.done.is_(False),
        Lease.rater_id == bindparam("rater"),
    )
    .order_by(Lease.expires_at.desc(), Item.position)
    .limit(1)
)
_ITEM_LEASES = select(Lease.id, Lease.rater_id, Lease.slot, Lease.done, Lease.expires_at).where(
    Lease.item_id == bindparam("item")
)
_INSERT_LEASE = insert(_LEASE_TABLE)
_RENEW_LEASE = (
    update(_LEASE_TABLE)
    .where(_LEASE_TABLE.c.id == bindparam("lease"), _LEASE_TABLE.c.rater_id == bindparam("rater"))
    .values(done=False, expires_at=bindparam("until"))
)
# The conditions stand in the statement itself: what was read before may no longer hold when it is written.
_TAKE_OVER = (
    update(_LEASE_TABLE)
    .where(
        _LEASE_TABLE.c.id == bindparam("lease"),
        _LEASE_TABLE.c.done.is_(False),
        _LEASE_TABLE.c.expires_at <= bindparam("moment"),
    )
    .values(rater_id=bindparam("rater"), expires_at=bindparam("until"))
)
_OWN_LEASE = (_LEASE_TABLE.c.item_id == bindparam("item"), _LEASE_TABLE.c.rater_id == bindparam("rater"))
# Not by expiry: an answer that comes late counts as long as nobody has taken the slot over.
_FINISH_LEASE = update(_LEASE_TABLE).where(*_OWN_LEASE).values(done=True)
_RELEASE_LEASE = delete(_LEASE_TABLE).where(*_OWN_LEASE)


def lease_next_item(
    labeling_session: LabelingSession, session: Session, campaign: CampaignSnapshot, rater_id: int
) -> int | None:
    """Lease the rater's next item; None where nothing is left for this rater.

    What the rater holds already comes first, the one touched last before the others (an undone item
    before the one that it interrupted).
    """
    moment = labeling_session.clock()
    held_lease = session.execute(_HELD_LEASE, {"campaign": campaign.id, "rater": rater_id}).first()
    if held_lease is not None:
        # For a full lease time again: whoever reloads the page is still at it.
        _update_lease(session, _RENEW_LEASE, lease=held_lease.id, rater=rater_id, until=moment + labeling_session.lease)
        return int(held_lease.item_id)
    open_item = session.execute(
        _FIRST_OPEN_QUERIES[campaign.kind],
        {"campaign": campaign.id, "rater": rater_id, "k": campaign.k, "moment": moment},
    ).first()
    if open_item is None:
        return None
    lease_item(labeling_session, session, campaign, open_item.id, rater_id)
    return int(open_item.id)


def lease_item(
    labeling_session: LabelingSession,
    session: Session,
    campaign: CampaignSnapshot,
    item_id: int,
    rater_id: int,
) -> None:
    """Lease this very item to the rater, in their own slot, a free or an expired one; Conflict where there is none."""
    moment = labeling_session.clock()
    expires_at = moment + labeling_session.lease
    item_leases = session.execute(_ITEM_LEASES, {"item": item_id}).all()
    own_lease = next((item_lease for item_lease in item_leases if item_lease.rater_id == rater_id), None)
    if own_lease is not None:
        # One that is done as well: an undo opens it again in the slot that it has.
        _update_lease(session, _RENEW_LEASE, lease=own_lease.id, rater=rater_id, until=expires_at)
        return
    free_slots = set(range(campaign.k)) - {item_lease.slot for item_lease in item_leases}
    if free_slots:
        # That two raters take the same slot is stopped by the unique (item, slot): the slower one starts anew.
        _take_slot(session, campaign, item_id, rater_id, min(free_slots), expires_at)
        return
    stale_lease = next(
        (item_lease for item_lease in item_leases if not item_lease.done and item_lease.expires_at <= moment),
        None,
    )
    if stale_lease is None:
        raise Conflict(
            "Somebody else has taken this item in the meantime; nothing was changed.",
            "这道题已经分给别人了，没有做任何改动。",
        )
    _update_lease(session, _TAKE_OVER, lease=stale_lease.id, rater=rater_id, moment=moment, until=expires_at)


def finish_lease(session: Session, item_id: int, rater_id: int) -> None:
    """Mark the rater's lease as done; Conflict where the rater holds none (any more)."""
    # Counted by the database: whoever lost the slot between reading and writing is refused rather than a k+1st
    # label.
    if _execute_statement(session, _FINISH_LEASE, {"item": item_id, "rater": rater_id}) == 0:
        raise _not_held_error()


def release_lease(session: Session, item_id: int, rater_id: int) -> None:
    """Free the rater's slot for others; Conflict where the rater holds none (any more)."""
    if _execute_statement(session, _RELEASE_LEASE, {"item": item_id, "rater": rater_id}) == 0:
        raise _not_held_error()


def _not_held_error() -> Conflict:
    return Conflict(
        "This item is not in your hands (any more), so nothing was saved; please go on with the next one.",
        "这道题已不在你手上，没有保存；请继续下一题。",
    )


def _take_slot(
    session: Session,
    campaign: CampaignSnapshot,
    item_id: int,
    rater_id: int,
    slot_number: int,
    expires_at: datetime,
) -> None:
    session.execute(
        _INSERT_LEASE,
        {
            "campaign_id": campaign.id,
            "item_id": item_id,
            "rater_id": rater_id,
            "slot": slot_number,
            "expires_at": expires_at,
        },
    )


def _update_lease(session: Session, statement: Any, **values: Any) -> None:
    """Change one lease; where it is no longer as it was read, start anew."""
    if _execute_statement(session, statement, values) == 0:
        raise WriteConflict


def _execute_statement(session: Session, statement: Any, parameters: dict[str, Any]) -> int:
    result = session.execute(statement, parameters)
    assert isinstance(result, CursorResult)
    return int(result.rowcount)
