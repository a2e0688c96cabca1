"""How a program talks back to the page: progress, metrics, samples, and the wish to stop.

with JobReport(database, job_id) as report:
    for step in range(start, steps):
        ...
        report.metric(step, loss=loss)
        report.progress(step / steps, f"{step} / {steps}")
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
from types import FrameType, TracebackType
from typing import Any, Self

from sqlalchemy import insert, select, update

from backend.db.base import now
from backend.db.engine import Database
from backend.db.job_tables import Job, JobEvent
from backend.errors import UserError
from backend.jobs.outcome import STOPPED as STOPPED
from backend.jobs.vocabulary import EventKind, JobStatus

INTERVAL = 1.0
MOST_WAITING = 20_000
_STOPPING = (JobStatus.CANCELLING, JobStatus.PAUSING)


class JobReport:
    """Collects what the program says; a thread stores it once a second and looks for a wish to stop.

    Nothing here raises into the program or waits for the database. Without a job (a program run by
    hand) everything is only printed. Build it in the main thread: it listens for SIGTERM.
    """

    def __init__(self, database: Database | None, job_id: int | None) -> None:
        self._database = database if job_id is not None else None
        if self._database is not None:
            self._database.be_patient()
        self._job_id = job_id
        self._lock = threading.Lock()
        self._events: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._progress: dict[str, Any] = {}
        self._stop = threading.Event()
        self._closed = threading.Event()
        self._complained = False
        self._previous = self._listen()
        self._thread = threading.Thread(target=self._run, name="job-report", daemon=True)
        self._thread.start()

    def progress(self, share: float, text: str = "") -> None:
        """How far the work is (0 to 1) and a short line about it."""
        known = float(share) if math.isfinite(share) else 0.0
        with self._lock:
            self._progress = {"progress": min(max(known, 0.0), 1.0), "progress_text": text}

    def metric(self, step: int, **values: Any) -> None:
        """Numbers at a step; one that is not finite or no number becomes null."""
        self._add(EventKind.METRIC, step, {name: _number(value) for name, value in values.items()})

    def sample(self, step: int, prompt: str, text: str) -> None:
        """What the model writes for a fixed prompt at a step."""
        self._add(EventKind.SAMPLE, step, {"prompt": prompt, "text": text})

    def log(self, text: str) -> None:
        """A line for the log and the job's page."""
        with suppress(OSError):  # A full disk takes no line; the page still gets it where the database does.
            print(text, flush=True)
        self._add(EventKind.LOG, None, {"text": text})

    def stop_requested(self) -> bool:
        """Whether the program should finish its step, save, and end with `STOPPED`. Costs nothing."""
        return self._stop.is_set()

    def close(self) -> None:
        """Store what is left; harmless twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        self._flush()
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UserError):
            self._tell(error)
        self.close()

    def _add(self, kind: EventKind, step: int | None, data: Mapping[str, Any]) -> None:
        row = {"job_id": self._job_id, "at": now(), "kind": kind, "step": step, "data": dict(data)}
        with self._lock:
            self._events.append(row)

    def _run(self) -> None:
        while not self._closed.wait(INTERVAL):
            self._flush()
            self._look()

    def _flush(self) -> None:
        with self._lock:
            events, progress = list(self._events), self._progress
            self._events.clear()
            self._progress = {}
        if (events or progress) and not self._store(events, progress):
            with self._lock:
                self._events = deque([*events, *self._events], maxlen=MOST_WAITING)
                self._progress = {**progress, **self._progress}

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
            self._complain(error)
            return False
        return True

    def _look(self) -> None:
        if self._database is None:
            return
        try:
            with self._database.read() as session:
                status = session.scalar(select(Job.status).where(Job.id == self._job_id))
        except Exception as error:
            self._complain(error)
            return
        if status in _STOPPING:
            self._stop.set()

    def _tell(self, error: UserError) -> None:
        told = {"error_en": error.message.en, "error_zh": error.message.zh}
        with self._lock:
            self._progress = {**self._progress, **told}

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            with suppress(OSError):
                print(f"warning: the job's row cannot be reached ({error})", file=sys.stderr, flush=True)

    def _listen(self) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return None

        owner = os.getpid()

        def asked(number: int, _frame: FrameType | None) -> None:
            if os.getpid() == owner:
                self._stop.set()
            else:  # A forked helper inherits this handler, and must still be easy to end.
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        return signal.signal(signal.SIGTERM, asked)


def _number(value: Any) -> float | None:
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
