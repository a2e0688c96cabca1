"""Declarative base: constraint names that Alembic can find again, UTC times, checked enums, idempotent inserts."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import DateTime, Dialect, Enum, MetaData, Table, TypeDecorator
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

# SQLite changes a constraint by copying its table, for which Alembic has to know the constraint by name.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times in Python, naive UTC in the database (SQLite keeps no zone)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Store as naive UTC; a naive value is a mistake of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times must carry a zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give back aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def enum_column(enum_class: type[StrEnum], constraint: str = "") -> Any:
    """A column type that stores the enum's values as text and checks them in the database.

    constraint: name of the check in the schema; the class name in lower case unless given.
    """
    return Enum(
        enum_class,
        native_enum=False,  # one schema for both databases: SQLite knows no types of its own
        create_constraint=True,
        length=24,  # room for values to come: widening a column copies the table on SQLite
        name=constraint or enum_class.__name__.lower(),
        values_callable=lambda members: [member.value for member in members],
    )


def insert_ignore(
    session: Session, target_table: type[DeclarativeBase] | Table, row_values: Sequence[dict[str, Any]]
) -> None:
    """Insert the rows, all with the same keys; one that breaks a unique constraint is passed over.

    target_table: a mapped class, or for many rows its `__table__`, which costs a fifth of the time.
    """
    if not row_values:
        return
    dialect_name = session.get_bind().dialect.name
    insert_into = postgresql.insert if dialect_name == "postgresql" else sqlite.insert
    session.execute(insert_into(target_table).on_conflict_do_nothing(), list(row_values))


# Rows that go through the database together where there may be many. Inserting so many texts holds SQLite's write lock
# for 10 to 40 ms, so that votes get through between two batches; and an IN list of twice so many ids stays far below
# the 32,766 parameters that SQLite takes in one statement.
BATCH_ROWS = 500

RowValue = TypeVar("RowValue")


def in_batches(row_values: Iterable[RowValue], batch_size: int = BATCH_ROWS) -> Iterator[list[RowValue]]:
    """The values in lists of at most `batch_size`, none of them empty; read only as far as asked for."""
    value_iterator = iter(row_values)
    while batch := list(itertools.islice(value_iterator, batch_size)):
        yield batch
