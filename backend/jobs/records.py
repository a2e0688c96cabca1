"""Settings of the job room (`ZHUFU_JOB_*`), and frozen records that cross from it to pages and commands."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from backend.core.enums import ACTIVE_STATUSES, RESUMABLE_STATUSES, ArtifactKind, EventKind, JobStatus
from backend.core.errors import Message
from backend.core.settings import Environment
from backend.jobs.messages import JobMessage

# `config["origin"]` of an artifact that came with the project.
SHIPPED_ORIGIN = "shipped"


class JobOptions(Environment):
    """How jobs are started, watched and ended."""

    model_config = SettingsConfigDict(env_prefix="ZHUFU_JOB_", env_file=".env", frozen=True, extra="ignore")

    grace_seconds: float = Field(
        default=30,
        ge=0,
        description="From the request to stop until SIGKILL; longer where the program measures that it needs more.",
    )
    poll_seconds: float = Field(default=0.5, gt=0, description="Pause between two looks at the queue.")
    heartbeat_seconds: float = Field(default=2, gt=0, description="Pause between two signs of life of a worker.")
    stale_seconds: float = Field(default=30, gt=0, description="Silence after which another worker takes over.")
    lost_seconds: float = Field(
        default=300, gt=0, description="Silence of another machine after which its jobs are lost."
    )
    light_jobs: int = Field(default=4, ge=1, description="Jobs without a slot that one worker runs at a time.")
    min_free_disk_mb: int = Field(default=1000, ge=0, description="Free disk below which no job is started, in MB.")
    min_free_memory_mb: int = Field(default=300, ge=0, description="Free memory below which no job is started, in MB.")


# The options without a look at the environment.
DEFAULT_OPTIONS = JobOptions.model_construct()


@dataclass(frozen=True)
class JobInfo:
    """A job as it stands. `waiting` is why a queued one has not started, where that is known.

    `progress_message` is what its program reported last; `progress_text` is the English of it, for scripts.
    """

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
    progress_message: JobMessage
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
        """Whether `JobService.resume` would take it."""
        return self.status in RESUMABLE_STATUSES

    @property
    def in_foreground(self) -> bool:
        """Whether a command plays it in somebody's terminal: no worker stands in its row."""
        return self.status in ACTIVE_STATUSES and self.worker is None

    @property
    def folder(self) -> Path | None:
        """Folder of the run: log, checkpoints, whatever the program keeps; null before the first start."""
        return self.log_path.parent if self.log_path else None


@dataclass(frozen=True)
class JobEventInfo:
    """One event; its `id` is what the next page of `JobService.events` continues after."""

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

    @property
    def is_shipped(self) -> bool:
        """Whether it came with the project instead of a job of this home."""
        return self.config.get("origin") == SHIPPED_ORIGIN


@dataclass(frozen=True)
class WorkerInfo:
    """A worker that has been heard of lately; `device_memory` is the GB of each device, None where unknown."""

    name: str
    host: str
    devices: tuple[str, ...]
    heartbeat_at: datetime
    device_memory: tuple[float | None, ...] = ()
