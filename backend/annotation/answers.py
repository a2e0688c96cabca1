"""The chain of answers of a rater to an item: what stands, and how the next row is put on top.

Comparison, Verdict and Review rows are append-only; each carries a revision and what it supersedes.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, false, insert, or_, select
from sqlalchemy.orm import Session

from backend.db.tables import Comparison, Review, Verdict
from backend.errors import Conflict
from backend.records import SavedLabel
from backend.vocabulary import Outcome

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
    is_withdrawn = answer_table.outcome == Outcome.WITHDRAWN if answer_table is Comparison else answer_table.withdrawn
    is_skipped = {
        Comparison: lambda: answer_table.outcome == Outcome.SKIP,
        Verdict: lambda: and_(answer_table.value.is_(None), answer_table.withdrawn.is_(False)),
        Review: false,
    }[answer_table]()
    same_request = answer_table.request_id == bindparam("request")
    same_item = and_(answer_table.rater_id == bindparam("rater"), answer_table.item_id == bindparam("item"))
    return (
        select(
            answer_table.id,
            answer_table.rater_id,
            answer_table.item_id,
            answer_table.revision,
            answer_table.request_id,
            is_withdrawn,
            is_skipped,
        )
        .where(or_(same_request, same_item))
        .order_by(answer_table.revision.desc())
    )


_CHAIN_QUERIES: dict[AnswerTable, Any] = {table: _chain_query(table) for table in (Comparison, Verdict, Review)}


def read_chain(
    session: Session, answer_table: AnswerTable, request_id: str, rater_id: int, item_id: int
) -> AnswerChain:
    """Read the chain; Conflict where the request id was used for something else."""
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
    """Put a row on top of the chain."""
    revision = 0 if newest_answer is None else newest_answer.revision + 1
    column_values = {
        "rater_id": rater_id,
        "item_id": item_id,
        "revision": revision,
        "supersedes_id": None if newest_answer is None else newest_answer.id,
        **values,
    }
    core_table: Any = answer_table.__table__
    insert_result: Any = session.execute(insert(core_table), column_values)
    return SavedLabel(insert_result.inserted_primary_key[0], revision, created=True)


def check_amends(amended_revision: int | None, answer_chain: AnswerChain) -> None:
    """An answer that stands is replaced only by naming its revision."""
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
