"""Tables of the game over principles. Versions, steps and outcomes are only ever added."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.enums import Proposer, Role, RunState
from backend.db.base import Base, UtcDateTime, enum_column, utc_now


class Principles(Base):
    """S_D or S_G at one version: immutable. `run_id` is null for what people wrote and for first versions."""

    __tablename__ = "principles"

    id: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[Role] = mapped_column(enum_column(Role))
    rules: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    rules_hash: Mapped[str] = mapped_column(String(16), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("principles.id"), index=True)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("principle_runs.id"), index=True)
    round: Mapped[int | None] = mapped_column(Integer)
    proposer: Mapped[Proposer] = mapped_column(enum_column(Proposer))
    author: Mapped[str] = mapped_column(String(120), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PrincipleRun(Base):
    """A run of the game. `labels` has its greetings and labels by part, `endpoints` who asks what.

    `phase` is the round and phase that it is in, such as 2.adversary; `message` what it waits for. Who plays it
    stands in the row of its job.
    """

    __tablename__ = "principle_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset: Mapped[str] = mapped_column(String(120))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    endpoints: Mapped[dict[str, dict[str, str]]] = mapped_column(JSON)
    caps: Mapped[dict[str, Any]] = mapped_column(JSON)
    labels: Mapped[dict[str, Any]] = mapped_column(JSON)
    labels_hash: Mapped[str] = mapped_column(String(16), index=True)
    detector_id: Mapped[int] = mapped_column(Integer)
    generator_id: Mapped[int] = mapped_column(Integer)
    state: Mapped[RunState] = mapped_column(enum_column(RunState), default=RunState.QUEUED)
    phase: Mapped[str | None] = mapped_column(String(40))
    message: Mapped[str] = mapped_column(Text, default="", server_default="")
    error_en: Mapped[str | None] = mapped_column(Text)
    error_zh: Mapped[str | None] = mapped_column(Text)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    calls: Mapped[int] = mapped_column(Integer, default=0)
    tokens: Mapped[int] = mapped_column(Integer, default=0)
    cost: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PrincipleStep(Base):
    """What one phase of one round gave, with what it used of the budget.

    Its calls lie in the ledger after `first_call` up to `last_call`; those of an attempt that was broken
    off lie before.
    """

    __tablename__ = "principle_steps"
    __table_args__ = (UniqueConstraint("run_id", "round", "phase"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("principle_runs.id"))
    round: Mapped[int] = mapped_column(Integer)
    phase: Mapped[str] = mapped_column(String(24))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    first_call: Mapped[int] = mapped_column(Integer)
    last_call: Mapped[int] = mapped_column(Integer)
    calls: Mapped[int] = mapped_column(Integer, default=0)
    cost: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PrincipleOutcome(Base):
    """What became of a version in a run: accepted or not, why, and its gate score with a 95 % interval."""

    __tablename__ = "principle_outcomes"
    __table_args__ = (UniqueConstraint("run_id", "version_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("principle_runs.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("principles.id"), index=True)
    accepted: Mapped[bool] = mapped_column()
    why: Mapped[str] = mapped_column(String(24))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    score: Mapped[float | None] = mapped_column(Float)
    low: Mapped[float | None] = mapped_column(Float)
    high: Mapped[float | None] = mapped_column(Float)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PrincipleAnswer(Base):
    """A person on whether a planted flaw is really there."""

    __tablename__ = "principle_answers"
    __table_args__ = (UniqueConstraint("run_id", "round", "phase", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("principle_runs.id"))
    round: Mapped[int] = mapped_column(Integer)
    phase: Mapped[str] = mapped_column(String(24))
    number: Mapped[int] = mapped_column(Integer)
    there: Mapped[bool] = mapped_column()
    person: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PrincipleMark(Base):
    """Which version is current: the newest mark of its role. Going back is a new mark."""

    __tablename__ = "principle_marks"

    id: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[Role] = mapped_column(enum_column(Role))
    version_id: Mapped[int] = mapped_column(ForeignKey("principles.id"))
    author: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PrincipleComparison(Base):
    """Two S_D on a label set; `result` is null until both have read it."""

    __tablename__ = "principle_comparisons"

    id: Mapped[int] = mapped_column(primary_key=True)
    first_id: Mapped[int] = mapped_column(ForeignKey("principles.id"))
    second_id: Mapped[int] = mapped_column(ForeignKey("principles.id"))
    dataset: Mapped[str] = mapped_column(String(120))
    endpoint: Mapped[str] = mapped_column(String(120))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
