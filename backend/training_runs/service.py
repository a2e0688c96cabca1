"""Trainings as pages and commands start them: checked, queued, cancelled, their models served."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from backend.errors import Conflict, Message, NotFound
from backend.jobs.devices import CPU
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind, EventKind, JobStatus
from backend.training_runs.checks import MAKES, Problem, check_there, problems
from backend.training_runs.config import (
    ARTIFACT,
    STARTER,
    settings_for,
)
from backend.training_runs.config_serve import parse_serve

PROGRAMS = ("sft", "reward_model", "grpo")
SERVE = "serve"
KINDS = (*PROGRAMS, SERVE)
STARTER_PRESET = "starter"
STARTER_NAMES = {"sft": "starter", "reward_model": "starter-reward"}
CARD = "README.md"
CARD_LIMIT = 200_000


@dataclass(frozen=True)
class Address:
    """Where a served model answers."""

    base_url: str
    model: str


class TrainingService:
    """Trainings and the models they leave behind, on top of the job room."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def submit(
        self,
        program: str,
        preset: str | None,
        values: Mapping[str, Any],
        priority: int = 0,
        parent: int | None = None,
        after: int | None = None,
    ) -> JobInfo:
        """Queue a training, to start once the job `after` has succeeded.

        Raises UserError naming the preset or the setting that is wrong.
        """
        settings = settings_for(program, preset, values)
        slots = getattr(settings, "processes", 1)
        return self._jobs.submit(program, settings.model_dump(mode="json"), priority, slots, parent, after)

    def problems(
        self,
        program: str,
        values: Mapping[str, Any],
        datasets: Collection[str],
        endpoints: Collection[str],
    ) -> list[Problem]:
        """Everything that would stop this training, as far as it can be known before the start."""
        return problems(self._jobs, program, values, datasets, endpoints)

    def jobs(self, limit: int = 30) -> list[JobInfo]:
        """Trainings and servings, newest first."""
        found = [job for kind in KINDS for job in self._jobs.jobs(limit, kind)]
        return sorted(found, key=lambda job: job.id, reverse=True)[:limit]

    def job(self, job_id: int) -> JobInfo:
        """One of them. Raises NotFound, for a job of another room too."""
        job = self._jobs.job(job_id)
        if job.kind not in KINDS:
            raise NotFound(f"Job {job_id} is no training.", f"任务 {job_id} 不是训练任务。")
        return job

    def cancel(self, job_id: int) -> JobInfo:
        """End a job, and what waits for it to succeed."""
        job = self._jobs.cancel(self.job(job_id).id)
        for other in self._waiting(job, JobStatus.QUEUED, JobStatus.PAUSED):
            self._jobs.cancel(other.id)
        return job

    def pause(self, job_id: int) -> JobInfo:
        """Let a job stop after its current step, and what waits for it with it."""
        job = self._jobs.pause(self.job(job_id).id)
        for other in self._waiting(job, JobStatus.QUEUED):
            self._jobs.pause(other.id)
        return job

    def resume(self, job_id: int) -> JobInfo:
        """Go on with a job, and with what was paused beside it or failed because of it."""
        job = self._jobs.resume(self.job(job_id).id)
        for other in self._waiting(job, JobStatus.PAUSED, JobStatus.FAILED):
            self._jobs.resume(other.id)
        return job

    def again(self, job_id: int) -> JobInfo:
        """A new job with the same settings."""
        return self._jobs.run_again(self.job(job_id).id)

    def starter_blocked(self) -> Message | None:
        """Why the starter model cannot be trained now; None where it can."""
        for job in self._jobs.jobs(kind="sft") + self._jobs.jobs(kind="reward_model"):
            mine = job.config.get("base") == STARTER or job.config.get("name") in STARTER_NAMES.values()
            if mine and not job.ended:
                return Message(
                    f"The starter model is being trained already (job {job.id}, {job.status.value}).",
                    f"入门模型已在训练（任务 {job.id}）。",
                )
        return None

    def starter_job(self) -> JobInfo | None:
        """The newest training of the starter's policy, whatever became of it."""
        return next((job for job in self._jobs.jobs(kind="sft") if job.config.get("base") == STARTER), None)

    def start_starter(self) -> tuple[JobInfo, JobInfo]:
        """Queue policy and reward model of the starter, in this order. Raises Conflict while one runs."""
        if blocked := self.starter_blocked():
            raise Conflict(blocked.en, blocked.zh)
        policy = self.submit("sft", STARTER_PRESET, {"name": STARTER_NAMES["sft"]})
        named = {"name": STARTER_NAMES["reward_model"]}
        judge = self.submit("reward_model", STARTER_PRESET, named, parent=policy.id, after=policy.id)
        return policy, judge

    def artifact_of(self, job_id: int) -> ArtifactInfo | None:
        """The model that a job left behind, or that it serves."""
        job, known = self.job(job_id), self._jobs.artifacts()
        if job.kind == SERVE:
            wish = str(job.config.get("artifact", ""))
            return next((made for made in known if wish == f"{ARTIFACT}{made.id}"), None)
        return next((made for made in known if made.job_id == job_id and made.kind is MAKES[job.kind]), None)

    def card(self, artifact: ArtifactInfo) -> str:
        """The model card; empty where there is none (any more)."""
        try:
            with (artifact.path / CARD).open(encoding="utf-8") as file:
                return file.read(CARD_LIMIT)
        except (OSError, UnicodeDecodeError):
            return ""

    def serve(self, artifact_id: int, idle_minutes: float = 0) -> JobInfo:
        """Queue the serving of a policy, until it has rested for so long (0: until it is stopped).

        Raises UserError where there is nothing to serve, Conflict where it is served already.
        """
        found = next((made for made in self._jobs.artifacts() if made.id == artifact_id), None)
        if found is None or found.kind is not ArtifactKind.POLICY:
            raise NotFound(
                f"Artifact {artifact_id} is no policy; only those can be served.",
                f"产物 {artifact_id} 不是策略模型，只有策略模型可以启动服务。",
            )
        check_there(found)
        if running := self.serving(artifact_id):
            raise Conflict(
                f"Job {running.id} serves this model already.", f"任务 {running.id} 已在提供这个模型的服务。"
            )
        settings = parse_serve({"artifact": f"{ARTIFACT}{artifact_id}", "idle_minutes": idle_minutes})
        # On a CPU a model that waits for requests must not keep the only slot from the next training.
        gpus = any(not name.startswith(CPU) for worker in self._jobs.workers() for name in worker.devices)
        return self._jobs.submit(SERVE, settings.model_dump(mode="json"), slots=int(gpus))

    def serving(self, artifact_id: int) -> JobInfo | None:
        """The job that serves an artifact, while it does."""
        wish = f"{ARTIFACT}{artifact_id}"
        jobs = self._jobs.jobs(kind=SERVE)
        return next((job for job in jobs if not job.ended and job.config.get("artifact") == wish), None)

    def address(self, job_id: int) -> Address | None:
        """Where a serving job answers, once it does; not where it did before it was started again."""
        start = self._jobs.job(job_id).started_at
        events = self._jobs.events(job_id, kinds=[EventKind.LOG])
        since = [event.data for event in events if start and event.at >= start]
        told = next((data for data in reversed(since) if "base_url" in data), None)
        return Address(str(told["base_url"]), str(told.get("model", ""))) if told else None

    def _waiting(self, job: JobInfo, *statuses: JobStatus) -> list[JobInfo]:
        """Trainings that never started because `job` has to succeed first."""
        others = [other for other in self.jobs() if other.after_id == job.id and other.attempt == 0]
        return [other for other in others if other.status in statuses]


def size_of(path: Path) -> int | None:
    """Bytes of a file or folder; None where it is gone."""
    try:
        return _size(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=512)
def _size(path: Path, _changed: int) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
