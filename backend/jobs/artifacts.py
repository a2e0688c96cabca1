"""What jobs leave behind: files by hash, with what they were made from."""

import hashlib
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db.job_tables import Artifact
from backend.errors import NotFound
from backend.jobs.records import ArtifactInfo
from backend.jobs.vocabulary import ArtifactKind


def sha256_of(path: Path) -> str:
    """Hash of a file, or of every file of a folder with its place in it. Raises NotFound."""
    if not path.exists():
        raise NotFound(f"There is nothing at {path}.", f"{path} 处没有任何文件。")
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for file_path in sorted(found for found in path.rglob("*") if found.is_file()):
        whole.update(f"{file_path.relative_to(path).as_posix()}\0{sha256_of(file_path)}\n".encode())
    return whole.hexdigest()


def listed(session: Session, kind: ArtifactKind | None) -> list[ArtifactInfo]:
    """Artifacts, newest first."""
    query = select(Artifact).order_by(Artifact.id.desc())
    if kind is not None:
        query = query.where(Artifact.kind == kind)
    return [info_of(row) for row in session.scalars(query)]


def info_of(row: Artifact) -> ArtifactInfo:
    """The row as a record."""
    return ArtifactInfo(
        id=row.id,
        kind=row.kind,
        name=row.name,
        path=Path(row.path),
        sha256=row.sha256,
        parent_id=row.parent_id,
        job_id=row.job_id,
        data_hash=row.data_hash,
        config=row.config,
        metrics=row.metrics,
        created_at=row.created_at,
    )
