"""Whether the starter model is offered, being trained or there: one answer for every page and the start."""

from dataclasses import dataclass
from enum import StrEnum

from backend.errors import Conflict, Message
from backend.jobs.devices import CPU, find_devices
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind
from backend.settings import StarterWish
from backend.training_runs.service import STARTER_NAMES, TrainingService

SFT_SHARE = 0.75
"""What the policy takes of the time of policy and reward model together."""


class State(StrEnum):
    """What a page shows of the starter."""

    HIDDEN = "hidden"  # a GPU is there, or nobody wants it
    OFFERED = "offered"
    TRAINING = "training"
    READY = "ready"  # some policy can be served


@dataclass(frozen=True)
class Offer:
    """How it stands; `progress` is the share of policy and reward model, `failed` why it ended early."""

    state: State
    job: JobInfo | None = None
    progress: float = 0.0
    failed: Message | None = None


def offer(jobs: JobService, wish: StarterWish) -> Offer:
    """What to show: a training that goes on always, an offer only where a machine has no GPU and no model."""
    steps = [_newest(jobs, kind) for kind in STARTER_NAMES]
    running = next((job for job in steps if job is not None and not job.ended), None)
    if running is not None:
        return Offer(State.TRAINING, running, _progress(steps))
    if any(made.path.is_dir() for made in jobs.artifacts(ArtifactKind.POLICY)):
        return Offer(State.READY)
    gpus = [name for worker in jobs.workers() for name in worker.devices if not name.startswith(CPU)]
    if wish == "off" or gpus:
        return Offer(State.HIDDEN)
    policy = steps[0]
    return Offer(State.OFFERED, policy, failed=policy.error if policy else None)


def train_alone(trainings: TrainingService, wish: StarterWish) -> bool:
    """At a first start, where that is wished and there is no GPU: queue the starter. Whether it was."""
    if wish != "auto" or any(not name.startswith(CPU) for name in find_devices(None)):
        return False
    try:
        trainings.start_starter()
    except Conflict:
        return False
    return True


def _newest(jobs: JobService, kind: str) -> JobInfo | None:
    name = STARTER_NAMES[kind]
    return next((job for job in jobs.jobs(kind=kind) if job.config.get("name") == name), None)


def _progress(steps: list[JobInfo | None]) -> float:
    policy, judge = steps
    done = SFT_SHARE * policy.progress if policy else 0.0
    if policy and judge and judge.after_id == policy.id:
        done += (1 - SFT_SHARE) * judge.progress
    return done
