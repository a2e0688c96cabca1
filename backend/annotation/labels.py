"""Answers of raters: checked, tied to a lease, stored as append-only chains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, insert, or_, select
from sqlalchemy.orm import Session

from backend.annotation import queue
from backend.annotation.records import ComparisonInput, ReviewInput, SavedLabel, SavedVerdict, VerdictInput
from backend.annotation.session import (
    CampaignSnapshot,
    LabelingSession,
    Question,
    check_choice,
    check_prose,
    check_request_id,
    check_seconds,
    display_order,
    load_campaign,
    load_open_campaign,
    load_question,
)
from backend.annotation.views import build_reveal, has_verdict, judge_verdict
from backend.core.enums import RUBRIC_WEIGHTS, CampaignKind, Flaw, Outcome, Scale
from backend.core.errors import Conflict, UserError
from backend.db.queries import is_skip
from backend.db.tables import Comparison, Review, Verdict

AnswerTable = type[Comparison] | type[Verdict] | type[Review]


@dataclass(frozen=True)
class StoredAnswer:
    """One stored row, whichever table it is in."""

    id: int
    rater_id: int
    item_id: int
    revision: int
    request_id: str
    withdrawn: bool
    skipped: bool


@dataclass(frozen=True)
class AnswerChain:
    """The newest row of a rater's answers to an item, and what this request stored before, if it did."""

    newest_answer: StoredAnswer | None
    earlier_saved: SavedLabel | None

    @property
    def has_answer(self) -> bool:
        """Whether an answer stands (a skip is one)."""
        return self.newest_answer is not None and not self.newest_answer.withdrawn


def _chain_query(answer_table: Any) -> Any:
    same_request = answer_table.request_id == bindparam("request")
    same_item = and_(answer_table.rater_id == bindparam("rater"), answer_table.item_id == bindparam("item"))
    return (
        select(
            answer_table.id,
            answer_table.rater_id,
            answer_table.item_id,
            answer_table.revision,
            answer_table.request_id,
            answer_table.withdrawn,
            is_skip(answer_table),
        )
        .where(or_(same_request, same_item))
        .order_by(answer_table.revision.desc())
    )


_CHAIN_QUERIES: dict[AnswerTable, Any] = {table: _chain_query(table) for table in (Comparison, Verdict, Review)}


def read_chain(
    session: Session, answer_table: AnswerTable, request_id: str, rater_id: int, item_id: int
) -> AnswerChain:
    """Read the chain; Conflict where the request id was used for something else."""
    # One query for two questions, since the write lock is held meanwhile: what this rater answered to the item, and
    # whether this very request was stored before its reply got lost on the way.
    parameters = {"request": request_id, "rater": rater_id, "item": item_id}
    stored_answers = [
        StoredAnswer(*stored_answer) for stored_answer in session.execute(_CHAIN_QUERIES[answer_table], parameters)
    ]
    earlier_answer = next(
        (stored_answer for stored_answer in stored_answers if stored_answer.request_id == request_id), None
    )
    rater_answers = [
        stored_answer
        for stored_answer in stored_answers
        if (stored_answer.rater_id, stored_answer.item_id) == (rater_id, item_id)
    ]
    # The id of an undo is refused: to answer it as saved would tell the page that an answer stands.
    if earlier_answer is not None and (earlier_answer not in rater_answers or earlier_answer.withdrawn):
        raise reused_request_error()
    earlier_saved = (
        None if earlier_answer is None else SavedLabel(earlier_answer.id, earlier_answer.revision, created=False)
    )
    return AnswerChain(rater_answers[0] if rater_answers else None, earlier_saved)


def append_answer(
    session: Session,
    answer_table: AnswerTable,
    newest_answer: StoredAnswer | None,
    rater_id: int,
    item_id: int,
    **values: Any,
) -> SavedLabel:
    """Append a row to the chain: `newest_answer` is what it supersedes, None where it is the first (revision 0)."""
    # Of two writers with the same next number the unique (rater, item, revision) lets one through.
    revision = 0 if newest_answer is None else newest_answer.revision + 1
    column_values = {
        "rater_id": rater_id,
        "item_id": item_id,
        "revision": revision,
        "supersedes_id": None if newest_answer is None else newest_answer.id,
        **values,
    }
    # The bare table: the mapped class would cost more than the insert itself, under the write lock.
    core_table: Any = answer_table.__table__
    insert_result: Any = session.execute(insert(core_table), column_values)
    return SavedLabel(insert_result.inserted_primary_key[0], revision, created=True)


def check_amends(amended_revision: int | None, answer_chain: AnswerChain) -> None:
    """Raises Conflict where an answer stands and `amended_revision` does not name it.

    A second tab, or a press sent twice under two ids, would else replace an answer that nobody meant to change.
    """
    if (
        answer_chain.has_answer
        and answer_chain.newest_answer is not None
        and amended_revision != answer_chain.newest_answer.revision
    ):
        raise Conflict(
            "You have answered this item already; undo it to change the answer.",
            "这道题你已经答过了；要改请先撤销。",
        )
    if not answer_chain.has_answer and amended_revision is not None:
        raise Conflict("There is no answer to amend.", "没有可以修改的回答。")


def reused_request_error() -> Conflict:
    """The sentence for a request id that belongs to something else."""
    return Conflict(
        "This request_id was used for another answer; use a new one.",
        "这个 request_id 已用于别的回答，请换一个新的。",
    )


# Without WITHDRAWN, which only an undo writes: as an answer it would keep its slot for a label that is none.
ALLOWED_OUTCOMES = (Outcome.A, Outcome.B, Outcome.BOTH_GOOD, Outcome.BOTH_BAD, Outcome.SKIP)
_MAX_REASON_LENGTH = 2_000


def comparison_storer(
    labeling_session: LabelingSession, submitted: ComparisonInput, rater_id: int
) -> Callable[[Session], SavedLabel]:
    """The transaction that stores an answer to a compare item, with the sides as this rater saw them.

    What can be checked without the database is checked here: raises UserError. The transaction itself raises
    NotFound or Conflict.
    """
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
        # From the hash and not from the request: a page cannot claim other sides than it was shown.
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
    """The transaction that stores a blind verdict and returns it with the judge's; errors as in `comparison_storer`."""
    check_request_id(submitted.request_id)
    _check_verdict(submitted)

    def store_verdict(session: Session) -> SavedVerdict:
        answer_chain = read_chain(session, Verdict, submitted.request_id, rater_id, submitted.item_id)
        # A repeated request is answered even after the campaign was closed: its label is stored.
        load_function = load_campaign if answer_chain.earlier_saved else load_open_campaign
        campaign = load_function(session, submitted.campaign_id, rater_id)
        question = load_question(session, campaign, submitted.item_id)
        saved_answer = answer_chain.earlier_saved or _store_verdict(
            labeling_session, session, campaign, question, submitted, rater_id, answer_chain
        )
        # Blind first: a rater who passed the item over must not see the judge's verdict and come back to it.
        if not has_verdict(session, question.id, rater_id):
            return SavedVerdict(saved_answer, None)
        return SavedVerdict(saved_answer, build_reveal(judge_verdict(session, campaign, question)))

    return store_verdict


def review_storer(submitted: ReviewInput, rater_id: int) -> Callable[[Session], SavedLabel]:
    """The transaction that stores whether the rater agrees with the judge; errors as in `comparison_storer`.

    Conflict also where the rater's own verdict, or the judge's, is missing.
    """
    check_request_id(submitted.request_id)
    review_reason = check_prose(submitted.reason, _MAX_REASON_LENGTH, "The reason", "理由")

    def store_review(session: Session) -> SavedLabel:
        answer_chain = read_chain(session, Review, submitted.request_id, rater_id, submitted.item_id)
        if answer_chain.earlier_saved:
            return answer_chain.earlier_saved
        campaign = load_open_campaign(session, submitted.campaign_id, rater_id, CampaignKind.VALIDATE)
        question = load_question(session, campaign, submitted.item_id)
        judged_row = judge_verdict(session, campaign, question)
        # Asked again although the page shows no such button: an opinion given before the own verdict would not
        # be blind.
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
    # The skip has given the slot back, so one has to be free still; others may have filled them since.
    if had_skipped and not is_skip:
        queue.lease_item(labeling_session, session, campaign, question.id, rater_id)
    if is_skip and not had_skipped:
        queue.release_lease(session, question.id, rater_id)
    elif not is_skip and not had_answered:
        queue.finish_lease(session, question.id, rater_id)
