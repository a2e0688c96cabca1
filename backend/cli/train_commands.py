"""`train`: SFT, reward model and GRPO as background jobs, without the page."""

import sys
import time
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.jobs.options import JobOptions
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind, JobStatus
from backend.jobs.worker import Worker
from backend.settings import Settings
from backend.training_config import assignments
from backend.trainings import TrainingService

POLL = 0.5
Program = Annotated[str, typer.Argument(metavar="sft|reward_model|grpo", help="What to train.")]
Preset = Annotated[str | None, typer.Option(help="Named settings to start from; default: starter_cpu.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be repeated.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when the job has ended.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train")(train)


def train(
    program: Program,
    preset: Preset = None,
    values: Sets = None,
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Queue a training; with --wait stay until it has ended (working on it here if nobody else does)."""
    given = assignments(program, values or [])
    house = Settings.load()
    house.home.mkdir(parents=True, exist_ok=True)
    database = Database(house.url)
    try:
        migrate(database)
        jobs = JobService(database, house.home, JobOptions.load())
        job = TrainingService(jobs).submit(program, preset, given, priority)
        if wait:
            job = _until_ended(database, house, jobs, job)
        result = _result(jobs, job)
    finally:
        database.close()
    emit(result, as_json, _lines)
    if wait and job.status is not JobStatus.SUCCEEDED:
        raise typer.Exit(1)


def _until_ended(database: Database, house: Settings, jobs: JobService, job: JobInfo) -> JobInfo:
    shown = ""
    while not job.ended:
        if job.status is JobStatus.QUEUED and not jobs.workers():
            print("no worker is running: working here", file=sys.stderr, flush=True)
            Worker(database, house.home, options=JobOptions.load()).run(once=True)
        elif job.progress_text != shown:
            shown = job.progress_text
            print(f"job {job.id}: {shown}", file=sys.stderr, flush=True)
        time.sleep(POLL)
        job = jobs.job(job.id)
    return job


def _result(jobs: JobService, job: JobInfo) -> dict[str, Any]:
    kinds = (ArtifactKind.POLICY, ArtifactKind.REWARD_MODEL)
    made = [artifact for kind in kinds for artifact in jobs.artifacts(kind) if artifact.job_id == job.id]
    return {
        "job": job.id,
        "status": job.status.value,
        "artifact": made[0].id if made else None,
        "path": str(made[0].path) if made else None,
        "metrics": made[0].metrics if made else {},
        "error": job.error.en if job.error else None,
    }


def _lines(result: dict[str, Any]) -> str:
    lines = [f"job {result['job']}: {result['status']}"]
    if result["error"]:
        lines.append(f"error: {result['error']}")
    if result["artifact"]:
        lines.append(f"artifact {result['artifact']}: {result['path']}")
    lines += [f"  {name}: {_shown(value)}" for name, value in result["metrics"].items()]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
