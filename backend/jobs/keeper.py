"""The application's care for a worker: there is always one for this home while the application lives.

The worker is a process in a session of its own, so that neither it nor any job dies with the application.
Why it is so: docs/decisions/2026-11-23-jobs.md.
"""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from backend.db.engine import Database
from backend.errors import Unavailable
from backend.jobs.processes import ProcessIdentity
from backend.jobs.registry import become_keeper, current_process, find_living_workers, parent_identity
from backend.settings import PROJECT_ROOT, Settings

CHECK_INTERVAL_S = 5.0


class WorkerKeeper:
    """Every few seconds: does a worker live? Adopts one whose application is gone, else starts one."""

    def __init__(self, settings: Settings, database: Database, interval: float = CHECK_INTERVAL_S) -> None:
        self._settings = settings
        self._database = database
        self._interval_seconds = interval
        self._worker_process: subprocess.Popen[bytes] | None = None
        self._closed_event = threading.Event()
        self._thread = threading.Thread(target=self._check_repeatedly, name="worker-keeper", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking. The worker notices that this process is gone, and ends when nothing runs."""
        self._closed_event.set()
        if self._thread.is_alive():
            self._thread.join()

    def check_once(self) -> None:
        """One look; starts a worker where none lives."""
        if self._worker_process is not None and self._worker_process.poll() is None:
            return
        if not self._has_living_worker():
            self._worker_process = start_worker(self._settings)

    def _has_living_worker(self) -> bool:
        home_folder, this_process = self._settings.home.resolve(), current_process()
        with self._database.read() as session:
            worker_rows = find_living_workers(session, socket.gethostname(), home_folder)
        for worker_row in worker_rows:
            parent_process = parent_identity(worker_row)
            if parent_process is None or parent_process.is_alive:
                return True
            with self._database.write() as session:
                if become_keeper(session, worker_row, this_process):
                    return True
        return False

    def _check_repeatedly(self) -> None:
        while True:
            try:
                self.check_once()
            except (Unavailable, OSError) as error:
                print(f"warning: no worker could be started ({error})", file=sys.stderr, flush=True)
            if self._closed_event.wait(self._interval_seconds):
                return


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    """Start a worker for this process's home that outlives it as long as jobs run."""
    home_folder = settings.home.resolve()
    home_folder.mkdir(parents=True, exist_ok=True)
    python_path = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "ZHUFU_HOME": str(home_folder),
        "ZHUFU_DATABASE_URL": settings.url,
        "PYTHONPATH": os.pathsep.join(python_path),
        "PYTHONUTF8": "1",
    }
    with _log_path(home_folder).open("ab") as log_file:
        return subprocess.Popen(
            [sys.executable, "-m", "backend.jobs", "--parent", _format_identity(current_process())],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | environment,
        )


def parse_identity(identity_text: str) -> ProcessIdentity:
    """The process that `--parent PID:START` names."""
    pid, _, start_time = identity_text.partition(":")
    return ProcessIdentity(int(pid), start_time)


def _format_identity(process_identity: ProcessIdentity) -> str:
    return f"{process_identity.pid}:{process_identity.start_time}"


def _log_path(home_folder: Path) -> Path:
    return home_folder / "worker.log"
