"""The blind view of an item for its rater, and everything ever said of it for the researcher."""

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, aliased

from backend.annotation.progress import ProgressCache
from backend.annotation.records import GreetingDetail, HistoryEntry, ItemDetail, ItemReveal, ItemView
from backend.annotation.session import CampaignSnapshot, Question, display_order
from backend.core.enums import CampaignKind, Outcome
from backend.db.queries import current_rows, get_or_not_found
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
    return get_or_not_found(session, Item, item_id, f"There is no item {item_id}.", f"没有编号为 {item_id} 的题目。")


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
    # Stored as shown, so the researcher's A and B have to be worked out from the item.
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
        withdrawn=answer_row.withdrawn,
        superseded=is_superseded,
    )


def _answer_text(answer_row: Comparison | Verdict | Review) -> str:
    if answer_row.withdrawn:
        return Outcome.WITHDRAWN.value
    if isinstance(answer_row, Comparison):
        return answer_row.outcome.value
    if isinstance(answer_row, Verdict):
        return Outcome.SKIP.value if answer_row.value is None else f"{answer_row.value:g}"
    return {True: "agree", False: "disagree", None: "no opinion"}[answer_row.agrees]


def _preferred_side(comparison: Comparison | None, left_side: str | None) -> str | None:
    if comparison is None or comparison.outcome not in (Outcome.A, Outcome.B):
        return None
    right_side = "B" if left_side == "A" else "A"
    return left_side if comparison.outcome == Outcome.A else right_side


_greeting_a, _greeting_b = aliased(Greeting), aliased(Greeting)
_ITEM_QUERY = (
    select(
        Item.greeting_a_id,
        Item.greeting_b_id,
        Prompt.text.label("prompt"),
        _greeting_a.text.label("a"),
        _greeting_b.text.label("b"),
    )
    .join(Prompt, Prompt.id == Item.prompt_id)
    .join(_greeting_a, _greeting_a.id == Item.greeting_a_id)
    # Outer: an item of a validate campaign has no second greeting.
    .outerjoin(_greeting_b, _greeting_b.id == Item.greeting_b_id)
    .where(Item.id == bindparam("item"))
)


def view_item(
    session: Session, campaign: CampaignSnapshot, item_id: int, rater_id: int, progress_cache: ProgressCache
) -> ItemView:
    """The item as this rater sees it; nothing in it tells where a greeting comes from."""
    item_row = session.execute(_ITEM_QUERY, {"item": item_id}).one()
    question = Question(item_id, item_row.greeting_a_id, item_row.greeting_b_id)
    is_swapped = display_order(campaign, question, rater_id)[0] != question.a_id
    return ItemView(
        item_id=item_id,
        campaign_id=campaign.id,
        kind=campaign.kind,
        prompt=item_row.prompt,
        left=item_row.b if is_swapped else item_row.a,
        right=item_row.a if is_swapped else item_row.b,
        rubric=campaign.rubric,
        progress=progress_cache.progress_for(session, campaign, rater_id),
        reveal=_open_review(session, campaign, question, rater_id),
    )


def judge_verdict(session: Session, campaign: CampaignSnapshot, question: Question) -> Verdict | None:
    """What the campaign's judge says of the item's greeting now; None where it says nothing."""
    if campaign.judge_id is None:
        return None
    return session.scalar(_JUDGE_VERDICT, {"judge": campaign.judge_id, "greeting": question.a_id})


def build_reveal(verdict: Verdict | None) -> ItemReveal | None:
    """The judge's verdict as the rater may see it."""
    if verdict is None or verdict.value is None:
        return None
    return ItemReveal(value=verdict.value, reason=verdict.reason, scale=verdict.scale)


def item_to_review(session: Session, campaign: CampaignSnapshot, rater_id: int) -> int | None:
    """The item whose blind verdict is this rater's latest answer and whose review is still open."""
    if campaign.kind != CampaignKind.VALIDATE or campaign.judge_id is None:
        return None
    latest_verdict = session.execute(_LATEST_VERDICT, {"campaign": campaign.id, "rater": rater_id}).first()
    if latest_verdict is None or latest_verdict.withdrawn or latest_verdict.value is None:
        return None
    question = Question(latest_verdict.item_id, latest_verdict.greeting_id, None)
    return question.id if _open_review(session, campaign, question, rater_id) else None


def has_verdict(session: Session, item_id: int, rater_id: int) -> bool:
    """Whether a verdict of the rater on the item stands (and is not a skip)."""
    return session.scalar(_OWN_VERDICT, {"item": item_id, "rater": rater_id}) is not None


def own_review(session: Session, item_id: int, rater_id: int) -> Review | None:
    """The rater's standing review on the item."""
    rater_review: Review | None = session.scalar(_OWN_REVIEW, {"item": item_id, "rater": rater_id})
    return rater_review


def _open_review(session: Session, campaign: CampaignSnapshot, question: Question, rater_id: int) -> ItemReveal | None:
    if campaign.kind != CampaignKind.VALIDATE or not has_verdict(session, question.id, rater_id):
        return None
    if own_review(session, question.id, rater_id) is not None:
        return None
    return build_reveal(judge_verdict(session, campaign, question))


def _filter_rater(base_query: Any, answer_table: Any) -> Any:
    return base_query.where(
        answer_table.rater_id == bindparam("rater"),
        answer_table.item_id == bindparam("item"),
        current_rows(answer_table),
    )


_OWN_VERDICT = _filter_rater(select(Verdict.id), Verdict).where(Verdict.value.is_not(None))
_OWN_REVIEW = _filter_rater(select(Review), Review)
_LATEST_VERDICT = (
    select(Verdict.item_id, Verdict.greeting_id, Verdict.withdrawn, Verdict.value)
    .join(Item, Item.id == Verdict.item_id)
    .where(Item.campaign_id == bindparam("campaign"), Verdict.rater_id == bindparam("rater"))
    .order_by(Verdict.id.desc())  # by id and not only current rows: an undo as the latest act means nothing to review
    .limit(1)
)
_JUDGE_VERDICT = (
    select(Verdict)
    .where(
        Verdict.rater_id == bindparam("judge"),
        Verdict.greeting_id == bindparam("greeting"),
        Verdict.value.is_not(None),
        current_rows(Verdict),
    )
    .order_by(Verdict.id.desc())
    .limit(1)
)
