"""Which workers live (one row each), and the application's care that there is always one for its home."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from backend.core.errors import Conflict, Unavailable
from backend.core.processes import ProcessIdentity, identify_process
from backend.core.settings import PROJECT_ROOT, Settings
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.job_tables import WorkerProcess
from backend.jobs.queue import WorkerIdentity

# Processes of other machines cannot be looked for, so their rows go by age.
FORGET_AFTER = timedelta(days=1)


def current_process() -> ProcessIdentity:
    """This process."""
    own_identity = identify_process(os.getpid())
    assert own_identity is not None
    return own_identity


def register_worker(
    session: Session,
    worker_identity: WorkerIdentity,
    home_folder: Path,
    devices: Sequence[str],
    parent_process: ProcessIdentity | None,
    device_memory: Sequence[float | None] = (),
) -> None:
    """Write this process down as a worker. Raises Conflict where the name belongs to a living one."""
    this_process = current_process()
    for worker_row in session.scalars(select(WorkerProcess).with_for_update()).all():
        is_living = (
            process_identity(worker_row).is_alive
            if worker_row.host == worker_identity.host
            else worker_row.heartbeat_at > utc_now() - FORGET_AFTER
        )
        if worker_row.name == worker_identity.name and is_living and process_identity(worker_row) != this_process:
            raise Conflict(
                f"A worker named “{worker_identity.name}” is already running; choose another name.",
                f"名为“{worker_identity.name}”的工作进程已在运行，请换一个名字。",
            )
        # Rows of workers that were killed have nobody else who removes them.
        if worker_row.name == worker_identity.name or not is_living:
            session.delete(worker_row)
    session.flush()
    session.add(
        WorkerProcess(
            name=worker_identity.name,
            host=worker_identity.host,
            home=str(home_folder),
            pid=this_process.pid,
            process_start=this_process.start_time,
            devices=list(devices),
            device_memory=list(device_memory),
            parent_pid=parent_process and parent_process.pid,
            parent_start=parent_process and parent_process.start_time,
        )
    )


def process_identity(worker_row: WorkerProcess) -> ProcessIdentity:
    """The worker's process."""
    return ProcessIdentity(worker_row.pid, worker_row.process_start)


def parent_identity(worker_row: WorkerProcess) -> ProcessIdentity | None:
    """The application that keeps the worker."""
    if worker_row.parent_pid is None or worker_row.parent_start is None:
        return None
    return ProcessIdentity(worker_row.parent_pid, worker_row.parent_start)


def find_worker(session: Session, worker_identity: WorkerIdentity) -> WorkerProcess | None:
    """The worker's row."""
    return session.scalars(select(WorkerProcess).where(WorkerProcess.name == worker_identity.name)).one_or_none()


def find_living_workers(session: Session, host: str, home_folder: Path) -> list[WorkerProcess]:
    """Workers of this home whose process runs on this host."""
    worker_rows = session.scalars(
        select(WorkerProcess).where(WorkerProcess.host == host, WorkerProcess.home == str(home_folder))
    )
    return [worker_row for worker_row in worker_rows if process_identity(worker_row).is_alive]


def leave_registry(session: Session, worker_identity: WorkerIdentity, parent_process: ProcessIdentity | None) -> bool:
    """Remove the worker's row; False where another application has become its keeper meanwhile."""
    parent_pid = parent_process.pid if parent_process else None
    parent_start = parent_process.start_time if parent_process else None
    statement = delete(WorkerProcess).where(
        WorkerProcess.name == worker_identity.name,
        # Conditional: a new application may have become the keeper since this worker looked.
        WorkerProcess.parent_pid == parent_pid,
        WorkerProcess.parent_start == parent_start,
    )
    return _changed_one_row(session, statement)


def remove_worker(session: Session, worker_identity: WorkerIdentity) -> None:
    """Remove this process's row."""
    this_process = current_process()
    session.execute(
        delete(WorkerProcess).where(
            WorkerProcess.name == worker_identity.name,
            WorkerProcess.pid == this_process.pid,
            WorkerProcess.process_start == this_process.start_time,
        )
    )


def become_keeper(session: Session, worker_row: WorkerProcess, parent_process: ProcessIdentity) -> bool:
    """Become the keeper of a living worker whose application is gone; False where it has left."""
    statement = update(WorkerProcess).where(
        # Of two applications that start at once one becomes the keeper; the other sees that a worker lives.
        WorkerProcess.id == worker_row.id,
        WorkerProcess.parent_pid == worker_row.parent_pid,
    )
    return _changed_one_row(
        session, statement.values(parent_pid=parent_process.pid, parent_start=parent_process.start_time)
    )


def _changed_one_row(session: Session, statement: Any) -> bool:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(CursorResult[Any], result).rowcount == 1


CHECK_INTERVAL_S = 5.0


class WorkerKeeper:
    """Every few seconds: does a worker live? Adopts one whose application is gone, else starts one."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        worker_command: Sequence[str],
        interval: float = CHECK_INTERVAL_S,
    ) -> None:
        """`worker_command` starts a worker's program; `interval` are the seconds between two looks."""
        self._settings = settings
        self._database = database
        self._worker_command = worker_command
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
        # Its own child first: that one needs a moment until its row is there, and must not be doubled meanwhile.
        if self._worker_process is not None and self._worker_process.poll() is None:
            return
        if not self._has_living_worker():
            self._worker_process = start_worker(self._settings, self._worker_command)

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


def start_worker(settings: Settings, worker_command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a worker for this process's home that outlives it as long as jobs run.

    `worker_command` is its program, which takes `--parent PID:START`. Raises OSError.
    """
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
            [*worker_command, "--parent", _format_identity(current_process())],
            # A terminal's input belongs to the application and its user.
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            # In a session of its own it survives the application, whose restart must not end the jobs.
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
