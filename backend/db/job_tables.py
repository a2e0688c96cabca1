"""Tables of background work: jobs, their events, the workers, and what jobs leave behind."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.enums import ArtifactKind, EventKind, JobStatus
from backend.db.base import Base, UtcDateTime, enum_column, utc_now


class Job(Base):
    """One piece of background work. A resumed job is the same row with a higher attempt.

    `pid` and `process_start` name the leader of the session that the present attempt runs in; they are
    null while no process has been started. `worker` is null where a command plays the job in the foreground, and
    they name that command. `after_id` is the job that must succeed before this one starts.
    `progress_data` is the message whose English sentence is `progress_text`; null where older programs wrote.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("progress >= 0 AND progress <= 1", name="progress_is_a_share"),
        CheckConstraint("slots >= 0", name="slots_not_negative"),
        Index("ix_jobs_queue", "status", "priority", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(40), index=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    status: Mapped[JobStatus] = mapped_column(enum_column(JobStatus), default=JobStatus.QUEUED)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    slots: Mapped[int] = mapped_column(Integer, default=0)
    devices: Mapped[list[str]] = mapped_column(JSON, default=list)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    after_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    worker: Mapped[str | None] = mapped_column(String(120))
    host: Mapped[str | None] = mapped_column(String(255))
    pid: Mapped[int | None] = mapped_column(Integer)
    process_start: Mapped[str | None] = mapped_column(String(64))
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    progress_text: Mapped[str] = mapped_column(Text, default="")
    progress_data: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error_en: Mapped[str | None] = mapped_column(Text)
    error_zh: Mapped[str | None] = mapped_column(Text)
    log_path: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobEvent(Base):
    """Something a job said, or a change of its state. Append-only; pages ask for what is newer than an id."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    kind: Mapped[EventKind] = mapped_column(enum_column(EventKind))
    step: Mapped[int | None] = mapped_column(Integer)
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class WorkerProcess(Base):
    """A living worker. `parent_pid` and `parent_start` name the application that started it, null for one by hand.

    `device_memory` holds the GB of each of its devices, null for those whose driver does not say.
    """

    __tablename__ = "workers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    host: Mapped[str] = mapped_column(String(255))
    home: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    process_start: Mapped[str] = mapped_column(String(64))
    devices: Mapped[list[str]] = mapped_column(JSON, default=list)
    device_memory: Mapped[list[float | None] | None] = mapped_column(JSON(none_as_null=True))
    parent_pid: Mapped[int | None] = mapped_column(Integer)
    parent_start: Mapped[str | None] = mapped_column(String(64))
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class Artifact(Base):
    """Something a job left behind: where it lies, what it is by hash, and what it was made from."""

    __tablename__ = "artifacts"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[ArtifactKind] = mapped_column(enum_column(ArtifactKind), index=True)
    name: Mapped[str] = mapped_column(String(120))
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("artifacts.id"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    data_hash: Mapped[str | None] = mapped_column(String(64))
    config: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
