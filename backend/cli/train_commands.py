"""`train`: SFT, reward model and GRPO as background jobs, without the page."""

import sys
import time
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.errors import UserError
from backend.jobs.options import JobOptions
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind, JobStatus
from backend.jobs.worker import Worker
from backend.services import Services, open_services
from backend.training_runs.config import assignments, settings_for
from backend.training_runs.service import TrainingService

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
    settings = settings_for(program, preset, assignments(program, values or []))
    with open_services() as services:
        trainings = TrainingService(services.jobs)
        _check(services, trainings, program, settings.model_dump(mode="json"))
        job = trainings.submit(program, None, settings.model_dump(mode="json"), priority)
        if wait:
            job = _until_ended(services, job)
        result = _result(services.jobs, job)
    emit(result, as_json, _lines)
    if wait and job.status is not JobStatus.SUCCEEDED:
        raise typer.Exit(1)


def _check(services: Services, trainings: TrainingService, program: str, values: dict[str, Any]) -> None:
    """Raises UserError for the first thing that would stop the training."""
    datasets = [info.name for info in services.corpus.datasets()]
    endpoints = [info.name for info in services.endpoints.endpoints()]
    for problem in trainings.problems(program, values, datasets, endpoints):
        en, zh = problem.message.en, problem.message.zh
        raise UserError(f"{problem.field}: {en}", f"{problem.field}：{zh}")


def _until_ended(services: Services, job: JobInfo) -> JobInfo:
    shown, jobs = "", services.jobs
    while not job.ended:
        if job.status is JobStatus.QUEUED and not jobs.workers():
            print("no worker is running: working here", file=sys.stderr, flush=True)
            Worker(services.database, services.settings.home, options=JobOptions.load()).run(once=True)
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
