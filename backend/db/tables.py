"""The tables of the corpus, of annotation and of imports.

Labels (Verdict, Comparison, Review) are append-only: a change is a new revision. An import goes in by many small
transactions; what it changes in older rows waits in ImportChange until it has ended.
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
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.core.enums import CampaignKind, Outcome, RaterKind, Scale, Source, Split
from backend.db.base import Base, UtcDateTime, enum_column, utc_now


class Imported(Base):
    """Rows that an import may have brought; until it has ended they are in no query (`backend.db.publication`)."""

    __abstract__ = True

    # No foreign key: removing an import would make SQLite search every table for what refers to it.
    import_id: Mapped[int | None] = mapped_column(Integer)


class Prompt(Imported):
    """A request for a greeting. Its split is fixed at creation, so splits never share a prompt."""

    __tablename__ = "prompts"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    text_hash: Mapped[str] = mapped_column(String(64), unique=True)
    occasion: Mapped[str | None] = mapped_column(String(40))
    recipient: Mapped[str | None] = mapped_column(String(40))
    style: Mapped[str | None] = mapped_column(String(40))
    split: Mapped[Split] = mapped_column(enum_column(Split), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Greeting(Imported):
    """A text written for a prompt."""

    __tablename__ = "greetings"
    __table_args__ = (UniqueConstraint("prompt_id", "text_hash"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    text: Mapped[str] = mapped_column(Text)
    text_hash: Mapped[str] = mapped_column(String(64), index=True)
    source: Mapped[Source] = mapped_column(enum_column(Source))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    prompt: Mapped[Prompt] = relationship()


class Dataset(Imported):
    """A named body of imported rows; re-importing under the same name adds what is new."""

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class DatasetEntry(Imported):
    """Membership of a prompt, or of a prompt's greeting, in a data set."""

    __tablename__ = "dataset_entries"
    # The partial index is needed besides the constraint: to that one two nulls are two different greetings.
    __table_args__ = (
        UniqueConstraint("dataset_id", "prompt_id", "greeting_id"),
        Index(
            "uq_dataset_entries_prompt_only",
            "dataset_id",
            "prompt_id",
            unique=True,
            sqlite_where=text("greeting_id IS NULL"),
            postgresql_where=text("greeting_id IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    greeting_id: Mapped[int | None] = mapped_column(ForeignKey("greetings.id"), index=True)


class ClickCount(Imported):
    """How often readers clicked on a greeting where a data set comes from; the highest count that was imported."""

    __tablename__ = "click_counts"
    __table_args__ = (
        UniqueConstraint("dataset_id", "greeting_id"),
        CheckConstraint("clicks >= 0", name="clicks_not_negative"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    greeting_id: Mapped[int] = mapped_column(ForeignKey("greetings.id"), index=True)
    clicks: Mapped[int] = mapped_column(Integer)


class Rater(Imported):
    """A human, the labels of a data set, or a judge at one exact version (hash of its config)."""

    __tablename__ = "raters"
    __table_args__ = (UniqueConstraint("kind", "name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[RaterKind] = mapped_column(enum_column(RaterKind))
    name: Mapped[str] = mapped_column(String(120))
    # Empty, not null, for people and data sets: to the unique constraint two nulls differ.
    version: Mapped[str] = mapped_column(String(64), default="")
    config: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class PreferencePair(Imported):
    """Chosen over rejected for one prompt, with where it came from; the split is the prompt's."""

    __tablename__ = "preference_pairs"
    __table_args__ = (
        UniqueConstraint("dataset_id", "chosen_id", "rejected_id"),
        CheckConstraint("chosen_id <> rejected_id", name="different"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), index=True)
    chosen_id: Mapped[int] = mapped_column(ForeignKey("greetings.id"))
    rejected_id: Mapped[int] = mapped_column(ForeignKey("greetings.id"))
    origin: Mapped[str] = mapped_column(String(40))
    flaw: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Campaign(Base):
    """A round of annotation: what, by how many raters an item, with which instructions."""

    __tablename__ = "campaigns"
    __table_args__ = (CheckConstraint("k >= 1", name="k_positive"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[CampaignKind] = mapped_column(enum_column(CampaignKind))
    k: Mapped[int] = mapped_column(Integer, default=1)
    instructions: Mapped[str] = mapped_column(Text, default="")
    rubric: Mapped[bool] = mapped_column(default=False)
    closed: Mapped[bool] = mapped_column(default=False)
    seed: Mapped[int] = mapped_column(Integer, default=0)
    judge_id: Mapped[int | None] = mapped_column(ForeignKey("raters.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Item(Base):
    """One question of a campaign: greetings A and B in canonical (random) order, or A alone."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("campaign_id", "greeting_a_id", "greeting_b_id"),
        UniqueConstraint("campaign_id", "position"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    position: Mapped[int] = mapped_column(Integer)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    greeting_a_id: Mapped[int] = mapped_column(ForeignKey("greetings.id"), index=True)
    greeting_b_id: Mapped[int | None] = mapped_column(ForeignKey("greetings.id"), index=True)


class Lease(Base):
    """Slot `slot` of an item, held by a rater until it expires or is done.

    The two unique constraints make "never more than k holders" a fact of the database. `campaign_id` is
    the item's, which never changes: with it one index finds what is in hand and counts what is done.
    """

    __tablename__ = "leases"
    __table_args__ = (
        UniqueConstraint("item_id", "slot"),
        UniqueConstraint("item_id", "rater_id"),
        Index("ix_leases_campaign_id_done_rater_id", "campaign_id", "done", "rater_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    rater_id: Mapped[int] = mapped_column(ForeignKey("raters.id"))
    slot: Mapped[int] = mapped_column(Integer)
    done: Mapped[bool] = mapped_column(default=False)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Verdict(Imported):
    """A rater on one greeting. `value` is null where the rater gave none: unscored is not zero."""

    __tablename__ = "verdicts"
    # Of two writers that append to one chain at the same time the second fails and reads anew. A verdict of a judge or
    # of a data set belongs to no item, and to the constraint two nulls differ, hence the partial index.
    __table_args__ = (
        UniqueConstraint("rater_id", "item_id", "revision"),
        Index(
            "uq_verdicts_outside_campaigns",
            "rater_id",
            "greeting_id",
            "revision",
            unique=True,
            sqlite_where=text("item_id IS NULL"),
            postgresql_where=text("item_id IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    rater_id: Mapped[int] = mapped_column(ForeignKey("raters.id"))
    greeting_id: Mapped[int] = mapped_column(ForeignKey("greetings.id"), index=True)
    item_id: Mapped[int | None] = mapped_column(ForeignKey("items.id"), index=True)
    value: Mapped[float | None] = mapped_column(Float)
    scale: Mapped[Scale] = mapped_column(enum_column(Scale))
    reason: Mapped[str] = mapped_column(Text, default="")
    dimensions: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    withdrawn: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int] = mapped_column(Integer, default=0)
    # Unique: a row is superseded once, so that answers form a chain and never a tree, here as in the two tables below.
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("verdicts.id"), unique=True)
    request_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Comparison(Base):
    """A rater on two greetings, the sides as shown: outcome A means the left one."""

    __tablename__ = "comparisons"
    __table_args__ = (
        UniqueConstraint("rater_id", "item_id", "revision"),
        CheckConstraint("left_id <> right_id", name="different"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    rater_id: Mapped[int] = mapped_column(ForeignKey("raters.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), index=True)
    left_id: Mapped[int] = mapped_column(ForeignKey("greetings.id"))
    right_id: Mapped[int] = mapped_column(ForeignKey("greetings.id"))
    outcome: Mapped[Outcome] = mapped_column(enum_column(Outcome))
    reasons: Mapped[list[str]] = mapped_column(JSON, default=list)
    seconds: Mapped[float | None] = mapped_column(Float)
    revision: Mapped[int] = mapped_column(Integer, default=0)
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("comparisons.id"), unique=True)
    request_id: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)

    @hybrid_property
    def withdrawn(self) -> bool:
        """Whether the row takes back what it supersedes, of a row and in a query, as with verdicts and reviews."""
        return self.outcome == Outcome.WITHDRAWN


class Review(Base):
    """A rater on a judge's verdict, given after the rater's own blind verdict on the same item."""

    __tablename__ = "reviews"
    __table_args__ = (UniqueConstraint("rater_id", "item_id", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    rater_id: Mapped[int] = mapped_column(ForeignKey("raters.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), index=True)
    verdict_id: Mapped[int] = mapped_column(ForeignKey("verdicts.id"))
    agrees: Mapped[bool | None] = mapped_column()
    reason: Mapped[str] = mapped_column(Text, default="")
    withdrawn: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int] = mapped_column(Integer, default=0)
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("reviews.id"), unique=True)
    request_id: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


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
