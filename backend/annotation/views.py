"""The blind view of an item, and the judge's verdict that may be shown after the rater's own."""

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, aliased

from backend.annotation.desk import Question, Round, current, sides
from backend.annotation.progress import Bars
from backend.db.tables import Greeting, Item, Prompt, Review, Verdict
from backend.records import ItemReveal, ItemView
from backend.vocabulary import CampaignKind

_first, _second = aliased(Greeting), aliased(Greeting)
_SHOWN = (
    select(
        Item.greeting_a_id,
        Item.greeting_b_id,
        Prompt.text.label("prompt"),
        _first.text.label("a"),
        _second.text.label("b"),
    )
    .join(Prompt, Prompt.id == Item.prompt_id)
    .join(_first, _first.id == Item.greeting_a_id)
    .outerjoin(_second, _second.id == Item.greeting_b_id)
    .where(Item.id == bindparam("item"))
)


def view(session: Session, campaign: Round, item_id: int, rater_id: int, bars: Bars) -> ItemView:
    """The item as this rater sees it; nothing in it tells where a greeting comes from."""
    row = session.execute(_SHOWN, {"item": item_id}).one()
    question = Question(item_id, row.greeting_a_id, row.greeting_b_id)
    swapped = sides(campaign, question, rater_id)[0] != question.a_id
    return ItemView(
        item_id=item_id,
        campaign_id=campaign.id,
        kind=campaign.kind,
        prompt=row.prompt,
        left=row.b if swapped else row.a,
        right=row.a if swapped else row.b,
        rubric=campaign.rubric,
        progress=bars.of(session, campaign, rater_id),
        reveal=_open_review(session, campaign, question, rater_id),
    )


def judge_verdict(session: Session, campaign: Round, question: Question) -> Verdict | None:
    """What the campaign's judge says of the item's greeting now; None where it says nothing."""
    if campaign.judge_id is None:
        return None
    return session.scalar(_JUDGED, {"judge": campaign.judge_id, "greeting": question.a_id})


def reveal_of(verdict: Verdict | None) -> ItemReveal | None:
    """The judge's verdict as the rater may see it."""
    if verdict is None or verdict.value is None:
        return None
    return ItemReveal(value=verdict.value, reason=verdict.reason, scale=verdict.scale)


def to_review(session: Session, campaign: Round, rater_id: int) -> int | None:
    """The item whose blind verdict is this rater's latest answer and whose review is still open."""
    if campaign.kind != CampaignKind.VALIDATE or campaign.judge_id is None:
        return None
    latest = session.execute(_LATEST, {"campaign": campaign.id, "rater": rater_id}).first()
    if latest is None or latest.withdrawn or latest.value is None:
        return None
    question = Question(latest.item_id, latest.greeting_id, None)
    return question.id if _open_review(session, campaign, question, rater_id) else None


def has_verdict(session: Session, item_id: int, rater_id: int) -> bool:
    """Whether a verdict of the rater on the item stands (and is not a skip)."""
    return session.scalar(_OWN_VERDICT, {"item": item_id, "rater": rater_id}) is not None


def own_review(session: Session, item_id: int, rater_id: int) -> Review | None:
    """The rater's standing review on the item."""
    found: Review | None = session.scalar(_OWN_REVIEW, {"item": item_id, "rater": rater_id})
    return found


def _open_review(session: Session, campaign: Round, question: Question, rater_id: int) -> ItemReveal | None:
    if campaign.kind != CampaignKind.VALIDATE or not has_verdict(session, question.id, rater_id):
        return None
    if own_review(session, question.id, rater_id) is not None:
        return None
    return reveal_of(judge_verdict(session, campaign, question))


def _of_rater(query: Any, table: Any) -> Any:
    return query.where(
        table.rater_id == bindparam("rater"),
        table.item_id == bindparam("item"),
        table.withdrawn.is_(False),
        current(table),
    )


_OWN_VERDICT = _of_rater(select(Verdict.id), Verdict).where(Verdict.value.is_not(None))
_OWN_REVIEW = _of_rater(select(Review), Review)
_LATEST = (
    select(Verdict.item_id, Verdict.greeting_id, Verdict.withdrawn, Verdict.value)
    .join(Item, Item.id == Verdict.item_id)
    .where(Item.campaign_id == bindparam("campaign"), Verdict.rater_id == bindparam("rater"))
    .order_by(Verdict.id.desc())
    .limit(1)
)
_JUDGED = (
    select(Verdict)
    .where(
        Verdict.rater_id == bindparam("judge"),
        Verdict.greeting_id == bindparam("greeting"),
        Verdict.withdrawn.is_(False),
        Verdict.value.is_not(None),
        current(Verdict),
    )
    .order_by(Verdict.id.desc())
    .limit(1)
)
