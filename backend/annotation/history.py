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


def load_item_detail(session: Session, item_id: int) -> ItemDetail:
    """Everything about an item, or NotFound."""
    item_row = _require_item(session, item_id)
    campaign_row = session.get_one(Campaign, item_row.campaign_id)
    prompt_row = session.get_one(Prompt, item_row.prompt_id)
    return ItemDetail(
        item_id=item_row.id,
        campaign_id=campaign_row.id,
        campaign=campaign_row.name,
        kind=campaign_row.kind,
        position=item_row.position,
        prompt=prompt_row.text,
        occasion=prompt_row.occasion,
        recipient=prompt_row.recipient,
        style=prompt_row.style,
        a=_greeting_detail(session, item_row.greeting_a_id),
        b=None if item_row.greeting_b_id is None else _greeting_detail(session, item_row.greeting_b_id),
        history=tuple(load_history(session, item_id)),
    )


def load_history(session: Session, item_id: int) -> list[HistoryEntry]:
    """Every answer to the item, superseded ones included, in the order of their storing."""
    item_row = _require_item(session, item_id)
    history_entries: list[HistoryEntry] = []
    answer_tables: tuple[Any, ...] = (Comparison, Verdict, Review)
    for answer_table in answer_tables:
        answer_rows = session.execute(
            select(answer_table, Rater.name)
            .join(Rater, Rater.id == answer_table.rater_id)
            .where(answer_table.item_id == item_id)
            .order_by(answer_table.id)
        ).all()
        superseded_ids = {answer_row.supersedes_id for answer_row, _ in answer_rows}
        history_entries += [
            _history_entry(item_row, answer_row, rater_name, answer_row.id in superseded_ids)
            for answer_row, rater_name in answer_rows
        ]
    return sorted(history_entries, key=lambda entry: entry.created_at)


def _require_item(session: Session, item_id: int) -> Item:
    item_row = session.get(Item, item_id)
    if item_row is None:
        raise NotFound(f"There is no item {item_id}.", f"没有编号为 {item_id} 的题目。")
    return item_row


def _greeting_detail(session: Session, greeting_id: int) -> GreetingDetail:
    greeting_row = session.get_one(Greeting, greeting_id)
    dataset_names = session.scalars(
        select(Dataset.name)
        .join(DatasetEntry, DatasetEntry.dataset_id == Dataset.id)
        .where(DatasetEntry.greeting_id == greeting_id)
        .distinct()
        .order_by(Dataset.name)
    )
    return GreetingDetail(greeting_row.id, greeting_row.text, greeting_row.source.value, tuple(dataset_names))


def _history_entry(
    item_row: Item, answer_row: Comparison | Verdict | Review, rater_name: str, is_superseded: bool
) -> HistoryEntry:
    comparison = answer_row if isinstance(answer_row, Comparison) else None
    verdict = answer_row if isinstance(answer_row, Verdict) else None
    left_side = None if comparison is None else ("A" if comparison.left_id == item_row.greeting_a_id else "B")
    return HistoryEntry(
        kind=type(answer_row).__name__.lower(),
        label_id=answer_row.id,
        rater=rater_name,
        revision=answer_row.revision,
        answer=_answer_text(answer_row),
        left=left_side,
        prefers=_preferred_side(comparison, left_side),
        reasons=tuple(comparison.reasons) if comparison else (),
        dimensions=dict(verdict.dimensions or {}) if verdict else {},
        note="" if isinstance(answer_row, Comparison) else answer_row.reason,
        seconds=comparison.seconds if comparison else None,
        created_at=answer_row.created_at,
        withdrawn=_answer_text(answer_row) == Outcome.WITHDRAWN,
        superseded=is_superseded,
    )


def _answer_text(answer_row: Comparison | Verdict | Review) -> str:
    if isinstance(answer_row, Comparison):
        return answer_row.outcome.value
    if answer_row.withdrawn:
        return Outcome.WITHDRAWN.value
    if isinstance(answer_row, Verdict):
        return Outcome.SKIP.value if answer_row.value is None else f"{answer_row.value:g}"
    return {True: "agree", False: "disagree", None: "no opinion"}[answer_row.agrees]


def _preferred_side(comparison: Comparison | None, left_side: str | None) -> str | None:
    if comparison is None or comparison.outcome not in (Outcome.A, Outcome.B):
        return None
    right_side = "B" if left_side == "A" else "A"
    return left_side if comparison.outcome == Outcome.A else right_side
