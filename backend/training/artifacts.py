"""Artifacts as settings name them: the one that is meant, and whether a training is about to leave another."""

from backend.core.enums import ArtifactKind
from backend.generation.serving import ARTIFACT_PREFIX, LATEST
from backend.jobs.records import ArtifactInfo
from backend.jobs.service import JobService

ARTIFACT_KIND_BY_PROGRAM = {
    "sft": ArtifactKind.POLICY,
    "dpo": ArtifactKind.POLICY,
    "grpo": ArtifactKind.POLICY,
    "reward_model": ArtifactKind.REWARD_MODEL,
}


def names_artifact(model_name: str) -> bool:
    """Whether a setting names an artifact, and neither a folder nor a model of the hub."""
    return model_name == LATEST or model_name.startswith(ARTIFACT_PREFIX)


def find_requested_artifact(
    job_service: JobService, model_name: str, artifact_kind: ArtifactKind
) -> ArtifactInfo | None:
    """The artifact of that kind that "latest" or "artifact:N" means now; None where there is none."""
    # In the order of the list: those trained in this home, the newest first, then those that came with the project.
    return next(
        (
            candidate
            for candidate in job_service.artifacts(artifact_kind)
            if model_name in (LATEST, f"{ARTIFACT_PREFIX}{candidate.id}")
        ),
        None,
    )


def is_being_trained(job_service: JobService, artifact_kind: ArtifactKind) -> bool:
    """Whether a job is about to leave an artifact of that kind, which “latest” will mean then."""
    return any(
        not job.ended
        for program, produced_kind in ARTIFACT_KIND_BY_PROGRAM.items()
        if produced_kind is artifact_kind
        for job in job_service.jobs(job_kind=program)
    )
