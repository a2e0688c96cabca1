"""Bulk insert that leaves rows alone which already stand: the base of every idempotent store."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_ignore(session: Session, table_class: type[DeclarativeBase], row_values: Sequence[dict[str, Any]]) -> None:
    """Insert the rows; one that breaks a unique constraint is passed over."""
    if not row_values:
        return
    dialect_name = session.get_bind().dialect.name
    insert_into = postgresql.insert if dialect_name == "postgresql" else sqlite.insert
    session.execute(insert_into(table_class).on_conflict_do_nothing(), list(row_values))
