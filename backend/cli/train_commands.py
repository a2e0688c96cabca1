"""`train`, `export-model` and `generate`: trainings and exports as jobs, and greetings from a model or an endpoint."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, print_result
from backend.core.enums import ArtifactKind, JobStatus
from backend.core.errors import Message, UserError
from backend.generation.generators import Readiness
from backend.generation.serving import ARTIFACT_PREFIX
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.records import JobInfo, JobOptions
from backend.jobs.service import JobService
from backend.jobs.worker import Worker
from backend.jobs.workers import start_worker
from backend.playground.records import CardView, PlayRequest, RoundView
from backend.services import Services, open_services
from backend.training.exporting import export_folder, parse_export_settings, queue_export
from backend.training.service import TrainingService
from backend.training.settings import TrainingSettings, parse_assignments, settings_for
from backend.worker import WORKER_COMMAND

POLL_SECONDS = 0.5
ProgramArgument = Annotated[str, typer.Argument(metavar="sft|reward_model|dpo|grpo", help="What to train.")]
PresetOption = Annotated[str | None, typer.Option(help="Named settings to start from; default: starter.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be repeated.")]
AnywayOption = Annotated[bool, typer.Option("--anyway", help="Start even if the memory seems too small.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Return when the job has ended.")]


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    cli_app.command("train")(queue_training)
    cli_app.command("export-model")(export_model)
    cli_app.command("generate")(generate_greetings)


def queue_training(
    program_name: ProgramArgument,
    preset: PresetOption = None,
    setting_options: SetOption = None,
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    wait_for_end: WaitOption = False,
    start_anyway: AnywayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Queue a training; with --wait stay until it has ended (working on it here if nobody else does)."""
    setting_values = parse_assignments(program_name, setting_options or [])
    # Stored with the job: its program checks the card that it really gets, and must not refuse either.
    memory_check = {"memory_check": "warn"} if start_anyway else {}
    training_settings = settings_for(program_name, preset, {**setting_values, **memory_check})
    with open_services() as services:
        training_service = TrainingService(services.jobs)
        _check_settings(services, training_service, training_settings)
        memory_verdict = training_service.judge_memory(training_settings)
        memory_message = memory_verdict if isinstance(memory_verdict, Message) else memory_verdict.message
        print(memory_message.en, file=sys.stderr, flush=True)
        training_job = training_service.queue(training_settings, priority)
        if wait_for_end:
            training_job = _wait_for_end(services, training_job)
        training_fields = _training_to_dict(services.jobs, training_job)
    print_result(training_fields, as_json, _format_training)
    if wait_for_end and training_job.status is not JobStatus.SUCCEEDED:
        raise typer.Exit(1)


def _check_settings(services: Services, training_service: TrainingService, settings: TrainingSettings) -> None:
    """Raises UserError for the first thing that would stop the training."""
    dataset_names = [source_info.name for source_info in services.corpus.datasets()]
    endpoint_names = [source_info.name for source_info in services.endpoints.endpoints()]
    # Refused before it is queued, as the page does; a job would fail with the same words later.
    for problem in training_service.find_problems(settings, dataset_names, endpoint_names):
        en, zh = problem.message.en, problem.message.zh
        if problem.is_estimated:
            en, zh = (
                f"{en} This is an estimate; --anyway starts it all the same.",
                f"{zh}这只是估计，加 --anyway 可照常开始。",
            )
        raise UserError(f"{problem.field}: {en}", f"{problem.field}：{zh}")


def _wait_for_end(services: Services, training_job: JobInfo) -> JobInfo:
    shown_text, job_service = "", services.jobs
    while not training_job.ended:
        # Without a worker anywhere --wait would wait for ever.
        if training_job.status is JobStatus.QUEUED and not job_service.workers():
            print("no worker is running: working here", file=sys.stderr, flush=True)
            worker = Worker(
                services.database, services.settings.home, options=JobOptions.load(), job_programs=JOB_PROGRAMS
            )
            # It returns when nothing is left, and takes other queued jobs on its way as any worker would.
            worker.run(once=True)
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


def export_model(
    artifact: Annotated[str, typer.Argument(metavar="MODEL", help="A policy: artifact:N, latest, or a folder.")],
    export_format: Annotated[str, typer.Option("--to", help="safetensors, gguf or ollama.")] = "safetensors",
    output_folder: Annotated[Path | None, typer.Option("--out", help="Folder; default: beside the job's log.")] = None,
    precision: Annotated[str, typer.Option(help="Of a GGUF: auto, f32, f16, bf16 or q8_0.")] = "auto",
    model_name: Annotated[str | None, typer.Option("--name", help="What the model is called there.")] = None,
    repository_id: Annotated[str | None, typer.Option("--push", help="Upload to this repository of the hub.")] = None,
    is_public: Annotated[bool, typer.Option("--public", help="A new repository is public.")] = False,
    in_background: Annotated[bool, typer.Option("--background", help="Return at once; a worker does it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a trained model as files for other programs: transformers, llama.cpp, Ollama, the hub."""
    setting_values = {
        "artifact": artifact,
        "to": export_format,
        # The worker may run in another folder.
        "out": str(output_folder.expanduser().resolve()) if output_folder else None,
        "precision": precision,
        "name": model_name,
        "push": repository_id,
        "public": is_public,
    }
    settings = parse_export_settings(setting_values)
    with open_services() as services:
        export_job = queue_export(services.jobs, settings)
        if not in_background:
            export_job = _wait_for_end(services, export_job)
        folder = export_folder(services.jobs, export_job)
    export_fields = {
        "job": export_job.id,
        "status": export_job.status.value,
        "path": str(folder) if folder else None,
        "error": export_job.error.en if export_job.error else None,
    }
    print_result(export_fields, as_json, _format_export)
    if not in_background and export_job.status is not JobStatus.SUCCEEDED:
        raise typer.Exit(1)


def _format_export(export_fields: dict[str, Any]) -> str:
    details = [export_fields["error"] and f"error: {export_fields['error']}", export_fields["path"]]
    return "\n".join([f"job {export_fields['job']}: {export_fields['status']}", *filter(None, details)])


# Rounds belong to whoever began them; all commands of this home are one visitor.
CLI_VISITOR = "cli"
ArtifactOption = Annotated[str | None, typer.Option(help="A trained model: its number, or artifact:N.")]
EndpointOption = Annotated[str | None, typer.Option(help="Name of an endpoint.")]


def generate_greetings(
    prompt: Annotated[str, typer.Option(help="Whom for, what for, how: a sentence.")],
    artifact: ArtifactOption = None,
    endpoint: EndpointOption = None,
    greeting_count: Annotated[
        int | None, typer.Option("-n", min=1, max=20, help="How many; default: as asked, or 1.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    top_p: Annotated[float | None, typer.Option(min=0.05, max=1)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=8, max=2000, help="Most tokens of one.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 2, help="The same writes the same.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write greetings. A trained model is started where it does not run, and rests after a while.

    Exits 1 where one of them could not be written or is not as asked: its `error` or `note` says why.
    """
    generator_name = _generator_name(artifact, endpoint)
    sampling_options = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    sampling_overrides = {
        option_name: option_value for option_name, option_value in sampling_options.items() if option_value is not None
    }
    with open_services() as services:
        _start_generator(services, generator_name)
        started_round = services.play.begin(
            PlayRequest((generator_name,), prompt, count=greeting_count or 1, sampling=sampling_overrides, seed=seed),
            CLI_VISITOR,
        )
        services.play.wait(started_round.token)
        round_fields = _round_to_dict(services.play.view(started_round.token, CLI_VISITOR))
    print_result(round_fields, as_json, _format_round)
    if any(greeting_fields["error"] or greeting_fields["note"] for greeting_fields in round_fields["greetings"]):
        raise typer.Exit(1)


def _generator_name(artifact: str | None, endpoint: str | None) -> str:
    if (artifact is None) == (endpoint is None):
        raise UserError("Give either --artifact or --endpoint.", "请在 --artifact 和 --endpoint 中选一个。")
    if artifact is None:
        return str(endpoint)
    # A bare number and the full name are both taken.
    return f"{ARTIFACT_PREFIX}{artifact.removeprefix(ARTIFACT_PREFIX)}"


def _start_generator(services: Services, generator_name: str) -> None:
    generator_info = services.generators.info(generator_name)
    if generator_info.readiness is Readiness.READY:
        return
    # A trained model is served by a job, which only a worker starts.
    if not services.jobs.workers():
        start_worker(services.settings, WORKER_COMMAND)
    print(f"starting {generator_info.title} …", file=sys.stderr, flush=True)


def _round_to_dict(round_view: RoundView) -> dict[str, Any]:
    return {
        "prompt": round_view.prompt,
        "generator": round_view.cards[0].generator,
        "model": round_view.cards[0].model,
        "seed": round_view.seed,
        "greetings": [_card_to_dict(card_view) for card_view in round_view.cards],
    }


def _card_to_dict(card_view: CardView) -> dict[str, Any]:
    note_text = card_view.note.en if card_view.note else None
    return {
        "text": card_view.text,
        "seed": card_view.seed,
        "tries": card_view.tries,
        "seconds": card_view.seconds,
        "note": note_text if card_view.text else None,
        # A note on a text is a remark on it; without a text it is why there is none.
        "error": None if card_view.text else note_text,
    }


def _format_round(round_fields: dict[str, Any]) -> str:
    return "\n".join(_format_greeting(greeting_fields) for greeting_fields in round_fields["greetings"])


def _format_greeting(greeting_fields: dict[str, Any]) -> str:
    if greeting_fields["error"]:
        return f"({greeting_fields['error']})"
    return (
        f"{greeting_fields['text']}  ({greeting_fields['note']})"
        if greeting_fields["note"]
        else str(greeting_fields["text"])
    )
