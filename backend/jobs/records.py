"""Frozen records that cross from the job room to pages and commands."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.errors import Message
from backend.jobs.vocabulary import ACTIVE_STATUSES, RESUMABLE_STATUSES, ArtifactKind, EventKind, JobStatus


@dataclass(frozen=True)
class JobInfo:
    """A job as it stands. `waiting` says why a queued one has not started, where that is known."""

    id: int
    kind: str
    config: dict[str, Any]
    status: JobStatus
    priority: int
    slots: int
    devices: tuple[str, ...]
    parent_id: int | None
    after_id: int | None
    attempt: int
    worker: str | None
    host: str | None
    pid: int | None
    progress: float
    progress_text: str
    error: Message | None
    waiting: Message | None
    log_path: Path | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless somebody resumes it."""
        return self.status not in (*ACTIVE_STATUSES, JobStatus.QUEUED)

    @property
    def resumable(self) -> bool:
        """Whether `resume` would take it."""
        return self.status in RESUMABLE_STATUSES

    @property
    def folder(self) -> Path | None:
        """Folder of the run: log, checkpoints, whatever the program keeps; null before the first start."""
        return self.log_path.parent if self.log_path else None


@dataclass(frozen=True)
class JobEventInfo:
    """One event; `id` is what the next page of `events` continues after."""

    id: int
    job_id: int
    at: datetime
    kind: EventKind
    step: int | None
    data: dict[str, Any]


@dataclass(frozen=True)
class ArtifactInfo:
    """A checkpoint, a fitted judge or a data snapshot that a job left behind."""

    id: int
    kind: ArtifactKind
    name: str
    path: Path
    sha256: str
    parent_id: int | None
    job_id: int | None
    data_hash: str | None
    config: dict[str, Any]
    metrics: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class WorkerInfo:
    """A worker that has been heard of lately."""

    name: str
    host: str
    devices: tuple[str, ...]
    heartbeat_at: datetime
