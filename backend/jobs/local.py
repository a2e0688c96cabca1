"""The local runner: devices found, the machine checked, programs each in a session of its own with output in a file."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import psutil  # type: ignore[import-untyped]

from backend.core import processes
from backend.core.errors import Message, UserError
from backend.core.processes import RUN_FOLDER_VARIABLE, ProcessIdentity
from backend.core.settings import PROJECT_ROOT
from backend.jobs import launch
from backend.jobs.outcome import (
    ProgramExit,
    exit_record_path,
    read_exit_record,
    read_stop_seconds,
    stop_seconds_path,
)
from backend.jobs.programs import LLM_KEY_VARIABLE, OWN_PROGRAMS, JobProgramRegistry
from backend.jobs.queue import HeldJob
from backend.jobs.records import JobOptions

CPU_PREFIX = "cpu:"


def find_devices(slot_limit: int | None) -> tuple[str, ...]:
    """Names of the devices a worker may give to jobs: its GPUs, without any its CPU (once by default).

    `slot_limit` is the most of them; None takes every GPU.
    """
    gpu_names = _find_gpus()
    if gpu_names:
        return gpu_names[:slot_limit]
    return tuple(f"{CPU_PREFIX}{slot_number}" for slot_number in range(1 if slot_limit is None else slot_limit))


def visible_devices(devices: Sequence[str]) -> str:
    """The value of CUDA_VISIBLE_DEVICES for a job with these devices; empty hides every GPU."""
    return ",".join(device_name for device_name in devices if not device_name.startswith(CPU_PREFIX))


def _find_gpus() -> tuple[str, ...]:
    allowed_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed_devices is not None:
        return tuple(
            device_name.strip() for device_name in allowed_devices.split(",") if device_name.strip() not in ("", "-1")
        )
    try:
        gpu_listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            # A driver that hangs must not keep the worker from its other jobs.
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(gpu_listing.stdout.split())


BLOCK_BYTES = 64 * 1024
# A log may be one line without an end.
MAX_TAIL_BYTES = 4 * 1024 * 1024
_HEADER_PATTERN = re.compile(r"^=== job \d+ attempt \d+ ")


def read_tail(log_path: Path, line_count: int) -> list[str]:
    """The last `line_count` lines, oldest first, read from the end; empty where none can be read.

    Of a progress bar that rewrites its line only the last state is kept.
    """
    if line_count <= 0:
        return []
    try:
        with log_path.open("rb") as log_file:
            tail_bytes = _read_last_lines(log_file, line_count)
    except OSError:
        return []
    if not tail_bytes:
        return []
    tail_text = tail_bytes.decode("utf-8", "replace")
    return [_visible_line(log_line) for log_line in tail_text.split("\n")[-line_count:]]


def attempt_header(job_id: int, attempt_number: int, start_time: str) -> str:
    """The line that begins an attempt in the log."""
    return f"=== job {job_id} attempt {attempt_number} {start_time} ==="


def lines_since_header(log_lines: list[str]) -> list[str]:
    """The lines of the last attempt only."""
    header_indexes = [line_index for line_index, log_line in enumerate(log_lines) if _HEADER_PATTERN.match(log_line)]
    return log_lines[header_indexes[-1] + 1 :] if header_indexes else log_lines


def _read_last_lines(log_file: BinaryIO, line_count: int) -> bytes:
    position = log_file.seek(0, 2)
    tail_bytes = b""
    # From the end, block by block: a log of days may be gigabytes.
    while position > 0 and tail_bytes.count(b"\n") <= line_count and len(tail_bytes) < MAX_TAIL_BYTES:
        block_size = min(BLOCK_BYTES, position)
        position -= block_size
        log_file.seek(position)
        tail_bytes = log_file.read(block_size) + tail_bytes
    return tail_bytes.removesuffix(b"\n")


def _visible_line(log_line: str) -> str:
    # A progress bar goes back to the start of its line with a carriage return.
    return log_line.rstrip("\r").rsplit("\r", 1)[-1]


MEGABYTE = 1_000_000


def find_obstacle(home_folder: Path, options: JobOptions) -> Message | None:
    """Why no job can be started on this machine now, None where nothing is in the way."""
    free_disk_mb, free_memory_mb = (
        shutil.disk_usage(home_folder).free // MEGABYTE,
        psutil.virtual_memory().available // MEGABYTE,
    )
    if free_disk_mb < options.min_free_disk_mb:
        return Message(
            f"Only {free_disk_mb} MB of disk are free at {home_folder}, {options.min_free_disk_mb} MB are needed; "
            "free some space and resume the job.",
            f"{home_folder} 所在磁盘只剩 {free_disk_mb} MB，至少需要 {options.min_free_disk_mb} MB，请清理后继续任务。",
        )
    if free_memory_mb < options.min_free_memory_mb:
        return Message(
            f"Only {free_memory_mb} MB of memory are free, {options.min_free_memory_mb} MB are needed; "
            "end other programs and resume the job.",
            f"内存只剩 {free_memory_mb} MB，至少需要 {options.min_free_memory_mb} MB，请关闭其他程序后继续任务。",
        )
    return None


def is_disk_full(home_folder: Path) -> bool:
    """Whether not even a few last words can be written."""
    return shutil.disk_usage(home_folder).free < 4 * MEGABYTE


def refuse_if_blocked(home_folder: Path, options: JobOptions) -> None:
    """Raises UserError where `find_obstacle` finds one."""
    obstacle_message = find_obstacle(home_folder, options)
    if obstacle_message is not None:
        raise UserError(obstacle_message.en, obstacle_message.zh)


# By name, since nobody knows all secrets of an environment; a kind of job names those it has a right to.
_SECRET_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)


# The slowest step so far is not the slowest there will be.
STOP_MARGIN = 2.0


@dataclass
class JobProcess:
    """A started attempt. `launcher_process` is there only in the worker that started it."""

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
        """Close the launcher's stdin: before `release_program` that means that the program never starts."""
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
        """Whether the grace period since `request_stop` is over: that of the options, or what the program needs."""
        if self.stop_requested_at is None:
            return False
        # A step of a big model and its checkpoint take minutes; killed before, the steps since the last one are lost.
        granted_seconds = max(grace_seconds, STOP_MARGIN * read_stop_seconds(self.run_folder))
        return time.monotonic() - self.stop_requested_at > granted_seconds

    def kill(self) -> int:
        """SIGKILL whatever is left of the run; how many processes that were."""
        # By session and by the mark in the environment, which also finds a helper that left the session.
        return processes.kill_run(self.leader_process, self.run_folder)

    def kill_session(self) -> None:
        """SIGKILL the session alone: the folder may belong to a newer attempt by now."""
        processes.kill_run(self.leader_process, None)

    def program_exit(self) -> ProgramExit | None:
        """How the program ended, once `is_running` is false."""
        if self.leader_process is None and self.launcher_process is None:
            return ProgramExit(started=False)
        exit_record = read_exit_record(self.run_folder, self.held_job.attempt)
        # Only the worker that started the launcher can ask for its code; on a full disk that is all there is.
        if exit_record is None and self.launcher_process is not None and (self.launcher_process.returncode or -1) > 0:
            return ProgramExit(exit_code=self.launcher_process.returncode)
        return exit_record

    def last_lines(self) -> list[str]:
        """The end of this attempt's output."""
        return lines_since_header(read_tail(self.log_path, 200))


class LocalRunner:
    """Starts and finds runs under HOME/runs."""

    def __init__(self, home_folder: Path, database_url: str, job_programs: JobProgramRegistry = OWN_PROGRAMS) -> None:
        self._home_folder = home_folder
        self._database_url = database_url
        self._job_programs = job_programs

    def prepare_process(self, held_job: HeldJob) -> JobProcess:
        """Start the launcher; the program waits for `JobProcess.release_program`. Raises OSError and UserError."""
        job_program = self._job_programs.find(held_job.job_kind)
        run_folder = self._run_folder(held_job)
        if held_job.attempt == 1 and run_folder.exists():
            # Left by a database that is gone: its checkpoints are not this job's.
            run_folder.rename(f"{run_folder}.old-{time.time_ns()}")
        run_folder.mkdir(parents=True, exist_ok=True)
        record_file = exit_record_path(run_folder, held_job.attempt)
        record_file.unlink(missing_ok=True)
        stop_seconds_path(run_folder).unlink(missing_ok=True)
        with (run_folder / "log.txt").open("ab") as log_file:
            start_time = datetime.now(UTC).isoformat(timespec="seconds")
            # Into the log itself, so that the last words of one attempt are never taken for those of the next.
            log_file.write(f"{attempt_header(held_job.job_id, held_job.attempt, start_time)}\n".encode())
            log_file.flush()
            launcher_process = subprocess.Popen(
                [
                    sys.executable,
                    # Isolated and without site packages: about 10 MB beside every job, and no variable
                    # changes what it does.
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
                # The session is what is stopped and swept, and it outlives the worker.
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
        job_program = self._job_programs.find(held_job.job_kind)
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
