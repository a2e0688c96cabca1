"""`jobs`, `worker`, `migrate` and `doctor`: background work and the state of the installation."""

import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, list_by_default, print_result
from backend.core.enums import JobStatus
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.records import JobInfo, JobOptions
from backend.jobs.service import JobService
from backend.services import open_services

JobArgument = Annotated[int, typer.Argument(metavar="N", help="Number of the job.")]


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    jobs_group = typer.Typer(help="Background jobs: list them, look at one, stop it, go on with it.")
    list_by_default(jobs_group, list_jobs)
    jobs_group.command("list")(list_jobs)
    jobs_group.command("show")(show_job)
    jobs_group.command("cancel")(
        _build_command(JobService.cancel, "End a job; its processes are gone when it is over.")
    )
    jobs_group.command("pause")(_build_command(JobService.pause, "Let a job stop after its current step."))
    jobs_group.command("resume")(_build_command(JobService.resume, "Go on with a job where it stopped."))
    jobs_group.command("again")(_build_command(JobService.run_again, "A new job with the same settings."))
    jobs_group.command("log")(show_log)
    cli_app.add_typer(jobs_group, name="jobs")
    cli_app.command("worker")(work_on_jobs)
    cli_app.command("migrate")(migrate_database)
    cli_app.command("doctor")(doctor)


def list_jobs(
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest jobs."""
    with _open_job_service() as job_service:
        job_list = {
            "jobs": [job_to_dict(job) for job in job_service.jobs(limit, kind)],
            "workers": [worker_info.name for worker_info in job_service.workers()],
        }
    print_result(job_list, as_json, _format_jobs)


def show_job(job_id: JobArgument, as_json: JsonOption = False) -> None:
    """One job in full."""
    with _open_job_service() as job_service:
        job_fields = job_to_dict(job_service.job(job_id))
    print_result(
        job_fields,
        as_json,
        lambda r: "\n".join(f"{field_name}: {field_value}" for field_name, field_value in r.items()),
    )


def show_log(
    job_id: JobArgument,
    lines: Annotated[int, typer.Option(min=1, help="How many lines of the end.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """The end of a job's log."""
    with _open_job_service() as job_service:
        log_fields = {"job": job_id, "lines": job_service.log_tail(job_id, lines)}
    print_result(log_fields, as_json, lambda r: "\n".join(r["lines"]))


def work_on_jobs(
    until_idle: Annotated[bool, typer.Option("--once", help="Stop when nothing is left to do.")] = False,
    slots: Annotated[int | None, typer.Option(min=0, help="GPUs to use; default: all.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of this worker; default: host and process.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Work on queued jobs until Ctrl-C; what runs then goes on, and the next worker takes it over."""
    # Here and not above: the other commands are polled by scripts and start without the worker.
    from backend.worker import run_worker

    ended_jobs = run_worker(once=until_idle, slot_count=slots, worker_name=name)
    print_result({"jobs": [job_to_dict(ended_job) for ended_job in ended_jobs]}, as_json, _format_jobs)
    # A cancelled or paused job is what somebody wanted, and no failure of this worker.
    if any(ended_job.status in (JobStatus.FAILED, JobStatus.LOST) for ended_job in ended_jobs):
        raise typer.Exit(1)


def job_to_dict(job: JobInfo) -> dict[str, Any]:
    """A job with stable keys and plain values."""
    moment_names = ("created_at", "started_at", "finished_at", "heartbeat_at")
    return {
        "job": job.id,
        "kind": job.kind,
        "status": job.status.value,
        "progress": job.progress,
        "progress_text": job.progress_text,
        "error": job.error.en if job.error else None,
        "waiting": job.waiting.en if job.waiting else None,
        "attempt": job.attempt,
        "priority": job.priority,
        "slots": job.slots,
        "devices": list(job.devices),
        "parent": job.parent_id,
        "after": job.after_id,
        "worker": job.worker,
        "host": job.host,
        "pid": job.pid,
        "log": str(job.log_path) if job.log_path else None,
        "config": job.config,
        **{
            moment_name: moment.isoformat() if (moment := getattr(job, moment_name)) else None
            for moment_name in moment_names
        },
    }


def _format_jobs(job_list: dict[str, Any]) -> str:
    return "\n".join(_format_job(job_fields) for job_fields in job_list["jobs"]) or "There are no jobs."


def _format_job(job_fields: dict[str, Any]) -> str:
    # What went wrong says more than why it waits, and that more than how far it was.
    note_text = job_fields["error"] or job_fields["waiting"] or job_fields["progress_text"]
    state_text = f"{job_fields['status']:<10}  {job_fields['progress']:>4.0%}"
    return f"{job_fields['job']:>5}  {job_fields['kind']:<12}  {state_text}  {note_text}".rstrip()


def _build_command(job_action: Callable[[JobService, int], JobInfo], help_text: str) -> Callable[[int, bool], None]:
    def command(job_id: JobArgument, as_json: JsonOption = False) -> None:
        with _open_job_service() as job_service:
            job_fields = job_to_dict(job_action(job_service, job_id))
        print_result(job_fields, as_json, _format_job)

    # Typer takes the help of a command from there.
    command.__doc__ = help_text
    return command


@contextmanager
def _open_job_service() -> Iterator[JobService]:
    """The job room alone: these commands are polled by scripts and must not load the judges."""
    settings = Settings.load()
    database = Database(settings.url)
    try:
        migrate(database)
        yield JobService(database, settings.home, JobOptions.load(), JOB_PROGRAMS)
    finally:
        database.close()


def migrate_database(as_json: JsonOption = False) -> None:
    """Bring the database to the newest revision."""
    # Opening the services has migrated already, so this only says where it stands.
    from backend.db.migrate import stored_revision

    with open_services() as services:
        database_fields = {
            # SQLAlchemy puts asterisks in place of the password unless it is told otherwise.
            "url": services.database.engine.url.render_as_string(),
            "revision": stored_revision(services.database),
        }
    print_result(database_fields, as_json, lambda r: f"{r['url']} is at revision {r['revision']}")


def doctor(as_json: JsonOption = False) -> None:
    """Say what is installed, where the data lies and what is in it."""
    with open_services() as services:
        settings = services.settings
        environment_fields: dict[str, Any] = {
            "python": platform.python_version(),
            "packages": {
                package_name: version(package_name)
                for package_name in ("gradio", "torch", "transformers", "trl", "sqlalchemy")
            },
            "home": str(settings.home.resolve()),
            "disk_free_gb": round(shutil.disk_usage(settings.home.resolve()).free / 1e9, 1),
            "database": services.database.engine.url.render_as_string(),
            "llm_endpoint": settings.llm_base_url or None,
            "counts": services.corpus.counts(),
        }
    print_result(
        environment_fields,
        as_json,
        lambda r: "\n".join(f"{field_name}: {field_value}" for field_name, field_value in r.items()),
    )
