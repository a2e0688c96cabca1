"""Processes by identity (number and start time), and everything that belongs to one run."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil  # type: ignore[import-untyped]

# Environment variable with the run's folder: finds processes that left the session too.
RUN_FOLDER_VARIABLE = "ZHUFU_RUN"


@dataclass(frozen=True)
class ProcessIdentity:
    """A process number is used again; together with the start time it names one process."""

    pid: int
    start_time: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process runs; one that only waits to be reaped does not."""
        return find_start_time(self.pid) == self.start_time


def identify_process(process_id: int) -> ProcessIdentity | None:
    """The process that has this number now, None where none runs."""
    start_time = find_start_time(process_id)
    return None if start_time is None else ProcessIdentity(process_id, start_time)


def find_start_time(process_id: int) -> str | None:
    """When the process started, exact and immune to changes of the clock; None where none runs."""
    boot_id = _read_boot_id()
    if boot_id is None:
        return _start_time_by_clock(process_id)
    try:
        stat_text = Path(f"/proc/{process_id}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The name (second field) may hold anything, so the fields are counted from its closing bracket.
    stat_fields = stat_text.rpartition(")")[2].split()
    return None if stat_fields[0] in "ZX" else f"{stat_fields[19]}@{boot_id}"


def find_run_members(leader_process: ProcessIdentity | None, run_folder: Path | None) -> list[int]:
    """Living processes of a run: its session, and whoever carries its folder's mark; never the caller."""
    session_id = _find_session_id(leader_process)
    folder_mark = f"{RUN_FOLDER_VARIABLE}={run_folder}".encode() if run_folder else None
    other_ids = [process_id for process_id in psutil.pids() if process_id != os.getpid()]
    member_ids = [
        process_id
        for process_id in other_ids
        if _is_in_session(process_id, session_id) or _is_marked(process_id, folder_mark)
    ]
    return [process_id for process_id in member_ids if find_start_time(process_id) is not None]


def kill_run(leader_process: ProcessIdentity | None, run_folder: Path | None) -> int:
    """SIGKILL everything of a run; how many processes were still there."""
    member_ids = find_run_members(leader_process, run_folder)
    for process_id in member_ids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process_id, signal.SIGKILL)
    return len(member_ids)


def terminate_leader(leader_process: ProcessIdentity) -> None:
    """Ask the leader of a run to end; it passes the wish on to its program."""
    if leader_process.is_alive:
        with suppress(ProcessLookupError):
            os.kill(leader_process.pid, signal.SIGTERM)


@cache
def _read_boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _start_time_by_clock(process_id: int) -> str | None:
    try:
        process = psutil.Process(process_id)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def _find_session_id(leader_process: ProcessIdentity | None) -> int | None:
    """The session's number, unless another process has been given it since."""
    if leader_process is None:
        return None
    is_reused = psutil.pid_exists(leader_process.pid) and find_start_time(leader_process.pid) not in (
        None,
        leader_process.start_time,
    )
    return None if is_reused else leader_process.pid


def _is_in_session(process_id: int, session_id: int | None) -> bool:
    if session_id is None:
        return False
    try:
        return os.getsid(process_id) == session_id
    except OSError:
        return False


def _is_marked(process_id: int, folder_mark: bytes | None) -> bool:
    if folder_mark is None:
        return False
    try:
        if _read_boot_id() is not None:
            return folder_mark in Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
        return bool(
            psutil.Process(process_id).environ().get(RUN_FOLDER_VARIABLE) == folder_mark.decode().partition("=")[2]
        )
    except (OSError, psutil.Error):
        return False
