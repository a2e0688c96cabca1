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

from backend.db.tables import (
    ClickCount,
    Dataset,
    DatasetEntry,
    Greeting,
    Import,
    PreferencePair,
    Prompt,
    Rater,
    Verdict,
)

if TYPE_CHECKING:
    from backend.db.engine import Database

# Tables whose rows an import brings; none refers to one that stands before it.
IMPORTED_TABLES = (Verdict, ClickCount, PreferencePair, DatasetEntry, Greeting, Prompt, Rater, Dataset)
# Execution option of a query that shall find unpublished rows as well.
SHOW_UNPUBLISHED: dict[str, Any] = {"zhufu_unpublished": True}
_HIDES_KEY = "zhufu_hides"
_SHOWS_ALL_KEY = "zhufu_shows_all"

# The imports whose rows nobody sees.
unfinished_imports = select(Import.id).where(Import.finished_at.is_(None))


def _published_criterion(table_class: Any) -> Any:
    # As a function it fits aliases of the table too; `unfinished` never changes, so it needs no watching.
    return with_loader_criteria(
        table_class,
        lambda cls: cls.import_id.is_(None) | cls.import_id.not_in(unfinished_imports),
        include_aliases=True,
        track_closure_variables=False,
    )


_PUBLISHED_CRITERIA = [_published_criterion(imported_table) for imported_table in IMPORTED_TABLES]


def hide_unpublished(session_factory: "sessionmaker[Session]") -> None:
    """Let every session of this kind find only what is published."""
    event.listen(session_factory, "after_begin", _detect_imports)
    event.listen(session_factory, "do_orm_execute", _hide_rows)


def _detect_imports(session: Session, _transaction: Any, connection: Connection) -> None:
    # On SQLite all statements of a transaction see the moment of its first, which is this one: without an
    # unfinished import the queries stay as they are. On PostgreSQL each sees its own moment.
    must_hide = connection.dialect.name != "sqlite" or _has_unfinished_import(connection)
    session.info[_HIDES_KEY] = must_hide and not session.info.get(_SHOWS_ALL_KEY)


def _has_unfinished_import(connection: Connection) -> bool:
    statement = "SELECT 1 FROM imports WHERE finished_at IS NULL LIMIT 1"
    try:
        return connection.exec_driver_sql(statement).first() is not None
    except OperationalError:  # before the first migration there is no such table
        return False


def _hide_rows(execute_state: ORMExecuteState) -> None:
    session = execute_state.session
    # What loads more of a row in hand is let through: hidden now, a row would vanish half-way.
    if not execute_state.is_select or execute_state.is_column_load or execute_state.is_relationship_load:
        return
    if _HIDES_KEY not in session.info:
        session.connection(bind_arguments=dict(execute_state.bind_arguments))  # begins, and so looks
    if session.info[_HIDES_KEY] and not execute_state.execution_options.get("zhufu_unpublished"):
        execute_state.statement = execute_state.statement.options(*_PUBLISHED_CRITERIA)


@contextmanager
def read_with_unpublished(database: "Database") -> Iterator[Session]:
    """`Database.read()` that sees unpublished rows too: for the import they belong to."""
    with database.read() as session:
        _show_unpublished(session)
        yield session


@contextmanager
def write_with_unpublished(database: "Database") -> Iterator[Session]:
    """`Database.write()` that sees unpublished rows too: for the import they belong to."""
    with database.write() as session:
        _show_unpublished(session)
        yield session


def _show_unpublished(session: Session) -> None:
    # A writing session has begun, and so has looked, before its block starts; a reading one has not.
    session.info[_SHOWS_ALL_KEY] = True
    session.info[_HIDES_KEY] = False


def publish_prompts(session: Session, text_hashes: Iterable[str]) -> None:
    """Show these prompts from now on, whatever becomes of the import that stored them first.

    To be called by whoever stores prompts, between inserting them and looking up their ids.
    """
    _publish_rows(session, Prompt, Prompt.text_hash.in_(list(text_hashes)))


def publish_greetings(session: Session, greeting_keys: Iterable[tuple[int, str]]) -> None:
    """`publish_prompts` for greetings, by prompt and hash."""
    _publish_rows(session, Greeting, tuple_(Greeting.prompt_id, Greeting.text_hash).in_(list(greeting_keys)))


def _publish_rows(session: Session, table_class: Any, condition: ColumnElement[bool]) -> None:
    if session.info.get(_HIDES_KEY):
        session.execute(
            update(table_class)
            .where(condition, table_class.import_id.in_(unfinished_imports))
            .values(import_id=None)
            .execution_options(synchronize_session=False)
        )


def count_finished_imports(session: Session) -> int:
    """How many imports have ended: what is kept for a state of the tables must not outlive a change of this.

    The newest id says not enough: rows of an import may have lower ids than what people wrote meanwhile.
    """
    return session.scalar(select(func.count()).select_from(Import).where(Import.finished_at.is_not(None))) or 0
