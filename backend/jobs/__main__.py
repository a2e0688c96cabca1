"""`python -m backend.jobs`: the worker, without loading the rest of the command line."""

import argparse
import signal
import sys
from types import FrameType

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.errors import UserError
from backend.files import keep_private, make_home
from backend.jobs.keeper import read_identity
from backend.jobs.options import JobOptions
from backend.jobs.processes import Identity
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.worker import Worker
from backend.settings import Settings

WAIT_S = 2.0
"""How long the worker waits for another writer: what it could not store it tries again at its next look."""


def main() -> None:
    """Read the arguments and work; foreseen errors end as one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m backend.jobs")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--slots", type=int)
    parser.add_argument("--name")
    parser.add_argument("--parent", type=read_identity)
    given = parser.parse_args()
    keep_private()
    try:
        run_worker(once=given.once, slots=given.slots, name=given.name, parent=given.parent)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run_worker(
    *,
    once: bool = False,
    slots: int | None = None,
    name: str | None = None,
    parent: Identity | None = None,
) -> list[JobInfo]:
    """A worker for the home of the environment, until SIGTERM or Ctrl-C; its programs then go on.

    Returns the jobs whose end it saw. Raises UserError for wrong settings or a name that is taken.
    """
    settings = Settings.load()
    make_home(settings.home)
    database = Database(settings.url)
    try:
        migrate(database)
        database.wait_s = WAIT_S
        worker = Worker(database, settings.home, slots, name, options=JobOptions.load(), parent=parent)
        _leave_on_signals(worker)
        service = JobService(database, settings.home)
        return [service.job(job_id) for job_id in worker.run(once=once)]
    finally:
        database.close()


def _leave_on_signals(worker: Worker) -> None:
    def leave(_number: int, _frame: FrameType | None) -> None:
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)


if __name__ == "__main__":
    main()
