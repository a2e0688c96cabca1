"""Rows that one process at a time works on."""

from datetime import datetime

from sqlalchemy import Integer, String, false
from sqlalchemy.orm import Mapped, mapped_column

from backend.db.base import Base, UtcDateTime


class LockableRun(Base):
    """`player_…` name the process that plays the run, if any, heard of last at `beat_at`; `stop_wished` is
    for it to notice. See `backend.jobs.seat`."""

    __abstract__ = True

    id: Mapped[int] = mapped_column(primary_key=True)
    player_host: Mapped[str | None] = mapped_column(String(255))
    player_pid: Mapped[int | None] = mapped_column(Integer)
    player_start: Mapped[str | None] = mapped_column(String(80))
    beat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stop_wished: Mapped[bool] = mapped_column(default=False, server_default=false())
