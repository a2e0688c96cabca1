"""`python -m backend.worker`: runs queued jobs, without loading services or the rest of the command line."""

import argparse
import signal
import sys
from types import FrameType

from backend.core.errors import UserError
from backend.core.files import create_home_folder, restrict_new_files
from backend.core.processes import ProcessIdentity
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.records import JobInfo, JobOptions
from backend.jobs.service import JobService
from backend.jobs.worker import Worker
from backend.jobs.workers import parse_identity

WORKER_COMMAND = (sys.executable, "-m", "backend.worker")
"""How the application and commands start a worker of their own."""
DATABASE_WAIT_S = 2.0
"""How long the worker waits for another writer: what it could not store it tries again at its next look."""


def main() -> None:
    """Read the arguments and work; foreseen errors end as one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m backend.worker")
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do")
    parser.add_argument("--slots", type=int, help="GPUs to use; default: all")
    parser.add_argument("--name", help="name of this worker; default: host and process")
    parser.add_argument("--parent", type=parse_identity, metavar="PID:START", help="the process that it belongs to")
    arguments = parser.parse_args()
    restrict_new_files()
    try:
        run_worker(
            once=arguments.once,
            slot_count=arguments.slots,
            worker_name=arguments.name,
            parent_process=arguments.parent,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run_worker(
    *,
    once: bool = False,
    slot_count: int | None = None,
    worker_name: str | None = None,
    parent_process: ProcessIdentity | None = None,
) -> list[JobInfo]:
    """A worker for the home of the environment, until SIGTERM or Ctrl-C; its programs then go on.

    With `once` it ends when nothing is left to do. `slot_count` is the most GPUs it gives away; `parent_process`
    the application after whose end it leaves. Returns the jobs whose end it saw. Raises UserError for wrong
    settings or a name that is taken.
    """
    settings = Settings.load()
    create_home_folder(settings.home)
    database = Database(settings.url)
    try:
        migrate(database)
        database.wait_s = DATABASE_WAIT_S
        worker = Worker(
            database,
            settings.home,
            slot_count,
            worker_name,
            options=JobOptions.load(),
            job_programs=JOB_PROGRAMS,
            parent_process=parent_process,
        )
        _stop_on_signals(worker)
        service = JobService(database, settings.home, job_programs=JOB_PROGRAMS)
        return [service.job(job_id) for job_id in worker.run(once=once)]
    finally:
        database.close()


def _stop_on_signals(worker: Worker) -> None:
    def handle_signal(_signal_number: int, _frame: FrameType | None) -> None:
        worker.stop()

    # SIGHUP too: a worker started in a terminal must leave its row in order when the terminal is closed.
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signal_number, handle_signal)


if __name__ == "__main__":
    main()
