"""Exports of trained policies to files that other programs run: their settings and their job. No torch here."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from backend.core.enums import ArtifactKind, EventKind
from backend.core.errors import NotFound, UserError
from backend.core.text import parse_row_number
from backend.generation.serving import ARTIFACT_PREFIX, LATEST, check_artifact_files
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.jobs.service import JobService
from backend.training.messages import EXPORTED

# The kind of job that exports a policy.
EXPORT_KIND = "export"
_NAME_PATTERN = re.compile(r"[\w.-]+")
_REPOSITORY_PATTERN = re.compile(r"[\w.-]+/[\w.-]+")


class ExportSettings(BaseModel):
    """A trained policy as files for other programs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    artifact: str = Field(LATEST, min_length=1, description="Policy: artifact:N, a folder, or latest.")
    to: Literal["safetensors", "gguf", "ollama"] = Field(
        "safetensors",
        description="safetensors: for transformers and vLLM; gguf: for llama.cpp; ollama: GGUF with a Modelfile.",
    )
    out: str | None = Field(None, min_length=1, description="Folder for the files; default: one beside the job's log.")
    precision: Literal["auto", "f32", "f16", "bf16", "q8_0"] = Field(
        "auto", description="Weights of a GGUF; auto: as they are stored, q8_0: half of 16 bits, hardly worse."
    )
    name: str | None = Field(None, max_length=60, description="Name of the model there; default: the artifact's.")
    push: str | None = Field(
        None, max_length=120, description="Repository of the Hugging Face hub to upload to (owner/name)."
    )
    public: bool = Field(False, description="Make a repository that is new public; private otherwise.")

    @field_validator("name")
    @classmethod
    def _check_name(cls, model_name: str | None) -> str | None:
        if model_name is not None and not _NAME_PATTERN.fullmatch(model_name):
            raise ValueError("use letters, digits, dots and dashes")
        return model_name

    @field_validator("push")
    @classmethod
    def _check_repository(cls, repository_id: str | None) -> str | None:
        if repository_id is not None and not _REPOSITORY_PATTERN.fullmatch(repository_id):
            raise ValueError("a repository of the hub is written owner/name")
        return repository_id

    @model_validator(mode="after")
    def _check_precision(self) -> Self:
        if self.to == "safetensors" and self.precision != "auto":
            raise ValueError("safetensors keep the weights as they were trained; leave precision at auto")
        return self


def parse_export_settings(setting_values: Mapping[str, Any]) -> ExportSettings:
    """Typed settings. Raises UserError naming the field that is wrong."""
    try:
        return ExportSettings(**setting_values)
    except ValidationError as error:
        first_error = error.errors()[0]
        setting_name = ".".join(str(location_part) for location_part in first_error["loc"]) or "precision"
        explanation = first_error["msg"].removeprefix("Value error, ")
        rejected_input = setting_values.get(setting_name)
        raise UserError(
            f"export: {setting_name} = {rejected_input!r} is not usable: {explanation}; correct {setting_name}.",
            f"export：{setting_name} 的值 {rejected_input!r} 不可用：{explanation}，请改正。",
        ) from error


def check_export_config(job_config: dict[str, Any]) -> None:
    """A check of a job's stored configuration, for the queue. Raises UserError."""
    parse_export_settings(job_config)


def queue_export(job_service: JobService, settings: ExportSettings) -> JobInfo:
    """Queue the export of a policy.

    Raises NotFound where there is no such artifact or its files are gone, UserError where it is no policy.
    """
    if settings.artifact == LATEST or settings.artifact.startswith(ARTIFACT_PREFIX):
        artifact = _find_artifact(job_service, settings.artifact)
        check_artifact_files(artifact)
        # What is “latest” now may not be when the job starts.
        settings = settings.model_copy(update={"artifact": f"{ARTIFACT_PREFIX}{artifact.id}"})
    # It copies and converts on the CPU, and must not wait for the GPU of a training.
    return job_service.submit(EXPORT_KIND, settings, slot_count=0)


def export_folder(job_service: JobService, export_job: JobInfo) -> Path | None:
    """Where the files of an export lie; None before they are there, and where they are gone."""
    events = job_service.events(export_job.id, event_kinds=[EventKind.LOG])
    folders = [Path(str(event.data["values"]["folder"])) for event in events if event.data.get("code") == EXPORTED.code]
    return folders[-1] if folders and folders[-1].is_dir() else None


def _find_artifact(job_service: JobService, requested_artifact: str) -> ArtifactInfo:
    if requested_artifact == LATEST:
        policy_artifacts = job_service.artifacts(ArtifactKind.POLICY)
        artifact = policy_artifacts[0] if policy_artifacts else None
    else:
        artifact_id = parse_row_number(requested_artifact.removeprefix(ARTIFACT_PREFIX))
        artifact = next((candidate for candidate in job_service.artifacts() if candidate.id == artifact_id), None)
    if artifact is None:
        raise missing_policy(requested_artifact)
    if artifact.kind is not ArtifactKind.POLICY:
        raise no_writer(f"artifact {artifact.id}", f"产物 {artifact.id}")
    return artifact


def missing_policy(requested_artifact: str) -> NotFound:
    """No artifact or folder of that name."""
    return NotFound(
        f"There is no trained policy “{requested_artifact}” to export; train one first, or name its folder.",
        f"没有可导出的模型“{requested_artifact}”，请先训练，或填写其文件夹。",
    )


def no_writer(en: str, zh: str) -> UserError:
    """A model that scores, or no model at all, where one that writes is needed."""
    return UserError(
        f"{en} does not write, it scores or is data; only a policy (from SFT, DPO or GRPO) can be exported.",
        f"{zh} 不是写作模型（它用来打分，或只是数据）；只有 SFT、DPO、GRPO 训练出的策略模型可以导出。",
    )
