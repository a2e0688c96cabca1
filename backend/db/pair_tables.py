"""Tables of rejection sampling: a run, its prompts, its candidates, its pairs and who decided them.

The verdict of a candidate, with the whole debate, stands in `verdicts` like that of every judge; the pair
itself stands in `preference_pairs` under the run's data set, as long as its state lets it be used.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.enums import Decider, PairStage, PairState
from backend.db.base import Base, UtcDateTime, enum_column, utc_now


class PairRun(Base):
    """One run. `prompts` has the hashes of the prompt files it asks with, `spent` what it has used of its
    budget over every attempt, `report` what came of it. Who plays it stands in the row of its job."""

    __tablename__ = "pair_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    stage: Mapped[PairStage] = mapped_column(enum_column(PairStage, "stage"), default=PairStage.FILTERING)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    judge_id: Mapped[int | None] = mapped_column(ForeignKey("raters.id"))
    second_judge_id: Mapped[int | None] = mapped_column(ForeignKey("raters.id"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    prompts: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    spent: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    report: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RunPrompt(Base):
    """A line that went into a run: not looked at yet, kept (`prompt_id`), or lost and why.

    `exact_chars` is the number of characters that the request asks for, where it asks for an exact one.
    """

    __tablename__ = "run_prompts"
    __table_args__ = (
        UniqueConstraint("run_id", "position"),
        UniqueConstraint("run_id", "prompt_id"),
        CheckConstraint("prompt_id IS NULL OR lost IS NULL", name="kept_or_lost"),
        Index("ix_run_prompts_run_id_written", "run_id", "written", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("pair_runs.id"))
    position: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)
    prompt_id: Mapped[int | None] = mapped_column(ForeignKey("prompts.id"), index=True)
    lost: Mapped[str | None] = mapped_column(String(40))
    exact_chars: Mapped[int | None] = mapped_column(Integer)
    written: Mapped[bool] = mapped_column(default=False)


class Candidate(Base):
    """One greeting that a generator wrote for a prompt of a run, or why there is none.

    `greeting_id` is set where it passed every check and so goes before the judge. `recipe` says how it was
    asked for (temperature, examples, wished length, seed). `twice` says that the second judge sees it too.
    """

    __tablename__ = "candidates"
    __table_args__ = (UniqueConstraint("run_prompt_id", "slot"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("pair_runs.id"), index=True)
    run_prompt_id: Mapped[int] = mapped_column(ForeignKey("run_prompts.id"))
    slot: Mapped[int] = mapped_column(Integer)
    generator: Mapped[str] = mapped_column(String(120))
    model: Mapped[str] = mapped_column(String(200), default="")
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    call_id: Mapped[str] = mapped_column(String(32), default="")
    text: Mapped[str] = mapped_column(Text, default="")
    fault: Mapped[str | None] = mapped_column(String(40))
    greeting_id: Mapped[int | None] = mapped_column(ForeignKey("greetings.id"), index=True)
    twice: Mapped[bool] = mapped_column(default=False, server_default=false())


class RunPair(Base):
    """A pair that a run emitted. `chosen_id` and `rejected_id` are as the judge decided, whatever came after.

    `difference` is how much the surfaces of the two differ (0 to 2).
    """

    __tablename__ = "run_pairs"
    __table_args__ = (
        UniqueConstraint("run_id", "chosen_id", "rejected_id"),
        CheckConstraint("chosen_id <> rejected_id", name="different"),
        Index("ix_run_pairs_run_id_state", "run_id", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("pair_runs.id"))
    run_prompt_id: Mapped[int] = mapped_column(ForeignKey("run_prompts.id"), index=True)
    chosen_id: Mapped[int] = mapped_column(ForeignKey("candidates.id"))
    rejected_id: Mapped[int] = mapped_column(ForeignKey("candidates.id"))
    difference: Mapped[float] = mapped_column(Float)
    state: Mapped[PairState] = mapped_column(enum_column(PairState), default=PairState.PROPOSED)
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PairDecision(Base):
    """Who brought a pair into a state, and why. Append-only; the last one is the pair's state."""

    __tablename__ = "pair_decisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    pair_id: Mapped[int] = mapped_column(ForeignKey("run_pairs.id"), index=True)
    state: Mapped[PairState] = mapped_column(enum_column(PairState))
    decided_by: Mapped[Decider] = mapped_column(enum_column(Decider))
    name: Mapped[str] = mapped_column(String(120), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
