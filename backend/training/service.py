"""Trainings as pages and commands start them: checked, queued, cancelled, served; whether the starter is offered."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from backend.core.enums import ArtifactKind, JobStatus
from backend.core.errors import Conflict, Message, NotFound
from backend.core.settings import StarterMode
from backend.generation.serving import ARTIFACT_PREFIX, SERVE_KIND, PolicyServing, ServedAddress
from backend.jobs.local import CPU_PREFIX, find_devices
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.jobs.service import JobService
from backend.training.artifacts import ARTIFACT_KIND_BY_PROGRAM
from backend.training.checks import SettingProblem, find_problems
from backend.training.exporting import EXPORT_KIND, export_folder, parse_export_settings, queue_export
from backend.training.memory_check import MemoryVerdict
from backend.training.memory_lookup import find_verdict
from backend.training.settings import STARTER, TrainingSettings, settings_for

TRAINING_PROGRAMS = ("sft", "reward_model", "dpo", "grpo")
TRAINING_JOB_KINDS = (*TRAINING_PROGRAMS, SERVE_KIND, EXPORT_KIND)
STARTER_PRESET = "starter"
STARTER_NAMES = {"sft": "starter", "reward_model": "starter-reward"}
CARD_FILE = "README.md"
MAX_CARD_LENGTH = 200_000


class TrainingService:
    """Trainings and the models they leave behind, on top of the job room."""

    def __init__(self, job_service: JobService) -> None:
        self._job_service = job_service
        self._policy_serving = PolicyServing(job_service)

    def submit(
        self,
        program: str,
        preset: str | None,
        setting_values: Mapping[str, Any],
        priority: int = 0,
        parent_id: int | None = None,
        after_id: int | None = None,
    ) -> JobInfo:
        """Queue a training of plain values over a preset, to start once the job `after_id` has succeeded.

        Raises UserError naming the preset or the setting that is wrong.
        """
        return self.queue(settings_for(program, preset, setting_values), priority, parent_id, after_id)

    def queue(
        self,
        settings: TrainingSettings,
        priority: int = 0,
        parent_id: int | None = None,
        after_id: int | None = None,
    ) -> JobInfo:
        """Queue a training whose settings are typed already; they are not parsed again. Raises UserError."""
        return self._job_service.submit(settings.program, settings, priority, settings.slot_count, parent_id, after_id)

    def find_problems(
        self, settings: TrainingSettings, datasets: Collection[str], endpoints: Collection[str]
    ) -> list[SettingProblem]:
        """Everything that would stop this training, as far as it can be known before the start."""
        return find_problems(self._job_service, settings, datasets, endpoints)

    def judge_memory(self, settings: TrainingSettings) -> MemoryVerdict | Message:
        """Whether a training fits the workers' devices by estimate, or in a sentence why that cannot be known."""
        return find_verdict(self._job_service, settings)

    def jobs(self, limit: int = 30) -> list[JobInfo]:
        """Trainings, servings and exports, newest first."""
        # Kind by kind: in one common list the jobs of other rooms would push trainings out.
        training_jobs = [job for job_kind in TRAINING_JOB_KINDS for job in self._job_service.jobs(limit, job_kind)]
        return sorted(training_jobs, key=lambda job: job.id, reverse=True)[:limit]

    def job(self, job_id: int) -> JobInfo:
        """One of them. Raises NotFound, for a job of another room too."""
        job = self._job_service.job(job_id)
        if job.kind not in TRAINING_JOB_KINDS:
            raise NotFound(f"Job {job_id} is no training.", f"任务 {job_id} 不是训练任务。")
        return job

    def cancel(self, job_id: int) -> JobInfo:
        """End a job, and what waits for it to succeed."""
        # Those that wait would only fail one by one, with a sentence about a job that somebody ended on purpose.
        job = self._job_service.cancel(self.job(job_id).id)
        for waiting_job in self._find_waiting_jobs(job, JobStatus.QUEUED, JobStatus.PAUSED):
            self._job_service.cancel(waiting_job.id)
        return job

    def pause(self, job_id: int) -> JobInfo:
        """Let a job stop after its current step, and what waits for it with it."""
        job = self._job_service.pause(self.job(job_id).id)
        for waiting_job in self._find_waiting_jobs(job, JobStatus.QUEUED):
            self._job_service.pause(waiting_job.id)
        return job

    def resume(self, job_id: int) -> JobInfo:
        """Go on with a job, and with what was paused together with it or failed because of it."""
        job = self._job_service.resume(self.job(job_id).id)
        for waiting_job in self._find_waiting_jobs(job, JobStatus.PAUSED, JobStatus.FAILED):
            self._job_service.resume(waiting_job.id)
        return job

    def run_again(self, job_id: int) -> JobInfo:
        """A new job with the same settings."""
        return self._job_service.run_again(self.job(job_id).id)

    def why_starter_blocked(self) -> Message | None:
        """Why the starter model cannot be trained now; None where it can."""
        for job in self._job_service.jobs(job_kind="sft") + self._job_service.jobs(job_kind="reward_model"):
            is_starter = job.config.get("base") == STARTER or job.config.get("name") in STARTER_NAMES.values()
            if is_starter and not job.ended:
                return Message(
                    f"The starter model is being trained already (job {job.id}, {job.status.value}).",
                    f"入门模型已在训练（任务 {job.id}）。",
                )
        return None

    def find_starter_job(self) -> JobInfo | None:
        """The newest training of the starter's policy, whatever became of it."""
        return next((job for job in self._job_service.jobs(job_kind="sft") if job.config.get("base") == STARTER), None)

    def start_starter(self) -> tuple[JobInfo, JobInfo]:
        """Queue policy and reward model of the starter, in this order. Raises Conflict while one runs."""
        if blocking_reason := self.why_starter_blocked():
            raise Conflict(blocking_reason.en, blocking_reason.zh)
        # The reward model's base is “latest”, which then means what this job leaves behind.
        policy_job = self.submit("sft", STARTER_PRESET, {"name": STARTER_NAMES["sft"]})
        reward_settings = {"name": STARTER_NAMES["reward_model"]}
        reward_job = self.submit(
            "reward_model", STARTER_PRESET, reward_settings, parent_id=policy_job.id, after_id=policy_job.id
        )
        return policy_job, reward_job

    def find_artifact(self, job_id: int) -> ArtifactInfo | None:
        """The model that a job left behind, or that it serves or exports."""
        job, known_artifacts = self.job(job_id), self._job_service.artifacts()
        if job.kind in (SERVE_KIND, EXPORT_KIND):
            requested_artifact = str(job.config.get("artifact", ""))
            return next(
                (
                    candidate
                    for candidate in known_artifacts
                    if requested_artifact == f"{ARTIFACT_PREFIX}{candidate.id}"
                ),
                None,
            )
        return next(
            (
                candidate
                for candidate in known_artifacts
                if candidate.job_id == job_id and candidate.kind is ARTIFACT_KIND_BY_PROGRAM[job.kind]
            ),
            None,
        )

    def read_card(self, artifact: ArtifactInfo) -> str:
        """The model card; empty where there is none (any more)."""
        try:
            with (artifact.path / CARD_FILE).open(encoding="utf-8") as card_file:
                return card_file.read(MAX_CARD_LENGTH)
        except (OSError, UnicodeDecodeError):
            return ""

    def serve(self, artifact_id: int, idle_minutes: float = 0) -> JobInfo:
        """Queue the serving of a policy, until it has rested for so many minutes (0: until it is stopped).

        Raises NotFound where there is nothing to serve, Conflict where it is served already.
        """
        return self._policy_serving.start(artifact_id, idle_minutes)

    def export(self, artifact_id: int, export_format: str) -> JobInfo:
        """Queue the export of a policy into the folder of its job. Raises UserError where there is none."""
        setting_values = {"artifact": f"{ARTIFACT_PREFIX}{artifact_id}", "to": export_format}
        return queue_export(self._job_service, parse_export_settings(setting_values))

    def find_export_folder(self, job_id: int) -> Path | None:
        """Where the files of an export lie, once they are there; None for a job of another kind."""
        job = self.job(job_id)
        return export_folder(self._job_service, job) if job.kind == EXPORT_KIND else None

    def find_serving_job(self, artifact_id: int) -> JobInfo | None:
        """The job that serves an artifact, while it does."""
        return self._policy_serving.find_job(artifact_id)

    def find_address(self, job_id: int) -> ServedAddress | None:
        """Where a serving job answers, once it does; not where it did before it was started again."""
        return self._policy_serving.find_address(job_id)

    def _find_waiting_jobs(self, job: JobInfo, *statuses: JobStatus) -> list[JobInfo]:
        """Trainings that never started because `job` has to succeed first."""
        waiting_jobs = [
            # One that has run before has a state of its own, and is somebody's own decision.
            candidate
            for candidate in self.jobs()
            if candidate.after_id == job.id and candidate.attempt == 0
        ]
        return [candidate for candidate in waiting_jobs if candidate.status in statuses]


# What the policy takes of the time of policy and reward model together.
# Measured in a fresh clone on two threads: 4 min 46 s and 1 min 28 s.
SFT_TIME_SHARE = 0.75


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
    # A row outlives its files, and without them there is nothing to serve.
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
    """At a first start, where that is configured and there is no GPU: queue the starter. Whether it was queued."""
    if starter_mode != "auto" or any(not device_name.startswith(CPU_PREFIX) for device_name in find_devices(None)):
        return False
    try:
        training_service.start_starter()
    # Somebody has begun it by hand, which is as good.
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
