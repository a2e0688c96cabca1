"""Rows of an import that has not ended are in the tables, and no query finds them.

Every session of `Database` adds the condition by itself, so that no query can forget it. Only who writes
texts must know: one that an import has stored already is there, and must be shown before it is used.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, event, func, select, tuple_, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import ORMExecuteState, Session, sessionmaker, with_loader_criteria

from backend.db.import_tables import Import
from backend.db.tables import (
    ClickCount,
    Dataset,
    DatasetEntry,
    Greeting,
    PreferencePair,
    Prompt,
    Rater,
    Verdict,
)

if TYPE_CHECKING:
    from backend.db.engine import Database

IMPORTED = (Verdict, ClickCount, PreferencePair, DatasetEntry, Greeting, Prompt, Rater, Dataset)
"""Tables whose rows an import brings; none refers to one that stands before it."""
UNPUBLISHED: dict[str, Any] = {"zhufu_unpublished": True}
"""Execution option of a query that shall find unpublished rows as well."""
_HIDES = "zhufu_hides"
_SHOWS_ALL = "zhufu_shows_all"

unfinished = select(Import.id).where(Import.finished_at.is_(None))
"""The imports whose rows nobody sees."""


def _criterion(table: Any) -> Any:
    # As a function it fits aliases of the table too; `unfinished` never changes, so it needs no watching.
    return with_loader_criteria(
        table,
        lambda cls: cls.import_id.is_(None) | cls.import_id.not_in(unfinished),
        include_aliases=True,
        track_closure_variables=False,
    )


_CRITERIA = [_criterion(table) for table in IMPORTED]


def hide_unpublished(sessions: "sessionmaker[Session]") -> None:
    """Let every session of this kind find only what is published."""
    event.listen(sessions, "after_begin", _look)
    event.listen(sessions, "do_orm_execute", _hide)


def _look(session: Session, _transaction: Any, connection: Connection) -> None:
    # On SQLite all statements of a transaction see the moment of its first, which is this one: without an
    # unfinished import the queries stay as they are. On PostgreSQL each sees its own moment.
    hides = connection.dialect.name != "sqlite" or _importing(connection)
    session.info[_HIDES] = hides and not session.info.get(_SHOWS_ALL)


def _importing(connection: Connection) -> bool:
    query = "SELECT 1 FROM imports WHERE finished_at IS NULL LIMIT 1"
    try:
        return connection.exec_driver_sql(query).first() is not None
    except OperationalError:  # before the first migration there is no such table
        return False


def _hide(state: ORMExecuteState) -> None:
    session = state.session
    if not state.is_select or state.is_column_load or state.is_relationship_load:
        return
    if _HIDES not in session.info:
        session.connection(bind_arguments=dict(state.bind_arguments))  # begins, and so looks
    if session.info[_HIDES] and not state.execution_options.get("zhufu_unpublished"):
        state.statement = state.statement.options(*_CRITERIA)


@contextmanager
def reading_all(database: "Database") -> Iterator[Session]:
    """`Database.read()` that sees unpublished rows too: for the import they belong to."""
    with database.read() as session:
        _show_all(session)
        yield session


@contextmanager
def writing_all(database: "Database") -> Iterator[Session]:
    """`Database.write()` that sees unpublished rows too: for the import they belong to."""
    with database.write() as session:
        _show_all(session)
        yield session


def _show_all(session: Session) -> None:
    # A writing session has begun, and so has looked, before its block starts; a reading one has not.
    session.info[_SHOWS_ALL] = True
    session.info[_HIDES] = False


def publish_prompts(session: Session, hashes: Iterable[str]) -> None:
    """Show these prompts from now on, whatever becomes of the import that stored them first.

    To be called by whoever stores prompts, between inserting them and looking up their ids.
    """
    _publish(session, Prompt, Prompt.text_hash.in_(list(hashes)))


def publish_greetings(session: Session, keys: Iterable[tuple[int, str]]) -> None:
    """`publish_prompts` for greetings, by prompt and hash."""
    _publish(session, Greeting, tuple_(Greeting.prompt_id, Greeting.text_hash).in_(list(keys)))


def _publish(session: Session, table: Any, which: ColumnElement[bool]) -> None:
    if session.info.get(_HIDES):
        session.execute(
            update(table)
            .where(which, table.import_id.in_(unfinished))
            .values(import_id=None)
            .execution_options(synchronize_session=False)
        )


def published(session: Session) -> int:
    """How many imports have ended: what is kept for a state of the tables must not outlive a change of this.

    The newest id says not enough: rows of an import may have lower ids than what people wrote meanwhile.
    """
    return (
        session.scalar(select(func.count()).select_from(Import).where(Import.finished_at.is_not(None))) or 0
    )
