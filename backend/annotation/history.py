"""What the researcher sees of an item: texts with their origin, and every answer ever given."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db.tables import (
    Campaign,
    Comparison,
    Dataset,
    DatasetEntry,
    Greeting,
    Item,
    Prompt,
    Rater,
    Review,
    Verdict,
)
from backend.errors import NotFound
from backend.records import GreetingDetail, HistoryEntry, ItemDetail
from backend.vocabulary import Outcome


def item_detail(session: Session, item_id: int) -> ItemDetail:
    """Everything about an item, or NotFound."""
    item = _item(session, item_id)
    campaign = session.get_one(Campaign, item.campaign_id)
    prompt = session.get_one(Prompt, item.prompt_id)
    return ItemDetail(
        item_id=item.id,
        campaign_id=campaign.id,
        campaign=campaign.name,
        kind=campaign.kind,
        position=item.position,
        prompt=prompt.text,
        occasion=prompt.occasion,
        recipient=prompt.recipient,
        style=prompt.style,
        a=_greeting(session, item.greeting_a_id),
        b=None if item.greeting_b_id is None else _greeting(session, item.greeting_b_id),
        history=tuple(history_of(session, item_id)),
    )


def history_of(session: Session, item_id: int) -> list[HistoryEntry]:
    """Every answer to the item, superseded ones included, in the order of their storing."""
    item = _item(session, item_id)
    found: list[HistoryEntry] = []
    tables: tuple[Any, ...] = (Comparison, Verdict, Review)
    for table in tables:
        rows = session.execute(
            select(table, Rater.name)
            .join(Rater, Rater.id == table.rater_id)
            .where(table.item_id == item_id)
            .order_by(table.id)
        ).all()
        replaced = {row.supersedes_id for row, _ in rows}
        found += [_entry(item, row, rater, row.id in replaced) for row, rater in rows]
    return sorted(found, key=lambda entry: entry.created_at)


def _item(session: Session, item_id: int) -> Item:
    item = session.get(Item, item_id)
    if item is None:
        raise NotFound(f"There is no item {item_id}.", f"没有编号为 {item_id} 的题目。")
    return item


def _greeting(session: Session, greeting_id: int) -> GreetingDetail:
    greeting = session.get_one(Greeting, greeting_id)
    names = session.scalars(
        select(Dataset.name)
        .join(DatasetEntry, DatasetEntry.dataset_id == Dataset.id)
        .where(DatasetEntry.greeting_id == greeting_id)
        .distinct()
        .order_by(Dataset.name)
    )
    return GreetingDetail(greeting.id, greeting.text, greeting.source.value, tuple(names))


def _entry(item: Item, row: Comparison | Verdict | Review, rater: str, superseded: bool) -> HistoryEntry:
    comparison = row if isinstance(row, Comparison) else None
    verdict = row if isinstance(row, Verdict) else None
    left = None if comparison is None else ("A" if comparison.left_id == item.greeting_a_id else "B")
    return HistoryEntry(
        kind=type(row).__name__.lower(),
        label_id=row.id,
        rater=rater,
        revision=row.revision,
        answer=_answer(row),
        left=left,
        prefers=_prefers(comparison, left),
        reasons=tuple(comparison.reasons) if comparison else (),
        dimensions=dict(verdict.dimensions or {}) if verdict else {},
        note="" if isinstance(row, Comparison) else row.reason,
        seconds=comparison.seconds if comparison else None,
        created_at=row.created_at,
        withdrawn=_answer(row) == Outcome.WITHDRAWN,
        superseded=superseded,
    )


def _answer(row: Comparison | Verdict | Review) -> str:
    if isinstance(row, Comparison):
        return row.outcome.value
    if row.withdrawn:
        return Outcome.WITHDRAWN.value
    if isinstance(row, Verdict):
        return Outcome.SKIP.value if row.value is None else f"{row.value:g}"
    return {True: "agree", False: "disagree", None: "no opinion"}[row.agrees]


def _prefers(comparison: Comparison | None, left: str | None) -> str | None:
    if comparison is None or comparison.outcome not in (Outcome.A, Outcome.B):
        return None
    other = "B" if left == "A" else "A"
    return left if comparison.outcome == Outcome.A else other
