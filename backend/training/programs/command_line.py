"""What all programs of a worker have in common: options, the job's row, and artifacts by name. No torch."""

import argparse
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select

from backend.core.enums import ArtifactKind
from backend.core.errors import UserError
from backend.core.text import parse_row_number
from backend.db.engine import Database
from backend.db.job_tables import Artifact, Job
from backend.generation.serving import ARTIFACT_PREFIX, LATEST
from backend.jobs.service import own_artifacts_first


def build_parser(program: str) -> argparse.ArgumentParser:
    """The options of `python -m backend.training.programs.<program>`: --job N or --out DIR, and --set key=value."""
    parser = argparse.ArgumentParser(prog=f"python -m backend.training.programs.{program}")
    destination = parser.add_mutually_exclusive_group(required=True)
    destination.add_argument("--job", type=int, help="run this job of the database")
    destination.add_argument("--out", type=Path, help="run by hand, into this folder")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="one setting")
    return parser


def read_job(database: Database, job_id: int, job_kind: str, home_folder: Path) -> tuple[dict[str, Any], Path]:
    """The stored configuration of a job and the folder of its run. Raises UserError where it is of another kind."""
    with database.read() as session:
        job = session.get(Job, job_id)
        if job is None or job.kind != job_kind:
            raise UserError(f"There is no {job_kind} job {job_id}.", f"没有编号为 {job_id} 的 {job_kind} 任务。")
        # A worker's log lies in the run's folder; by hand a job may be run that no worker has taken.
        run_folder = Path(job.log_path).parent if job.log_path else home_folder.resolve() / "runs" / str(job_id)
        return dict(job.config), run_folder


def artifact_query(requested_artifact: str, artifact_kind: ArtifactKind) -> Select[tuple[Artifact]]:
    """One row or none: of "latest" the newest of the kind, own ones first; of "artifact:N" that one, of any kind."""
    if requested_artifact == LATEST:
        newest_first = select(Artifact).where(Artifact.kind == artifact_kind).order_by(*own_artifacts_first())
        return newest_first.limit(1)
    artifact_id = parse_row_number(requested_artifact.removeprefix(ARTIFACT_PREFIX))
    return select(Artifact).where(Artifact.id == artifact_id)


def check_artifact_folder(artifact: Artifact) -> None:
    """Raises UserError where the files of an artifact are gone."""
    if not Path(artifact.path).is_dir():
        raise UserError(
            f"The files of artifact {artifact.id} are gone ({artifact.path}); train it again or choose another.",
            f"产物 {artifact.id} 的文件已不在（{artifact.path}），请重新训练或另选一个。",
        )
