"""The blind view of an item, and the judge's verdict that may be shown after the rater's own."""

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, aliased

from backend.annotation.desk import CampaignSnapshot, Question, display_order, not_superseded
from backend.annotation.progress import ProgressCache
from backend.db.tables import Greeting, Item, Prompt, Review, Verdict
from backend.records import ItemReveal, ItemView
from backend.vocabulary import CampaignKind

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
        answer_table.withdrawn.is_(False),
        not_superseded(answer_table),
    )


_OWN_VERDICT = _filter_rater(select(Verdict.id), Verdict).where(Verdict.value.is_not(None))
_OWN_REVIEW = _filter_rater(select(Review), Review)
_LATEST_VERDICT = (
    select(Verdict.item_id, Verdict.greeting_id, Verdict.withdrawn, Verdict.value)
    .join(Item, Item.id == Verdict.item_id)
    .where(Item.campaign_id == bindparam("campaign"), Verdict.rater_id == bindparam("rater"))
    .order_by(Verdict.id.desc())
    .limit(1)
)
_JUDGE_VERDICT = (
    select(Verdict)
    .where(
        Verdict.rater_id == bindparam("judge"),
        Verdict.greeting_id == bindparam("greeting"),
        Verdict.withdrawn.is_(False),
        Verdict.value.is_not(None),
        not_superseded(Verdict),
    )
    .order_by(Verdict.id.desc())
    .limit(1)
)
