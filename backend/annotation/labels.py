"""Answers: checked, tied to a lease, stored once however often they are sent.

Each function checks what it can at once and returns the work for a write transaction.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from backend.annotation import queue
from backend.annotation.answers import AnswerChain, append_answer, check_amends, read_chain
from backend.annotation.checks import check_choice, check_prose, check_request_id, check_seconds
from backend.annotation.desk import (
    CampaignSnapshot,
    LabelingSession,
    Question,
    display_order,
    load_campaign,
    load_open_campaign,
    load_question,
)
from backend.annotation.views import build_reveal, has_verdict, judge_verdict
from backend.db.tables import Comparison, Review, Verdict
from backend.errors import Conflict, UserError
from backend.records import ComparisonInput, ReviewInput, SavedLabel, SavedVerdict, VerdictInput
from backend.vocabulary import RUBRIC_WEIGHTS, CampaignKind, Flaw, Outcome, Scale

ALLOWED_OUTCOMES = (Outcome.A, Outcome.B, Outcome.BOTH_GOOD, Outcome.BOTH_BAD, Outcome.SKIP)
_MAX_REASON_LENGTH = 2_000


def comparison_storer(
    labeling_session: LabelingSession, submitted: ComparisonInput, rater_id: int
) -> Callable[[Session], SavedLabel]:
    """What stores an answer to a compare item, the sides as this rater saw them."""
    check_request_id(submitted.request_id)
    check_seconds(submitted.seconds)
    check_choice(submitted.outcome, ALLOWED_OUTCOMES, "outcome", "outcome ")
    for flaw_reason in submitted.reasons:
        check_choice(flaw_reason, Flaw, "reasons", "reasons ")

    def store_comparison(session: Session) -> SavedLabel:
        answer_chain = read_chain(session, Comparison, submitted.request_id, rater_id, submitted.item_id)
        if answer_chain.earlier_saved:
            return answer_chain.earlier_saved
        campaign = load_open_campaign(session, submitted.campaign_id, rater_id, CampaignKind.COMPARE)
        question = load_question(session, campaign, submitted.item_id)
        check_amends(submitted.amends, answer_chain)
        _update_lease(
            labeling_session,
            session,
            campaign,
            question,
            rater_id,
            answer_chain,
            is_skip=submitted.outcome == Outcome.SKIP,
        )
        left_id, right_id = display_order(campaign, question, rater_id)
        return append_answer(
            session,
            Comparison,
            answer_chain.newest_answer,
            rater_id,
            question.id,
            left_id=left_id,
            right_id=right_id,
            outcome=Outcome(submitted.outcome),
            reasons=list(dict.fromkeys(submitted.reasons)),
            seconds=submitted.seconds,
            request_id=submitted.request_id,
        )

    return store_comparison


def verdict_storer(
    labeling_session: LabelingSession, submitted: VerdictInput, rater_id: int
) -> Callable[[Session], SavedVerdict]:
    """What stores a blind verdict, and then shows what the judge said."""
    check_request_id(submitted.request_id)
    _check_verdict(submitted)

    def store_verdict(session: Session) -> SavedVerdict:
        answer_chain = read_chain(session, Verdict, submitted.request_id, rater_id, submitted.item_id)
        load_function = load_campaign if answer_chain.earlier_saved else load_open_campaign
        campaign = load_function(session, submitted.campaign_id, rater_id)
        question = load_question(session, campaign, submitted.item_id)
        saved_answer = answer_chain.earlier_saved or _store_verdict(
            labeling_session, session, campaign, question, submitted, rater_id, answer_chain
        )
        if not has_verdict(session, question.id, rater_id):
            return SavedVerdict(saved_answer, None)
        return SavedVerdict(saved_answer, build_reveal(judge_verdict(session, campaign, question)))

    return store_verdict


def review_storer(submitted: ReviewInput, rater_id: int) -> Callable[[Session], SavedLabel]:
    """What stores the rater's word on the judge's verdict, after the rater's own."""
    check_request_id(submitted.request_id)
    review_reason = check_prose(submitted.reason, _MAX_REASON_LENGTH, "The reason", "理由")

    def store_review(session: Session) -> SavedLabel:
        answer_chain = read_chain(session, Review, submitted.request_id, rater_id, submitted.item_id)
        if answer_chain.earlier_saved:
            return answer_chain.earlier_saved
        campaign = load_open_campaign(session, submitted.campaign_id, rater_id, CampaignKind.VALIDATE)
        question = load_question(session, campaign, submitted.item_id)
        judged_row = judge_verdict(session, campaign, question)
        if judged_row is None or not has_verdict(session, question.id, rater_id):
            raise Conflict(
                "There is nothing to review here: your own verdict comes first, and the judge needs one.",
                "这里还不能评议：请先给出你自己的判断，并且裁判也要有判断。",
            )
        check_amends(submitted.amends, answer_chain)
        return append_answer(
            session,
            Review,
            answer_chain.newest_answer,
            rater_id,
            question.id,
            verdict_id=judged_row.id,
            agrees=submitted.agrees,
            reason=review_reason,
            request_id=submitted.request_id,
        )

    return store_review


def _store_verdict(
    labeling_session: LabelingSession,
    session: Session,
    campaign: CampaignSnapshot,
    question: Question,
    submitted: VerdictInput,
    rater_id: int,
    answer_chain: AnswerChain,
) -> SavedLabel:
    if campaign.kind != CampaignKind.VALIDATE:
        raise UserError(
            "This campaign compares greetings; it takes no verdicts.", "这个任务是两条对比，不接受单条判断。"
        )
    if submitted.dimensions and not campaign.rubric:
        raise UserError("This campaign asks for no dimensions.", "这个标注任务不需要分项打分。")
    check_amends(submitted.amends, answer_chain)
    _update_lease(
        labeling_session, session, campaign, question, rater_id, answer_chain, is_skip=submitted.value is None
    )
    return append_answer(
        session,
        Verdict,
        answer_chain.newest_answer,
        rater_id,
        question.id,
        greeting_id=question.a_id,
        value=submitted.value,
        scale=Scale.BINARY,
        dimensions=submitted.dimensions or None,
        request_id=submitted.request_id,
    )


def _check_verdict(submitted: VerdictInput) -> None:
    if submitted.value is not None and (type(submitted.value) is not int or submitted.value not in (0, 1)):
        raise UserError("value must be 0, 1 or null.", "value 只能是 0、1 或 null。")
    if submitted.value is None and submitted.amends is not None:
        raise UserError("A verdict can be changed or undone, not skipped.", "已给出的判断可以修改或撤销，不能跳过。")
    for dimension, dimension_points in (submitted.dimensions or {}).items():
        check_choice(dimension, RUBRIC_WEIGHTS, "dimensions", "dimensions ")
        if type(dimension_points) is not int or dimension_points not in (1, 2, 3):
            raise UserError(f"{dimension} must be 1, 2 or 3.", f"{dimension} 只能是 1、2 或 3。")


def _update_lease(
    labeling_session: LabelingSession,
    session: Session,
    campaign: CampaignSnapshot,
    question: Question,
    rater_id: int,
    answer_chain: AnswerChain,
    *,
    is_skip: bool,
) -> None:
    """Move the lease along: an answer keeps a slot for good, a skip gives it back."""
    had_skipped = (
        answer_chain.has_answer and answer_chain.newest_answer is not None and answer_chain.newest_answer.skipped
    )
    had_answered = answer_chain.has_answer and not had_skipped
    if had_skipped and not is_skip:
        queue.lease_item(labeling_session, session, campaign, question.id, rater_id)
    if is_skip and not had_skipped:
        queue.release_lease(session, question.id, rater_id)
    elif not is_skip and not had_answered:
        queue.finish_lease(session, question.id, rater_id)
