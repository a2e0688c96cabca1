"""Serving policies trained here: the settings of a `serve` job, its start and stop, and where it answers.

A served policy is an OpenAI-compatible endpoint like any other, so that one client asks them all.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from backend.core.enums import ArtifactKind, EventKind
from backend.core.errors import Conflict, NotFound, UserError
from backend.core.network import is_loopback

# For the types alone: the queue checks the settings below before it takes a job, and so imports this module.
if TYPE_CHECKING:
    from backend.jobs.records import ArtifactInfo, JobInfo
    from backend.jobs.service import JobService

# `artifact:N` names artifact N wherever a model can be named: in settings, commands, plans and the ledger.
ARTIFACT_PREFIX = "artifact:"
# The newest artifact of its kind, where a setting names a model.
LATEST = "latest"
# The kind of job that serves a policy.
SERVE_KIND = "serve"
_NAME_PATTERN = re.compile(r"[\w.-]+")


class ServeSettings(BaseModel):
    """A trained policy behind an OpenAI-compatible address."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    artifact: str = Field(LATEST, min_length=1, description="Policy: artifact:N, a folder, or latest.")
    engine: Literal["auto", "transformers", "vllm"] = Field("auto", description="auto: vllm where it can run.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on, one of this machine's own.")
    port: int = Field(0, ge=0, le=65535, description="0 takes a free one.")
    model: str | None = Field(None, max_length=60, description="Name of the model at that address.")
    idle_minutes: float = Field(0, ge=0, le=100_000, description="End after so long without a request; 0 never.")
    start_seconds: float = Field(600, gt=0, le=86_400, description="Longest wait until it answers.")

    @field_validator("host")
    @classmethod
    def _check_host(cls, host_address: str) -> str:
        # The model servers know no key: on a network anybody could use the model, and the GPU.
        if not is_loopback(host_address):
            raise ValueError("a served model has no password; use 127.0.0.1, and a tunnel from elsewhere")
        return host_address

    @field_validator("model")
    @classmethod
    def _check_model_name(cls, model_name: str | None) -> str | None:
        if model_name is not None and not _NAME_PATTERN.fullmatch(model_name):
            raise ValueError("use letters, digits, dots and dashes")
        return model_name


def parse_serve_settings(setting_values: Mapping[str, Any]) -> ServeSettings:
    """Typed settings. Raises UserError naming the field that is wrong."""
    try:
        return ServeSettings(**setting_values)
    except ValidationError as error:
        first_error = error.errors()[0]
        setting_name = ".".join(str(location_part) for location_part in first_error["loc"]) or "settings"
        rejected_input, explanation = first_error["input"], first_error["msg"]
        raise UserError(
            f"serve: {setting_name} = {rejected_input!r} is not usable: {explanation}; correct {setting_name}.",
            f"serve：{setting_name} 的值 {rejected_input!r} 不可用：{explanation}，请改正。",
        ) from error


def check_serve_config(job_config: dict[str, Any]) -> None:
    """A check of a job's stored configuration, for the queue. Raises UserError."""
    parse_serve_settings(job_config)


@dataclass(frozen=True)
class ServedAddress:
    """Where a served model answers: the address that ends in `/v1`, and the model's name there."""

    base_url: str
    model_name: str


class PolicyServing:
    """Serve jobs of the policies trained here, on top of the job room."""

    def __init__(self, job_service: "JobService") -> None:
        self._job_service = job_service

    def start(self, artifact_id: int, idle_minutes: float = 0) -> "JobInfo":
        """Queue the serving of a policy, until it has rested for so many minutes (0: until it is stopped).

        Raises NotFound where there is nothing to serve, Conflict where it is served already.
        """
        artifact = next((candidate for candidate in self._job_service.artifacts() if candidate.id == artifact_id), None)
        if artifact is None or artifact.kind is not ArtifactKind.POLICY:
            raise NotFound(
                f"Artifact {artifact_id} is no policy; only those can be served.",
                f"产物 {artifact_id} 不是策略模型，只有策略模型可以启动服务。",
            )
        check_artifact_files(artifact)
        if serving_job := self.find_job(artifact_id):
            raise Conflict(
                f"Job {serving_job.id} serves this model already.",
                f"任务 {serving_job.id} 已在提供这个模型的服务。",
            )
        serve_values = {"artifact": f"{ARTIFACT_PREFIX}{artifact_id}", "idle_minutes": idle_minutes}
        # The starter that came with the project wakes by itself, so it must never take a GPU from a training.
        if artifact.is_shipped:
            serve_values["engine"] = "transformers"
        settings = parse_serve_settings(serve_values)
        # On a CPU a model that waits for requests must not keep the only slot from the next training.
        slot_count = int(self._has_gpus() and not artifact.is_shipped)
        return self._job_service.submit(SERVE_KIND, settings, slot_count=slot_count)

    def start_or_join(self, artifact_id: int, idle_minutes: float) -> "JobInfo | None":
        """As `start`, or the job that serves the policy already; None where that one has just ended."""
        try:
            started_job = self.start(artifact_id, idle_minutes)
        except Conflict:
            return self.find_job(artifact_id)
        return self.keep_earliest(artifact_id, started_job)

    def keep_earliest(self, artifact_id: int, started_job: "JobInfo") -> "JobInfo":
        """The job just started, or an earlier one that serves the same policy; the later one is then cancelled."""
        # Two processes may both have looked before either of them started.
        earliest_job = self.find_job(artifact_id) or started_job
        if earliest_job.id != started_job.id:
            self._job_service.cancel(started_job.id)
        return earliest_job

    def find_job(self, artifact_id: int) -> "JobInfo | None":
        """The job that serves an artifact, while it does."""
        return self.jobs_by_name().get(f"{ARTIFACT_PREFIX}{artifact_id}")

    def jobs_by_name(self) -> "dict[str, JobInfo]":
        """The jobs that serve, or wait to, by what their settings name; of several the earliest, which stays."""
        newest_first = [job for job in self._job_service.jobs(job_kind=SERVE_KIND) if not job.ended]
        return {str(serve_job.config.get("artifact", "")): serve_job for serve_job in newest_first}

    def find_address(self, job_id: int) -> ServedAddress | None:
        """Where a serving job answers, once it does; None before. Raises NotFound for a job that is not there."""
        started_at = self._job_service.job(job_id).started_at
        events = self._job_service.events(job_id, event_kinds=[EventKind.LOG])
        # A job that was started again still has the events of its first run, with an address that is gone.
        recent_entries = [event.data for event in events if started_at and event.at >= started_at]
        announcement = next((log_entry for log_entry in reversed(recent_entries) if "base_url" in log_entry), None)
        if announcement is None:
            return None
        return ServedAddress(str(announcement["base_url"]), str(announcement.get("model", "")))

    def stop(self, artifact_id: int) -> None:
        """End the job that serves a policy. Harmless where none does."""
        if (serving_job := self.find_job(artifact_id)) is not None:
            self._job_service.cancel(serving_job.id)

    def _has_gpus(self) -> bool:
        from backend.jobs.local import CPU_PREFIX

        return any(
            not device_name.startswith(CPU_PREFIX)
            for worker in self._job_service.workers()
            for device_name in worker.devices
        )


async def is_answering(server_address: ServedAddress) -> bool:
    """Whether the server at that address says that it is well, within two seconds."""
    import httpx2  # a slow import, kept off every start

    health_url = server_address.base_url.removesuffix("/v1") + "/health"
    try:
        # The status says it all: whatever listens there, its body is not read.
        async with (
            asyncio.timeout(2.0),
            httpx2.AsyncClient(trust_env=False) as http_client,
            http_client.stream("GET", health_url) as response,
        ):
            return response.status_code == 200
    except (httpx2.HTTPError, TimeoutError):
        return False


def check_artifact_files(artifact: "ArtifactInfo") -> None:
    """Raises NotFound where the files of an artifact are gone, UserError where those that came along were changed."""
    if not artifact.path.is_dir():
        raise NotFound(
            f"The files of artifact {artifact.id} are gone ({artifact.path}); train it again.",
            f"产物 {artifact.id} 的文件已不在（{artifact.path}），请重新训练。",
        )
    if artifact.is_shipped and measure_hash(artifact.path) != artifact.sha256:
        raise UserError(
            f"The files of artifact {artifact.id} were changed ({artifact.path}); remove that folder and start Zhufu "
            "again, which copies them anew.",
            f"产物 {artifact.id} 的文件被改动过（{artifact.path}），请删除该文件夹并重新启动应用，会重新复制一份。",
        )


def measure_hash(model_folder: Path) -> str:
    """SHA-256 of a folder, as its artifact's row holds it."""
    from backend.jobs.service import compute_sha256

    return compute_sha256(model_folder)


def measure_size(file_path: Path) -> int | None:
    """Bytes of a file, or of all files in a folder; None where it is gone."""
    try:
        return _cached_size(file_path, file_path.stat().st_mtime_ns)
    except OSError:
        return None


# Pages list every model at each look, and a folder of checkpoints has many files: counted once a change.
@lru_cache(maxsize=512)
def _cached_size(file_path: Path, _changed: int) -> int:
    if file_path.is_file():
        return file_path.stat().st_size
    return sum(inner_file.stat().st_size for inner_file in file_path.rglob("*") if inner_file.is_file())
