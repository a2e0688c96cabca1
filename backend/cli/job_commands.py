"""`jobs` and `worker`: background work without the page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.jobs.options import JobOptions
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import JobStatus
from backend.settings import Settings

Number = Annotated[int, typer.Argument(metavar="N", help="Number of the job.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    jobs = typer.Typer(help="Background jobs: list them, look at one, stop it, go on with it.")
    jobs.callback(invoke_without_command=True)(listing)
    jobs.command("list")(listing_command)
    jobs.command("show")(show)
    jobs.command("cancel")(_steering(JobService.cancel, "End a job; its processes are gone when it is over."))
    jobs.command("pause")(_steering(JobService.pause, "Let a job stop after its current step."))
    jobs.command("resume")(_steering(JobService.resume, "Go on with a job where it stopped."))
    jobs.command("again")(_steering(JobService.run_again, "A new job with the same settings."))
    jobs.command("log")(log)
    app.add_typer(jobs, name="jobs")
    app.command("worker")(worker)


def listing(context: typer.Context, as_json: Json = False) -> None:
    """List the newest jobs, when no other word follows."""
    if context.invoked_subcommand is None:
        _list(50, None, as_json)


def listing_command(
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    as_json: Json = False,
) -> None:
    """List the newest jobs."""
    _list(limit, kind, as_json)


def show(job: Number, as_json: Json = False) -> None:
    """One job in full."""
    with _service() as service:
        result = as_plain(service.job(job))
    emit(result, as_json, lambda r: "\n".join(f"{key}: {value}" for key, value in r.items()))


def log(
    job: Number,
    lines: Annotated[int, typer.Option(min=1, help="How many lines of the end.")] = 100,
    as_json: Json = False,
) -> None:
    """The end of a job's log."""
    with _service() as service:
        result = {"job": job, "lines": service.log_tail(job, lines)}
    emit(result, as_json, lambda r: "\n".join(r["lines"]))


def worker(
    once: Annotated[bool, typer.Option("--once", help="Stop when nothing is left to do.")] = False,
    slots: Annotated[int | None, typer.Option(min=0, help="GPUs to use; default: all.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of this worker; default: host and process.")] = None,
    as_json: Json = False,
) -> None:
    """Work on queued jobs until Ctrl-C; what runs then goes on, and the next worker takes it over."""
    from backend.jobs.__main__ import run_worker

    ended = run_worker(once=once, slots=slots, name=name)
    emit({"jobs": [as_plain(job) for job in ended]}, as_json, _lines)
    if any(job.status in (JobStatus.FAILED, JobStatus.LOST) for job in ended):
        raise typer.Exit(1)


def as_plain(job: JobInfo) -> dict[str, Any]:
    """A job with stable keys and plain values."""
    moments = ("created_at", "started_at", "finished_at", "heartbeat_at")
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
        **{name: moment.isoformat() if (moment := getattr(job, name)) else None for name in moments},
    }


def _list(limit: int, kind: str | None, as_json: bool) -> None:
    with _service() as service:
        result = {
            "jobs": [as_plain(job) for job in service.jobs(limit, kind)],
            "workers": [worker.name for worker in service.workers()],
        }
    emit(result, as_json, _lines)


def _lines(result: dict[str, Any]) -> str:
    return "\n".join(_line(job) for job in result["jobs"]) or "There are no jobs."


def _line(job: dict[str, Any]) -> str:
    note = job["error"] or job["waiting"] or job["progress_text"]
    return (
        f"{job['job']:>5}  {job['kind']:<12}  {job['status']:<10}  {job['progress']:>4.0%}  {note}".rstrip()
    )


def _steering(act: Callable[[JobService, int], JobInfo], help_text: str) -> Callable[[int, bool], None]:
    def command(job: Number, as_json: Json = False) -> None:
        with _service() as service:
            result = as_plain(act(service, job))
        emit(result, as_json, _line)

    command.__doc__ = help_text
    return command


@contextmanager
def _service() -> Iterator[JobService]:
    """The job room alone: these commands are polled by scripts and must not load the judges."""
    settings = Settings.load()
    database = Database(settings.url)
    try:
        migrate(database)
        yield JobService(database, settings.home, JobOptions.load())
    finally:
        database.close()
