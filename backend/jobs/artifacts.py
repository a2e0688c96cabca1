"""What jobs leave behind: files by hash, with what they were made from."""

import hashlib
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db.job_tables import Artifact
from backend.errors import NotFound
from backend.jobs.records import ArtifactInfo
from backend.jobs.vocabulary import ArtifactKind


def compute_sha256(target_path: Path) -> str:
    """Hash of a file, or of every file of a folder with its place in it. Raises NotFound."""
    if not target_path.exists():
        raise NotFound(f"There is nothing at {target_path}.", f"{target_path} 处没有任何文件。")
    if target_path.is_file():
        with target_path.open("rb") as binary_file:
            return hashlib.file_digest(binary_file, "sha256").hexdigest()
    folder_hash = hashlib.sha256()
    for file_path in sorted(candidate for candidate in target_path.rglob("*") if candidate.is_file()):
        folder_hash.update(f"{file_path.relative_to(target_path).as_posix()}\0{compute_sha256(file_path)}\n".encode())
    return folder_hash.hexdigest()


def list_artifacts(session: Session, artifact_kind: ArtifactKind | None) -> list[ArtifactInfo]:
    """Artifacts, newest first."""
    artifact_query = select(Artifact).order_by(Artifact.id.desc())
    if artifact_kind is not None:
        artifact_query = artifact_query.where(Artifact.kind == artifact_kind)
    return [artifact_info(artifact_row) for artifact_row in session.scalars(artifact_query)]


def artifact_info(artifact_row: Artifact) -> ArtifactInfo:
    """The row as a record."""
    return ArtifactInfo(
        id=artifact_row.id,
        kind=artifact_row.kind,
        name=artifact_row.name,
        path=Path(artifact_row.path),
        sha256=artifact_row.sha256,
        parent_id=artifact_row.parent_id,
        job_id=artifact_row.job_id,
        data_hash=artifact_row.data_hash,
        config=artifact_row.config,
        metrics=artifact_row.metrics,
        created_at=artifact_row.created_at,
    )
