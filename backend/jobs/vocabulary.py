"""Closed vocabularies of jobs. Standard library only: the tables import them too."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands. The row says it, and nothing else does."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"  # asked to stop after its current step
    PAUSED = "paused"
    CANCELLING = "cancelling"  # asked to stop, processes may still live
    CANCELLED = "cancelled"  # no process is left
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    LOST = "lost"  # the processes are gone and nobody saw how


ACTIVE_STATUSES = (JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING)
"""A process may exist."""
RESUMABLE_STATUSES = (JobStatus.PAUSED, JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.LOST)
"""Has ended before its work was done."""


class EventKind(StrEnum):
    """What a job event holds."""

    METRIC = "metric"  # data: name → number or null
    LOG = "log"  # data: {"text"}
    SAMPLE = "sample"  # data: {"prompt", "text"}
    STATE = "state"  # data: {"status", "attempt", ...}, written by queue and worker


class ArtifactKind(StrEnum):
    """What an artifact is."""

    CHECKPOINT = "checkpoint"
    REWARD_MODEL = "reward_model"
    POLICY = "policy"
    JUDGE = "judge"
    DATASET_SNAPSHOT = "dataset_snapshot"
