"""Tables of the playground: what visitors asked for, every greeting they were shown, what they liked."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Float,
    ForeignKey,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.enums import CardState
from backend.db.base import Base, UtcDateTime, enum_column, utc_now


class PlayRound(Base):
    """One request of a visitor (a random cookie, nobody's name), answered by one or several generators."""

    __tablename__ = "play_rounds"

    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(String(32), unique=True)
    visitor: Mapped[str] = mapped_column(String(32), index=True)
    # The request for one greeting, as the generators got it.
    prompt: Mapped[str] = mapped_column(Text)
    # What was entered: text, fields, count, generators.
    wish: Mapped[dict[str, Any]] = mapped_column(JSON)
    seed: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PlayCard(Base):
    """A greeting that was shown. `version` 0 is the first at its place, higher ones were asked for later."""

    __tablename__ = "play_cards"
    __table_args__ = (UniqueConstraint("round_id", "generator", "place", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    round_id: Mapped[int] = mapped_column(ForeignKey("play_rounds.id"))
    generator: Mapped[str] = mapped_column(String(120), index=True)
    model: Mapped[str] = mapped_column(String(200))
    place: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer, default=0)
    # How it should differ from the version before: "shorter", "again" …; empty for the first.
    change: Mapped[str] = mapped_column(String(20), default="")
    state: Mapped[CardState] = mapped_column(enum_column(CardState))
    text: Mapped[str] = mapped_column(Text, default="")
    fault: Mapped[str] = mapped_column(String(24), default="")
    note_en: Mapped[str] = mapped_column(Text, default="")
    note_zh: Mapped[str] = mapped_column(Text, default="")
    seed: Mapped[int] = mapped_column(Integer)
    sampling: Mapped[dict[str, Any]] = mapped_column(JSON)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    seconds: Mapped[float | None] = mapped_column(Float)
    # The call of the ledger that wrote it.
    call_id: Mapped[str] = mapped_column(String(32), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PlaySignal(Base):
    """Like (1), dislike (-1) or neither (0) of a visitor: not blind, so never a label. The newest counts."""

    __tablename__ = "play_signals"
    __table_args__ = (CheckConstraint("value IN (-1, 0, 1)", name="value"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    card_id: Mapped[int] = mapped_column(ForeignKey("play_cards.id"), index=True)
    visitor: Mapped[str] = mapped_column(String(32))
    value: Mapped[int] = mapped_column(SmallInteger)
    request_id: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class GreetingOrigin(Base):
    """Which generator wrote a greeting of the corpus; two that wrote the same text are two rows."""

    __tablename__ = "greeting_origins"
    __table_args__ = (UniqueConstraint("greeting_id", "generator", "model"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    greeting_id: Mapped[int] = mapped_column(ForeignKey("greetings.id"))
    generator: Mapped[str] = mapped_column(String(120), index=True)
    model: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
