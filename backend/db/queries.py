"""Queries that several rooms share: current rows of append-only chains, the row of an id, the version of a judge."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, exists, false, inspect
from sqlalchemy.orm import Session, aliased

from backend.core.enums import Outcome
from backend.core.errors import NotFound
from backend.db.base import Base
from backend.db.tables import Comparison, Verdict

RowT = TypeVar("RowT", bound=Base)


def newest_rows(answer_table: Any) -> ColumnElement[bool]:
    """The condition that a row is the last of its chain: that no other row supersedes it.

    answer_table: Verdict, Comparison or Review, or an alias of one of them. The last row may withdraw what was
    answered before; where the answer itself is asked for, use `current_rows`.
    """
    newer_row = aliased(inspect(answer_table).mapper)
    # Of the id alone: SQLite then answers from the unique index on supersedes_id and never opens the newer row. A left
    # join with the newer row takes as long, but every query would have to name an alias for it. Correlated by name:
    # within a subquery that reads the same table SQLAlchemy would otherwise have to guess which of the two is meant.
    return ~exists(newer_row.id).where(newer_row.supersedes_id == answer_table.id).correlate(answer_table)


def current_rows(answer_table: Any) -> ColumnElement[bool]:
    """The condition that a row is what its rater answers now: nothing supersedes it, and it withdraws nothing.

    answer_table: Verdict, Comparison or Review, or an alias of one of them. Nothing is ever deleted: whoever undoes
    an answer appends a withdrawn row (`withdrawn` of a verdict or a review, the outcome "withdrawn" of a comparison).
    A withdrawn row holds no answer, whatever stands in its other columns. A skip is an answer.
    """
    return and_(newest_rows(answer_table), ~answer_table.withdrawn)


def is_skip(answer_table: Any) -> ColumnElement[bool]:
    """The condition that a row skips its item: a rater looked at it and gave no answer.

    answer_table: Verdict, Comparison or Review, or an alias of one of them. Superseded skips meet it too.
    """
    mapped_class = inspect(answer_table).mapper.class_
    if mapped_class is Comparison:
        return and_(answer_table.outcome == Outcome.SKIP)
    # A withdrawn verdict has no value either; a review is never skipped, for it is not asked for.
    return and_(answer_table.value.is_(None), ~answer_table.withdrawn) if mapped_class is Verdict else false()


def get_or_not_found(session: Session, table_class: type[RowT], row_id: int, en: str, zh: str) -> RowT:
    """The row of that id. Raises NotFound with the two sentences where there is none."""
    stored_row = session.get(table_class, row_id)
    if stored_row is None:
        raise NotFound(en, zh)
    return stored_row


# The share of verdicts that a newer version may lack, such as items that it could not answer.
MISSING_TOLERANCE = 0.05


def current_version(verdict_counts: Sequence[int]) -> int:
    """The index of the version that stands for its judge: the newest that judged about as much as any other.

    verdict_counts: how many values each version gave, at least one version, the oldest first.
    """
    # Not simply the newest: one that was tried on five items would hide the one that judged all of them.
    enough_verdicts = (1 - MISSING_TOLERANCE) * max(verdict_counts)
    return max(
        version_index for version_index, verdict_count in enumerate(verdict_counts) if verdict_count >= enough_verdicts
    )
