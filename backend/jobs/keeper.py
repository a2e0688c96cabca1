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
from backend.jobs.processes import Identity
from backend.jobs.registry import keep, living_workers, myself, parent_of
from backend.settings import ROOT, Settings

INTERVAL = 5.0


class WorkerKeeper:
    """Every few seconds: does a worker live? Adopts one whose application is gone, else starts one."""

    def __init__(self, settings: Settings, database: Database, interval: float = INTERVAL) -> None:
        self._settings = settings
        self._database = database
        self._interval = interval
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-keeper", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking. The worker notices that this process is gone, and ends when nothing runs."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """One look; starts a worker where none lives."""
        if self._child is not None and self._child.poll() is None:
            return
        if not self._any_kept():
            self._child = start_worker(self._settings)

    def _any_kept(self) -> bool:
        home, me = self._settings.home.resolve(), myself()
        with self._database.read() as session:
            rows = living_workers(session, socket.gethostname(), home)
        for row in rows:
            parent = parent_of(row)
            if parent is None or parent.alive:
                return True
            with self._database.write() as session:
                if keep(session, row, me):
                    return True
        return False

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except (Unavailable, OSError) as error:
                print(f"warning: no worker could be started ({error})", file=sys.stderr, flush=True)
            if self._closed.wait(self._interval):
                return


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    """Start a worker for this process's home that outlives it as long as jobs run."""
    home = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "ZHUFU_HOME": str(home),
        "ZHUFU_DATABASE_URL": settings.url,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUTF8": "1",
    }
    with _log(home).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "backend.jobs", "--parent", _spell(myself())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | environment,
        )


def read_identity(spelled: str) -> Identity:
    """The process that `--parent PID:START` names."""
    pid, _, start = spelled.partition(":")
    return Identity(int(pid), start)


def _spell(process: Identity) -> str:
    return f"{process.pid}:{process.start}"


def _log(home: Path) -> Path:
    return home / "worker.log"
