"""The local runner: programs of this machine, each in a session of its own with its output in a file."""

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from backend.jobs import launch, logfile, processes
from backend.jobs.devices import visible
from backend.jobs.kinds import LLM_KEY, kind_of
from backend.jobs.outcome import Exit, read_record, record_path
from backend.jobs.processes import MARK, Identity
from backend.jobs.queue import Held
from backend.settings import ROOT

_SECRET = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)


@dataclass
class Run:
    """A started attempt. `launcher` is there only in the worker that started it."""

    held: Held
    leader: Identity | None
    folder: Path
    launcher: subprocess.Popen[bytes] | None = None
    asked_at: float | None = field(default=None)

    @property
    def log(self) -> Path:
        """Output of the program, all attempts one after the other."""
        return self.folder / "log.txt"

    def release(self) -> None:
        """Let the program start; without this the launcher ends when the worker does."""
        if self.launcher is not None and self.launcher.stdin is not None:
            with suppress(OSError):  # Killed in between: its end is looked at like any other.
                self.launcher.stdin.write(b"\n")
            self.withdraw()

    def withdraw(self) -> None:
        """Close the launcher's stdin: before `release` that means that the program never starts."""
        if self.launcher is not None and self.launcher.stdin is not None:
            self.launcher.stdin.close()
            self.launcher.stdin = None

    def running(self) -> bool:
        """Whether the launcher lives; reaps it when it has ended."""
        if self.launcher is not None:
            return self.launcher.poll() is None
        return self.leader is not None and self.leader.alive

    def ask_to_stop(self) -> None:
        """SIGTERM to the program, once."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            if self.leader is not None:
                processes.terminate(self.leader)

    def overdue(self, grace: float) -> bool:
        """Whether the grace period since `ask_to_stop` is over."""
        return self.asked_at is not None and time.monotonic() - self.asked_at > grace

    def kill(self) -> int:
        """SIGKILL whatever is left of the run; how many processes that were."""
        return processes.kill_run(self.leader, self.folder)

    def kill_session(self) -> None:
        """SIGKILL the session alone: the folder may belong to a newer attempt by now."""
        processes.kill_run(self.leader, None)

    def ended(self) -> Exit | None:
        """How the program ended, once `running` is false."""
        if self.leader is None and self.launcher is None:
            return Exit(started=False)
        record = read_record(self.folder, self.held.attempt)
        if record is None and self.launcher is not None and (self.launcher.returncode or -1) > 0:
            return Exit(code=self.launcher.returncode)
        return record

    def last_lines(self) -> list[str]:
        """The end of this attempt's output."""
        return logfile.since_header(logfile.tail(self.log, 200))


class LocalRunner:
    """Starts and finds runs under HOME/runs."""

    def __init__(self, home: Path, database_url: str) -> None:
        self._home = home
        self._url = database_url

    def prepare(self, held: Held) -> Run:
        """Start the launcher; the program waits for `Run.release`. Raises OSError and UserError."""
        kind = kind_of(held.kind)
        folder = self._folder(held)
        if held.attempt == 1 and folder.exists():
            # Left by a database that is gone: its checkpoints are not this job's.
            folder.rename(f"{folder}.old-{time.time_ns()}")
        folder.mkdir(parents=True, exist_ok=True)
        record = record_path(folder, held.attempt)
        record.unlink(missing_ok=True)
        with (folder / "log.txt").open("ab") as log:
            moment = datetime.now(UTC).isoformat(timespec="seconds")
            log.write(f"{logfile.header(held.job_id, held.attempt, moment)}\n".encode())
            log.flush()
            launcher = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-X",
                    "utf8",
                    launch.__file__,
                    str(record),
                    *kind.argv(held.job_id),
                ],
                stdin=subprocess.PIPE,
                bufsize=0,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self.environment(held, folder),
            )
        return Run(held, processes.identify(launcher.pid), folder, launcher)

    def find(self, held: Held) -> Run:
        """A run that another worker started."""
        return Run(held, held.process, self._folder(held))

    def _folder(self, held: Held) -> Path:
        return held.folder or self._home / "runs" / str(held.job_id)

    def environment(self, held: Held, folder: Path) -> dict[str, str]:
        """What the program finds in its environment: no secret that its kind has no right to."""
        kind = kind_of(held.kind)
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in kind.secrets or not _SECRET.search(name)
        }
        if LLM_KEY not in kind.secrets:
            kept[LLM_KEY] = ""  # An empty variable also hides the one in `.env`.
        kept.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # The order in which nvidia-smi counts.
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return kept | {
            MARK: str(folder),
            "ZHUFU_HOME": str(self._home),
            "ZHUFU_DATABASE_URL": self._url,
            "CUDA_VISIBLE_DEVICES": visible(held.devices),
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
        }
