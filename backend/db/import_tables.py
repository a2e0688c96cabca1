"""Imports that are stored in many small transactions, and what they leave for the moment after their end."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.db.base import Base, UtcDateTime, utc_now


class Import(Base):
    """One import; until `finished_at` nobody sees the rows that carry its id.

    `host`, `pid` and `process_start` name the process that stores it, heard of last at `beat_at`.
    """

    __tablename__ = "imports"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset: Mapped[str] = mapped_column(String(120))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    process_start: Mapped[str] = mapped_column(String(80))
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ImportChange(Base):
    """What an import changes in rows that were there before it (tags, clicks): made once it has ended."""

    __tablename__ = "import_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id"), index=True)
    values: Mapped[dict[str, Any]] = mapped_column(JSON)
