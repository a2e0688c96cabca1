"""The chain of answers of a rater to an item: what stands, and how the next row is put on top.

Comparison, Verdict and Review rows are append-only; each carries a revision and what it supersedes.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, false, insert, or_, select
from sqlalchemy.orm import Session

from backend.db.tables import Comparison, Review, Verdict
from backend.errors import Conflict
from backend.records import Saved
from backend.vocabulary import Outcome

Table = type[Comparison] | type[Verdict] | type[Review]


@dataclass(frozen=True)
class Answer:
    """One stored row, whichever table it is in."""

    id: int
    rater_id: int
    item_id: int
    revision: int
    request_id: str
    withdrawn: bool
    skipped: bool


@dataclass(frozen=True)
class Chain:
    """The newest row of a rater's answers to an item, and what this request stored before, if it did."""

    last: Answer | None
    known: Saved | None

    @property
    def standing(self) -> bool:
        """Whether an answer stands (a skip is one)."""
        return self.last is not None and not self.last.withdrawn


def _rows(table: Any) -> Any:
    withdrawn = table.outcome == Outcome.WITHDRAWN if table is Comparison else table.withdrawn
    skipped = {
        Comparison: lambda: table.outcome == Outcome.SKIP,
        Verdict: lambda: and_(table.value.is_(None), table.withdrawn.is_(False)),
        Review: false,
    }[table]()
    same_request = table.request_id == bindparam("request")
    same_item = and_(table.rater_id == bindparam("rater"), table.item_id == bindparam("item"))
    return (
        select(table.id, table.rater_id, table.item_id, table.revision, table.request_id, withdrawn, skipped)
        .where(or_(same_request, same_item))
        .order_by(table.revision.desc())
    )


_ROWS: dict[Table, Any] = {table: _rows(table) for table in (Comparison, Verdict, Review)}


def read_chain(session: Session, table: Table, request_id: str, rater_id: int, item_id: int) -> Chain:
    """Read the chain; Conflict where the request id was used for something else."""
    bound = {"request": request_id, "rater": rater_id, "item": item_id}
    rows = [Answer(*row) for row in session.execute(_ROWS[table], bound)]
    known = next((row for row in rows if row.request_id == request_id), None)
    mine = [row for row in rows if (row.rater_id, row.item_id) == (rater_id, item_id)]
    if known is not None and (known not in mine or known.withdrawn):
        raise reused()
    saved = None if known is None else Saved(known.id, known.revision, created=False)
    return Chain(mine[0] if mine else None, saved)


def append(
    session: Session, table: Table, last: Answer | None, rater_id: int, item_id: int, **values: Any
) -> Saved:
    """Put a row on top of the chain."""
    revision = 0 if last is None else last.revision + 1
    row = {
        "rater_id": rater_id,
        "item_id": item_id,
        "revision": revision,
        "supersedes_id": None if last is None else last.id,
        **values,
    }
    core: Any = table.__table__
    result: Any = session.execute(insert(core), row)
    return Saved(result.inserted_primary_key[0], revision, created=True)


def check_amends(amends: int | None, chain: Chain) -> None:
    """An answer that stands is replaced only by naming its revision."""
    if chain.standing and chain.last is not None and amends != chain.last.revision:
        raise Conflict(
            "You have answered this item already; undo it to change the answer.",
            "这道题你已经答过了；要改请先撤销。",
        )
    if not chain.standing and amends is not None:
        raise Conflict("There is no answer to amend.", "没有可以修改的回答。")


def reused() -> Conflict:
    """The sentence for a request id that belongs to something else."""
    return Conflict(
        "This request_id was used for another answer; use a new one.",
        "这个 request_id 已用于别的回答，请换一个新的。",
    )
