"""Settings of the job room (`ZHUFU_JOB_*`), read once in a main and passed in."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from backend.settings import Environment


class JobOptions(Environment):
    """How jobs are started, watched and ended."""

    model_config = SettingsConfigDict(env_prefix="ZHUFU_JOB_", env_file=".env", frozen=True, extra="ignore")

    grace_seconds: float = Field(default=30, ge=0, description="From the request to stop until SIGKILL.")
    poll_seconds: float = Field(default=0.5, gt=0, description="Pause between two looks at the queue.")
    heartbeat_seconds: float = Field(default=2, gt=0, description="Pause between two signs of life of a worker.")
    stale_seconds: float = Field(default=30, gt=0, description="Silence after which another worker takes over.")
    lost_seconds: float = Field(
        default=300, gt=0, description="Silence of another machine after which its jobs are lost."
    )
    light_jobs: int = Field(default=4, ge=1, description="Jobs without a slot that one worker runs at a time.")
    min_free_disk_mb: int = Field(default=1000, ge=0, description="Free disk below which no job is started, in MB.")
    min_free_memory_mb: int = Field(default=300, ge=0, description="Free memory below which no job is started, in MB.")


DEFAULT_OPTIONS = JobOptions.model_construct()
"""The options without a look at the environment."""
