"""One attempt at a job by this process: the row that it holds, and the report through which pages follow it.

A job of a worker and a command in a terminal run through the same lines, and end with the same status.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backend.core.errors import Message, UserError
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.jobs.messages import JobMessage
from backend.jobs.outcome import STOPPED
from backend.jobs.report import JobReport
from backend.runs.hold import HoldLost, JobHold, hold_job


class JobAttempt:
    """What a program works with while it holds its job; `is_stopped` is for it to set where it stopped early."""

    def __init__(self, hold: JobHold, report: JobReport) -> None:
        self.hold = hold
        self.report = report
        self.is_stopped = False

    def should_stop(self) -> bool:
        """Be heard of; whether to finish the calls in flight, save, and stop. Raises HoldLost."""
        # The row comes first: whoever lost it must not go on, whatever its own report says.
        return self.hold.check() or self.report.stop_requested()


@dataclass(frozen=True)
class JobOutcome:
    """How a program ended: what its log says at last, and what went wrong."""

    closing_messages: tuple[JobMessage, ...] = ()
    error: Message | None = None


@contextmanager
def open_attempt(database: Database, hold: JobHold) -> Iterator[JobAttempt]:
    """Work on a job that this process holds; at the end its row says how it went, whatever happened."""
    # A failure unless the end is reached: whatever escapes below must not look like a success.
    exit_code, log_lines = 1, list[str]()
    try:
        with _report_of(database, hold) as report:
            attempt = JobAttempt(hold, report)
            yield attempt
        exit_code = STOPPED if attempt.is_stopped else 0
    except KeyboardInterrupt:
        # Ctrl-C is a stop from outside; what was finished is stored, and the job can be resumed.
        exit_code = STOPPED
        raise
    except UserError as error:
        log_lines = [f"error: {error}"]
        raise
    except BaseException as error:
        log_lines = "".join(traceback.format_exception(error)).splitlines()
        raise
    finally:
        hold.finish(exit_code, log_lines)


@contextmanager
def _report_of(database: Database, hold: JobHold) -> Iterator[JobReport]:
    """The report of a held job; that the hold was lost is kept from it, since the row is another's by then."""
    hold_lost: HoldLost | None = None
    with JobReport(database, hold.job_id) as report:
        try:
            yield report
        except HoldLost as error:
            hold_lost = error
    if hold_lost is not None:
        raise hold_lost


def run_job(database: Database, job_id: int, play: Callable[[JobAttempt, dict[str, Any]], JobOutcome]) -> int:
    """Work on job `job_id` in this process; the exit code of the program.

    play: does the work, from the attempt and the settings of the job. Raises what `play` raises, after the row
    has its sentence, NotFound, and HeldElsewhere where another process works on the job.
    """
    hold = hold_job(database, job_id)
    with open_attempt(database, hold) as attempt:
        with database.read() as session:
            job_config = dict(session.get_one(Job, job_id).config)
        outcome = play(attempt, job_config)
        for closing_message in outcome.closing_messages:
            attempt.report.log(closing_message)
        if outcome.error is not None:
            # After the closing messages, so that the log ends with the error, as the row does.
            raise UserError(outcome.error.en, outcome.error.zh)
    return STOPPED if attempt.is_stopped else 0
