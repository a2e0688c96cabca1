"""How a program reports to its job's row: progress, metrics, samples, messages; and how it learns that it shall stop.

with JobReport(database, job_id) as report:
    for step in range(start, steps):
        ...
        report.metric(step, loss=loss)
        report.progress(step / steps, COUNTED.fill(done=step, total=steps))
        if report.stop_requested():
            save()
            sys.exit(STOPPED)
"""

import math
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from sqlalchemy import insert, select, update

from backend.core.enums import EventKind, JobStatus
from backend.core.errors import UserError
from backend.core.files import write_atomically
from backend.core.processes import RUN_FOLDER_VARIABLE
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.job_tables import Job, JobEvent
from backend.jobs.messages import JobMessage
from backend.jobs.outcome import STOPPED as STOPPED
from backend.jobs.outcome import stop_seconds_path

# Pages poll every 2.5 s: storing more often would only cost write locks.
FLUSH_INTERVAL_S = 1.0
# Events that wait while the database cannot be written; beyond, the oldest go, before memory does.
MAX_WAITING_EVENTS = 20_000
_STOP_STATUSES = (JobStatus.CANCELLING, JobStatus.PAUSING)


class JobReport:
    """Collects what the program reports; a thread stores it once a second and looks for a request to stop.

    Nothing here raises into the program or waits for the database. Without a job (a program run by
    hand) everything is only printed. Build it in the main thread: it listens for SIGTERM.
    """

    def __init__(self, database: Database | None, job_id: int | None) -> None:
        self._database = database if job_id is not None else None
        if self._database is not None:
            # Nobody waits for an answer here, and a lock that people hold must not cost a message.
            self._database.wait_patiently()
        self._job_id = job_id
        self._lock = threading.Lock()
        self._pending_events: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING_EVENTS)
        self._pending_progress: dict[str, Any] = {}
        self._stop_event = threading.Event()
        self._closed_event = threading.Event()
        self._has_warned = False
        self._stop_seconds = 0.0
        self._previous_handler = self._install_handler()
        self._thread = threading.Thread(target=self._flush_repeatedly, name="job-report", daemon=True)
        self._thread.start()

    def progress(self, progress_share: float, message: JobMessage | None = None) -> None:
        """How far the work is (0 to 1; not a number counts as 0), and a short message about it."""
        finite_share = float(progress_share) if math.isfinite(progress_share) else 0.0
        with self._lock:
            # Only the newest counts, so it takes the place of one that has not been stored yet.
            self._pending_progress = {
                "progress": min(max(finite_share, 0.0), 1.0),
                "progress_text": message.en if message else "",
                "progress_data": message.to_data() if message else None,
            }

    def metric(self, step: int, **values: Any) -> None:
        """Numbers at a step; one that is not finite or no number becomes null."""
        self._queue_event(
            EventKind.METRIC,
            step,
            {metric_name: _finite_number(metric_value) for metric_name, metric_value in values.items()},
        )

    def sample(self, step: int, prompt_text: str, reply_text: str) -> None:
        """What the model writes for a fixed prompt at a step."""
        self._queue_event(EventKind.SAMPLE, step, {"prompt": prompt_text, "text": reply_text})

    def log(self, message: JobMessage) -> None:
        """A message for the job's page, and a readable line of it in the log file."""
        with suppress(OSError):  # A full disk takes no line; the page still gets it where the database does.
            print(message.log_line, flush=True)
        self._queue_event(EventKind.LOG, None, message.to_data())

    def stop_requested(self) -> bool:
        """Whether the program should finish its step, save, and end with `STOPPED`; cheap enough for every step."""
        return self._stop_event.is_set()

    def stop_takes(self, seconds: float) -> None:
        """How long it takes at most, as measured so far, from a request to stop until everything is saved.

        A cancelled job is killed only after twice that time, where this is longer than the grace of the options.
        """
        run_folder = os.environ.get(RUN_FOLDER_VARIABLE)
        # Written when it has grown by a tenth: not after every step.
        if self._database is None or not run_folder or seconds <= 1.1 * self._stop_seconds:
            return
        self._stop_seconds = seconds
        # A full disk takes no file; the worker then grants what its options say.
        with suppress(OSError):
            write_atomically(stop_seconds_path(Path(run_folder)), f"{seconds:.1f}")

    def look_for_request(self) -> None:
        """Look into the job's row now, which is done once a second without being called."""
        if self._database is None:
            return
        try:
            with self._database.read() as session:
                job_status = session.scalar(select(Job.status).where(Job.id == self._job_id))
        except Exception as error:
            self._warn_once(error)
            return
        if job_status in _STOP_STATUSES:
            self._stop_event.set()

    def close(self) -> None:
        """Store what is left; a second call does nothing."""
        if self._closed_event.is_set():
            return
        # The thread first: two flushes at a time could store events out of their order.
        self._closed_event.set()
        self._thread.join()
        self._flush()
        if self._previous_handler is not None:
            signal.signal(signal.SIGTERM, self._previous_handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, UserError):
            self._queue_error(error)
        self.close()

    def _queue_event(self, event_kind: EventKind, step: int | None, event_data: Mapping[str, Any]) -> None:
        event_row = {
            "job_id": self._job_id,
            "at": utc_now(),
            "kind": event_kind,
            "step": step,
            "data": dict(event_data),
        }
        with self._lock:
            self._pending_events.append(event_row)

    def _flush_repeatedly(self) -> None:
        while not self._closed_event.wait(FLUSH_INTERVAL_S):
            self._flush()
            self.look_for_request()

    def _flush(self) -> None:
        with self._lock:
            pending_events, pending_progress = list(self._pending_events), self._pending_progress
            self._pending_events.clear()
            self._pending_progress = {}
        if (pending_events or pending_progress) and not self._store(pending_events, pending_progress):
            # Tried again at the next flush, in front of what was reported meanwhile.
            with self._lock:
                self._pending_events = deque([*pending_events, *self._pending_events], maxlen=MAX_WAITING_EVENTS)
                self._pending_progress = {**pending_progress, **self._pending_progress}

    def _store(self, events: list[dict[str, Any]], progress: dict[str, Any]) -> bool:
        if self._database is None:
            return True
        try:
            with self._database.write() as session:
                if progress:
                    session.execute(update(Job).where(Job.id == self._job_id).values(**progress))
                if events:
                    session.execute(insert(JobEvent), events)
        except Exception as error:
            self._warn_once(error)
            return False
        return True

    def _queue_error(self, error: UserError) -> None:
        error_columns = {"error_en": error.message.en, "error_zh": error.message.zh}
        with self._lock:
            self._pending_progress = {**self._pending_progress, **error_columns}

    def _warn_once(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            with suppress(OSError):
                print(f"warning: the job's row cannot be reached ({error})", file=sys.stderr, flush=True)

    def _install_handler(self) -> Any:
        # Python allows signal handlers in the main thread alone; a test or server may report from another.
        if threading.current_thread() is not threading.main_thread():
            return None

        owner_pid = os.getpid()

        def handle_signal(signal_number: int, _frame: FrameType | None) -> None:
            if os.getpid() == owner_pid:
                self._stop_event.set()
            else:  # A forked helper inherits this handler, and must still be easy to end.
                signal.signal(signal_number, signal.SIG_DFL)
                os.kill(os.getpid(), signal_number)

        return signal.signal(signal.SIGTERM, handle_signal)


def _finite_number(raw_number: Any) -> float | None:
    if isinstance(raw_number, int):
        return raw_number
    try:
        parsed_number = float(raw_number)
    except (TypeError, ValueError):
        return None
    return parsed_number if math.isfinite(parsed_number) else None
