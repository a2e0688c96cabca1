"""Answers: checked, tied to a lease, stored once however often they are sent.

Each function checks what it can at once and returns the work for a write transaction.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from backend.annotation import queue
from backend.annotation.answers import Chain, append, check_amends, read_chain
from backend.annotation.checks import check_prose, check_request_id, check_seconds, one_of
from backend.annotation.desk import Desk, Question, Round, open_round, question_of, round_of, sides
from backend.annotation.views import has_verdict, judge_verdict, reveal_of
from backend.db.tables import Comparison, Review, Verdict
from backend.errors import Conflict, UserError
from backend.records import ComparisonInput, Judged, ReviewInput, Saved, VerdictInput
from backend.vocabulary import RUBRIC_WEIGHTS, CampaignKind, Flaw, Outcome, Scale

ANSWERS = (Outcome.A, Outcome.B, Outcome.BOTH_GOOD, Outcome.BOTH_BAD, Outcome.SKIP)
_REASON = 2_000


def comparing(desk: Desk, given: ComparisonInput, rater_id: int) -> Callable[[Session], Saved]:
    """What stores an answer to a compare item, the sides as this rater saw them."""
    check_request_id(given.request_id)
    check_seconds(given.seconds)
    one_of(given.outcome, ANSWERS, "outcome", "outcome ")
    for reason in given.reasons:
        one_of(reason, Flaw, "reasons", "reasons ")

    def store(session: Session) -> Saved:
        chain = read_chain(session, Comparison, given.request_id, rater_id, given.item_id)
        if chain.known:
            return chain.known
        campaign = open_round(session, given.campaign_id, rater_id, CampaignKind.COMPARE)
        question = question_of(session, campaign, given.item_id)
        check_amends(given.amends, chain)
        _settle(desk, session, campaign, question, rater_id, chain, skips=given.outcome == Outcome.SKIP)
        left, right = sides(campaign, question, rater_id)
        return append(
            session,
            Comparison,
            chain.last,
            rater_id,
            question.id,
            left_id=left,
            right_id=right,
            outcome=Outcome(given.outcome),
            reasons=list(dict.fromkeys(given.reasons)),
            seconds=given.seconds,
            request_id=given.request_id,
        )

    return store


def judging(desk: Desk, given: VerdictInput, rater_id: int) -> Callable[[Session], Judged]:
    """What stores a blind verdict, and then shows what the judge said."""
    check_request_id(given.request_id)
    _check_verdict(given)

    def store(session: Session) -> Judged:
        chain = read_chain(session, Verdict, given.request_id, rater_id, given.item_id)
        find = round_of if chain.known else open_round
        campaign = find(session, given.campaign_id, rater_id)
        question = question_of(session, campaign, given.item_id)
        saved = chain.known or _store_verdict(desk, session, campaign, question, given, rater_id, chain)
        if not has_verdict(session, question.id, rater_id):
            return Judged(saved, None)
        return Judged(saved, reveal_of(judge_verdict(session, campaign, question)))

    return store


def reviewing(given: ReviewInput, rater_id: int) -> Callable[[Session], Saved]:
    """What stores the rater's word on the judge's verdict, after the rater's own."""
    check_request_id(given.request_id)
    reason = check_prose(given.reason, _REASON, "The reason", "理由")

    def store(session: Session) -> Saved:
        chain = read_chain(session, Review, given.request_id, rater_id, given.item_id)
        if chain.known:
            return chain.known
        campaign = open_round(session, given.campaign_id, rater_id, CampaignKind.VALIDATE)
        question = question_of(session, campaign, given.item_id)
        judged = judge_verdict(session, campaign, question)
        if judged is None or not has_verdict(session, question.id, rater_id):
            raise Conflict(
                "There is nothing to review here: your own verdict comes first, and the judge needs one.",
                "这里还不能评议：请先给出你自己的判断，并且裁判也要有判断。",
            )
        check_amends(given.amends, chain)
        return append(
            session,
            Review,
            chain.last,
            rater_id,
            question.id,
            verdict_id=judged.id,
            agrees=given.agrees,
            reason=reason,
            request_id=given.request_id,
        )

    return store


def _store_verdict(
    desk: Desk,
    session: Session,
    campaign: Round,
    question: Question,
    given: VerdictInput,
    rater_id: int,
    chain: Chain,
) -> Saved:
    if campaign.kind != CampaignKind.VALIDATE:
        raise UserError(
            "This campaign compares greetings; it takes no verdicts.", "这个任务是两条对比，不接受单条判断。"
        )
    if given.dimensions and not campaign.rubric:
        raise UserError("This campaign asks for no dimensions.", "这个标注任务不需要分项打分。")
    check_amends(given.amends, chain)
    _settle(desk, session, campaign, question, rater_id, chain, skips=given.value is None)
    return append(
        session,
        Verdict,
        chain.last,
        rater_id,
        question.id,
        greeting_id=question.a_id,
        value=given.value,
        scale=Scale.BINARY,
        dimensions=given.dimensions or None,
        request_id=given.request_id,
    )


def _check_verdict(given: VerdictInput) -> None:
    if given.value is not None and (type(given.value) is not int or given.value not in (0, 1)):
        raise UserError("value must be 0, 1 or null.", "value 只能是 0、1 或 null。")
    if given.value is None and given.amends is not None:
        raise UserError(
            "A verdict can be changed or undone, not skipped.", "已给出的判断可以修改或撤销，不能跳过。"
        )
    for name, points in (given.dimensions or {}).items():
        one_of(name, RUBRIC_WEIGHTS, "dimensions", "dimensions ")
        if type(points) is not int or points not in (1, 2, 3):
            raise UserError(f"{name} must be 1, 2 or 3.", f"{name} 只能是 1、2 或 3。")


def _settle(
    desk: Desk,
    session: Session,
    campaign: Round,
    question: Question,
    rater_id: int,
    chain: Chain,
    *,
    skips: bool,
) -> None:
    """Move the lease along: an answer keeps a slot for good, a skip gives it back."""
    had_skipped = chain.standing and chain.last is not None and chain.last.skipped
    had_answered = chain.standing and not had_skipped
    if had_skipped and not skips:
        queue.take(desk, session, campaign, question.id, rater_id)
    if skips and not had_skipped:
        queue.release(session, question.id, rater_id)
    elif not skips and not had_answered:
        queue.finish(session, question.id, rater_id)
