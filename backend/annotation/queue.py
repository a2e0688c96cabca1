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

from backend.annotation.desk import Desk, Raced, Round, current
from backend.db.tables import Comparison, Item, Lease, Verdict
from backend.errors import Conflict
from backend.vocabulary import CampaignKind, Outcome

_LEASES: Any = Lease.__table__


def standing_skips(kind: CampaignKind) -> tuple[Any, ColumnElement[bool]]:
    """An alias of the table of answers, and the condition that a row of it is a skip that still stands."""
    table: Any
    if kind == CampaignKind.COMPARE:
        table = aliased(Comparison)
        return table, (table.outcome == Outcome.SKIP) & current(table)
    table = aliased(Verdict)
    return table, table.value.is_(None) & table.withdrawn.is_(False) & current(table)


def _first_open(kind: CampaignKind) -> Any:
    """The first item by position that has a free or an expired slot and that the rater has not had."""
    answer, skipped = standing_skips(kind)
    mine, other = aliased(Lease), aliased(Lease)
    rater: Any = bindparam("rater")
    new_to_rater = (
        ~exists(1).where(mine.item_id == Item.id, mine.rater_id == rater),
        ~exists(1).where(answer.rater_id == rater, answer.item_id == Item.id, skipped),
    )
    first = select(Item.id, Item.position).order_by(Item.position).limit(1)
    holders = select(func.count()).where(other.item_id == Item.id).scalar_subquery()
    # Full items are the many: that they are full is asked first, of one covering index.
    free = first.where(
        Item.campaign_id == bindparam("campaign"), holders < bindparam("k"), *new_to_rater
    ).subquery()
    stale = (
        first.join(Lease, Lease.item_id == Item.id)
        .where(
            Lease.campaign_id == bindparam("campaign"),
            Lease.done.is_(False),
            Lease.expires_at <= bindparam("moment"),
            *new_to_rater,
        )
        .subquery()
    )
    return union_all(select(free), select(stale)).order_by("position").limit(1)


_FIRST_OPEN = {kind: _first_open(kind) for kind in CampaignKind}
_HELD = (
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
_ON_ITEM = select(Lease.id, Lease.rater_id, Lease.slot, Lease.done, Lease.expires_at).where(
    Lease.item_id == bindparam("item")
)
_TAKE = insert(_LEASES)
_RENEW = (
    update(_LEASES)
    .where(_LEASES.c.id == bindparam("lease"), _LEASES.c.rater_id == bindparam("rater"))
    .values(done=False, expires_at=bindparam("until"))
)
_TAKE_OVER = (
    update(_LEASES)
    .where(
        _LEASES.c.id == bindparam("lease"),
        _LEASES.c.done.is_(False),
        _LEASES.c.expires_at <= bindparam("moment"),
    )
    .values(rater_id=bindparam("rater"), expires_at=bindparam("until"))
)
_OWN = (_LEASES.c.item_id == bindparam("item"), _LEASES.c.rater_id == bindparam("rater"))
_FINISH = update(_LEASES).where(*_OWN).values(done=True)
_RELEASE = delete(_LEASES).where(*_OWN)


def take_next(desk: Desk, session: Session, campaign: Round, rater_id: int) -> int | None:
    """Lease the rater's next item; None where nothing is left for this rater.

    What the rater holds already comes first, the one touched last before the others (an undone item
    before the one that it interrupted).
    """
    moment = desk.clock()
    held = session.execute(_HELD, {"campaign": campaign.id, "rater": rater_id}).first()
    if held is not None:
        _change(session, _RENEW, lease=held.id, rater=rater_id, until=moment + desk.lease)
        return int(held.item_id)
    place = session.execute(
        _FIRST_OPEN[campaign.kind],
        {"campaign": campaign.id, "rater": rater_id, "k": campaign.k, "moment": moment},
    ).first()
    if place is None:
        return None
    take(desk, session, campaign, place.id, rater_id)
    return int(place.id)


def take(desk: Desk, session: Session, campaign: Round, item_id: int, rater_id: int) -> None:
    """Lease this very item to the rater, in a free slot or an expired one; Conflict where there is none."""
    moment = desk.clock()
    until = moment + desk.lease
    leases = session.execute(_ON_ITEM, {"item": item_id}).all()
    mine = next((lease for lease in leases if lease.rater_id == rater_id), None)
    if mine is not None:
        _change(session, _RENEW, lease=mine.id, rater=rater_id, until=until)
        return
    free = set(range(campaign.k)) - {lease.slot for lease in leases}
    if free:
        _take_slot(session, campaign, item_id, rater_id, min(free), until)
        return
    stale = next((lease for lease in leases if not lease.done and lease.expires_at <= moment), None)
    if stale is None:
        raise Conflict(
            "Somebody else has taken this item in the meantime; nothing was changed.",
            "这道题已经分给别人了，没有做任何改动。",
        )
    _change(session, _TAKE_OVER, lease=stale.id, rater=rater_id, moment=moment, until=until)


def finish(session: Session, item_id: int, rater_id: int) -> None:
    """Mark the rater's lease as done; Conflict where the rater holds none (any more)."""
    if _execute(session, _FINISH, {"item": item_id, "rater": rater_id}) == 0:
        raise _not_held()


def release(session: Session, item_id: int, rater_id: int) -> None:
    """Free the rater's slot for others; Conflict where the rater holds none (any more)."""
    if _execute(session, _RELEASE, {"item": item_id, "rater": rater_id}) == 0:
        raise _not_held()


def _not_held() -> Conflict:
    return Conflict(
        "This item is not in your hands (any more), so nothing was saved; please go on with the next one.",
        "这道题已不在你手上，没有保存；请继续下一题。",
    )


def _take_slot(
    session: Session, campaign: Round, item_id: int, rater_id: int, slot: int, until: datetime
) -> None:
    session.execute(
        _TAKE,
        {
            "campaign_id": campaign.id,
            "item_id": item_id,
            "rater_id": rater_id,
            "slot": slot,
            "expires_at": until,
        },
    )


def _change(session: Session, statement: Any, **values: Any) -> None:
    """Change one lease; where it is no longer as it was read, start anew."""
    if _execute(session, statement, values) == 0:
        raise Raced


def _execute(session: Session, statement: Any, values: dict[str, Any]) -> int:
    result = session.execute(statement, values)
    assert isinstance(result, CursorResult)
    return int(result.rowcount)
