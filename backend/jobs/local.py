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
from backend.jobs.devices import visible_devices
from backend.jobs.kinds import LLM_KEY_VARIABLE, find_job_program
from backend.jobs.outcome import ProgramExit, exit_record_path, read_exit_record
from backend.jobs.processes import RUN_FOLDER_VARIABLE, ProcessIdentity
from backend.jobs.queue import HeldJob
from backend.settings import PROJECT_ROOT

_SECRET_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)


@dataclass
class JobProcess:
    """A started attempt. `launcher` is there only in the worker that started it."""

    held_job: HeldJob
    leader_process: ProcessIdentity | None
    run_folder: Path
    launcher_process: subprocess.Popen[bytes] | None = None
    stop_requested_at: float | None = field(default=None)

    @property
    def log_path(self) -> Path:
        """Output of the program, all attempts one after the other."""
        return self.run_folder / "log.txt"

    def release_program(self) -> None:
        """Let the program start; without this the launcher ends when the worker does."""
        if self.launcher_process is not None and self.launcher_process.stdin is not None:
            with suppress(OSError):  # Killed in between: its end is looked at like any other.
                self.launcher_process.stdin.write(b"\n")
            self.close_launcher_input()

    def close_launcher_input(self) -> None:
        """Close the launcher's stdin: before `release` that means that the program never starts."""
        if self.launcher_process is not None and self.launcher_process.stdin is not None:
            self.launcher_process.stdin.close()
            self.launcher_process.stdin = None

    def is_running(self) -> bool:
        """Whether the launcher lives; reaps it when it has ended."""
        if self.launcher_process is not None:
            return self.launcher_process.poll() is None
        return self.leader_process is not None and self.leader_process.is_alive

    def request_stop(self) -> None:
        """SIGTERM to the program, once."""
        if self.stop_requested_at is None:
            self.stop_requested_at = time.monotonic()
            if self.leader_process is not None:
                processes.terminate_leader(self.leader_process)

    def is_overdue(self, grace_seconds: float) -> bool:
        """Whether the grace period since `ask_to_stop` is over."""
        return self.stop_requested_at is not None and time.monotonic() - self.stop_requested_at > grace_seconds

    def kill(self) -> int:
        """SIGKILL whatever is left of the run; how many processes that were."""
        return processes.kill_run(self.leader_process, self.run_folder)

    def kill_session(self) -> None:
        """SIGKILL the session alone: the folder may belong to a newer attempt by now."""
        processes.kill_run(self.leader_process, None)

    def program_exit(self) -> ProgramExit | None:
        """How the program ended, once `running` is false."""
        if self.leader_process is None and self.launcher_process is None:
            return ProgramExit(started=False)
        exit_record = read_exit_record(self.run_folder, self.held_job.attempt)
        if exit_record is None and self.launcher_process is not None and (self.launcher_process.returncode or -1) > 0:
            return ProgramExit(exit_code=self.launcher_process.returncode)
        return exit_record

    def last_lines(self) -> list[str]:
        """The end of this attempt's output."""
        return logfile.lines_since_header(logfile.read_tail(self.log_path, 200))


class LocalRunner:
    """Starts and finds runs under HOME/runs."""

    def __init__(self, home_folder: Path, database_url: str) -> None:
        self._home_folder = home_folder
        self._database_url = database_url

    def prepare_process(self, held_job: HeldJob) -> JobProcess:
        """Start the launcher; the program waits for `Run.release`. Raises OSError and UserError."""
        job_program = find_job_program(held_job.job_kind)
        run_folder = self._run_folder(held_job)
        if held_job.attempt == 1 and run_folder.exists():
            # Left by a database that is gone: its checkpoints are not this job's.
            run_folder.rename(f"{run_folder}.old-{time.time_ns()}")
        run_folder.mkdir(parents=True, exist_ok=True)
        record_file = exit_record_path(run_folder, held_job.attempt)
        record_file.unlink(missing_ok=True)
        with (run_folder / "log.txt").open("ab") as log_file:
            start_time = datetime.now(UTC).isoformat(timespec="seconds")
            log_file.write(f"{logfile.attempt_header(held_job.job_id, held_job.attempt, start_time)}\n".encode())
            log_file.flush()
            launcher_process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-X",
                    "utf8",
                    launch.__file__,
                    str(record_file),
                    *job_program.command_line(held_job.job_id),
                ],
                stdin=subprocess.PIPE,
                bufsize=0,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self.build_environment(held_job, run_folder),
            )
        return JobProcess(held_job, processes.identify_process(launcher_process.pid), run_folder, launcher_process)

    def find_process(self, held_job: HeldJob) -> JobProcess:
        """A run that another worker started."""
        return JobProcess(held_job, held_job.process, self._run_folder(held_job))

    def _run_folder(self, held_job: HeldJob) -> Path:
        return held_job.run_folder or self._home_folder / "runs" / str(held_job.job_id)

    def build_environment(self, held_job: HeldJob, run_folder: Path) -> dict[str, str]:
        """What the program finds in its environment: no secret that its kind has no right to."""
        job_program = find_job_program(held_job.job_kind)
        variables = {
            variable_name: variable_text
            for variable_name, variable_text in os.environ.items()
            if variable_name in job_program.secret_variables or not _SECRET_NAME.search(variable_name)
        }
        if LLM_KEY_VARIABLE not in job_program.secret_variables:
            variables[LLM_KEY_VARIABLE] = ""  # An empty variable also hides the one in `.env`.
        variables.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # The order in which nvidia-smi counts.
        python_path = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return variables | {
            RUN_FOLDER_VARIABLE: str(run_folder),
            "ZHUFU_HOME": str(self._home_folder),
            "ZHUFU_DATABASE_URL": self._database_url,
            "CUDA_VISIBLE_DEVICES": visible_devices(held_job.devices),
            "PYTHONPATH": os.pathsep.join(python_path),
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
        }
