"""`train`: SFT, reward model and GRPO as background jobs, without the page."""

import sys
import time
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, print_result
from backend.errors import UserError
from backend.jobs.options import JobOptions
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind, JobStatus
from backend.jobs.worker import Worker
from backend.services import Services, open_services
from backend.training_runs.config import parse_assignments, settings_for
from backend.training_runs.service import TrainingService

POLL_SECONDS = 0.5
ProgramArgument = Annotated[str, typer.Argument(metavar="sft|reward_model|grpo", help="What to train.")]
PresetOption = Annotated[str | None, typer.Option(help="Named settings to start from; default: starter_cpu.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be repeated.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Return when the job has ended.")]


def register(cli_app: typer.Typer) -> None:
    """Add the command to the application."""
    cli_app.command("train")(queue_training)


def queue_training(
    program_name: ProgramArgument,
    preset: PresetOption = None,
    setting_options: SetOption = None,
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    wait_for_end: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Queue a training; with --wait stay until it has ended (working on it here if nobody else does)."""
    training_settings = settings_for(program_name, preset, parse_assignments(program_name, setting_options or []))
    with open_services() as services:
        training_service = TrainingService(services.jobs)
        _check_settings(services, training_service, program_name, training_settings.model_dump(mode="json"))
        training_job = training_service.submit(program_name, None, training_settings.model_dump(mode="json"), priority)
        if wait_for_end:
            training_job = _wait_for_end(services, training_job)
        training_fields = _training_to_dict(services.jobs, training_job)
    print_result(training_fields, as_json, _format_training)
    if wait_for_end and training_job.status is not JobStatus.SUCCEEDED:
        raise typer.Exit(1)


def _check_settings(
    services: Services, training_service: TrainingService, program_name: str, setting_values: dict[str, Any]
) -> None:
    """Raises UserError for the first thing that would stop the training."""
    dataset_names = [source_info.name for source_info in services.corpus.datasets()]
    endpoint_names = [source_info.name for source_info in services.endpoints.endpoints()]
    for problem in training_service.find_problems(program_name, setting_values, dataset_names, endpoint_names):
        en, zh = problem.message.en, problem.message.zh
        raise UserError(f"{problem.field}: {en}", f"{problem.field}：{zh}")


def _wait_for_end(services: Services, training_job: JobInfo) -> JobInfo:
    shown_text, job_service = "", services.jobs
    while not training_job.ended:
        if training_job.status is JobStatus.QUEUED and not job_service.workers():
            print("no worker is running: working here", file=sys.stderr, flush=True)
            Worker(services.database, services.settings.home, options=JobOptions.load()).run(once=True)
        elif training_job.progress_text != shown_text:
            shown_text = training_job.progress_text
            print(f"job {training_job.id}: {shown_text}", file=sys.stderr, flush=True)
        time.sleep(POLL_SECONDS)
        training_job = job_service.job(training_job.id)
    return training_job


def _training_to_dict(job_service: JobService, training_job: JobInfo) -> dict[str, Any]:
    artifact_kinds = (ArtifactKind.POLICY, ArtifactKind.REWARD_MODEL)
    trained_artifacts = [
        artifact
        for artifact_kind in artifact_kinds
        for artifact in job_service.artifacts(artifact_kind)
        if artifact.job_id == training_job.id
    ]
    return {
        "job": training_job.id,
        "status": training_job.status.value,
        "artifact": trained_artifacts[0].id if trained_artifacts else None,
        "path": str(trained_artifacts[0].path) if trained_artifacts else None,
        "metrics": trained_artifacts[0].metrics if trained_artifacts else {},
        "error": training_job.error.en if training_job.error else None,
    }


def _format_training(training_fields: dict[str, Any]) -> str:
    output_lines = [f"job {training_fields['job']}: {training_fields['status']}"]
    if training_fields["error"]:
        output_lines.append(f"error: {training_fields['error']}")
    if training_fields["artifact"]:
        output_lines.append(f"artifact {training_fields['artifact']}: {training_fields['path']}")
    output_lines += [
        f"  {metric_name}: {_format_metric(metric_value)}"
        for metric_name, metric_value in training_fields["metrics"].items()
    ]
    return "\n".join(output_lines)


def _format_metric(metric_value: Any) -> str:
    return f"{metric_value:.4g}" if isinstance(metric_value, float) else str(metric_value)
