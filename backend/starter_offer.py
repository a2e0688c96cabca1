"""Whether the starter model is offered, being trained or there: one answer for every page and the start."""

from dataclasses import dataclass
from enum import StrEnum

from backend.errors import Conflict, Message
from backend.jobs.devices import CPU_PREFIX, find_devices
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind
from backend.settings import StarterMode
from backend.training_runs.service import STARTER_NAMES, TrainingService

SFT_TIME_SHARE = 0.75
"""What the policy takes of the time of policy and reward model together."""


class OfferState(StrEnum):
    """What a page shows of the starter."""

    HIDDEN = "hidden"  # a GPU is there, or nobody wants it
    OFFERED = "offered"
    TRAINING = "training"
    READY = "ready"  # some policy can be served


@dataclass(frozen=True)
class StarterOffer:
    """How it stands; `progress` is the share of policy and reward model, `failed` why it ended early."""

    state: OfferState
    job: JobInfo | None = None
    progress: float = 0.0
    failed: Message | None = None


def decide_offer(job_service: JobService, starter_mode: StarterMode) -> StarterOffer:
    """What to show: a training that goes on always, an offer only where a machine has no GPU and no model."""
    training_steps = [_newest_job(job_service, job_kind) for job_kind in STARTER_NAMES]
    running_job = next((step_job for step_job in training_steps if step_job is not None and not step_job.ended), None)
    if running_job is not None:
        return StarterOffer(OfferState.TRAINING, running_job, _training_progress(training_steps))
    if any(policy_artifact.path.is_dir() for policy_artifact in job_service.artifacts(ArtifactKind.POLICY)):
        return StarterOffer(OfferState.READY)
    gpu_names = [
        device_name
        for job_worker in job_service.workers()
        for device_name in job_worker.devices
        if not device_name.startswith(CPU_PREFIX)
    ]
    if starter_mode == "off" or gpu_names:
        return StarterOffer(OfferState.HIDDEN)
    policy_job = training_steps[0]
    return StarterOffer(OfferState.OFFERED, policy_job, failed=policy_job.error if policy_job else None)


def train_unasked(training_service: TrainingService, starter_mode: StarterMode) -> bool:
    """At a first start, where that is wished and there is no GPU: queue the starter. Whether it was."""
    if starter_mode != "auto" or any(not device_name.startswith(CPU_PREFIX) for device_name in find_devices(None)):
        return False
    try:
        training_service.start_starter()
    except Conflict:
        return False
    return True


def _newest_job(job_service: JobService, job_kind: str) -> JobInfo | None:
    starter_name = STARTER_NAMES[job_kind]
    return next(
        (
            candidate_job
            for candidate_job in job_service.jobs(job_kind=job_kind)
            if candidate_job.config.get("name") == starter_name
        ),
        None,
    )


def _training_progress(training_steps: list[JobInfo | None]) -> float:
    policy_job, judge_job = training_steps
    done_share = SFT_TIME_SHARE * policy_job.progress if policy_job else 0.0
    if policy_job and judge_job and judge_job.after_id == policy_job.id:
        done_share += (1 - SFT_TIME_SHARE) * judge_job.progress
    return done_share
