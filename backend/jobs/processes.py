"""Processes by identity (number and start time), and everything that belongs to one run."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil  # type: ignore[import-untyped]

MARK = "ZHUFU_RUN"
"""Environment variable with the run's folder: finds processes that left the session too."""


@dataclass(frozen=True)
class Identity:
    """A process number is used again; together with the start time it names one process."""

    pid: int
    start: str

    @property
    def alive(self) -> bool:
        """Whether this very process runs; one that only waits to be reaped does not."""
        return start_of(self.pid) == self.start


def identify(pid: int) -> Identity | None:
    """The process that has this number now, None where none runs."""
    start = start_of(pid)
    return None if start is None else Identity(pid, start)


def start_of(pid: int) -> str | None:
    """When the process started, exact and immune to changes of the clock; None where none runs."""
    boot = _boot()
    if boot is None:
        return _start_by_clock(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The name (second field) may hold anything, so the fields are counted from its closing bracket.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{fields[19]}@{boot}"


def run_members(leader: Identity | None, folder: Path | None) -> list[int]:
    """Living processes of a run: its session, and whoever carries its folder's mark; never the caller."""
    session = _session(leader)
    mark = f"{MARK}={folder}".encode() if folder else None
    others = [pid for pid in psutil.pids() if pid != os.getpid()]
    found = [pid for pid in others if _in_session(pid, session) or _marked(pid, mark)]
    return [pid for pid in found if start_of(pid) is not None]


def kill_run(leader: Identity | None, folder: Path | None) -> int:
    """SIGKILL everything of a run; how many processes were still there."""
    members = run_members(leader, folder)
    for pid in members:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(members)


def terminate(leader: Identity) -> None:
    """Ask the leader of a run to end; it passes the wish on to its program."""
    if leader.alive:
        with suppress(ProcessLookupError):
            os.kill(leader.pid, signal.SIGTERM)


@cache
def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _start_by_clock(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def _session(leader: Identity | None) -> int | None:
    """The session's number, unless another process has been given it since."""
    if leader is None:
        return None
    taken = psutil.pid_exists(leader.pid) and start_of(leader.pid) not in (None, leader.start)
    return None if taken else leader.pid


def _in_session(pid: int, session: int | None) -> bool:
    if session is None:
        return False
    try:
        return os.getsid(pid) == session
    except OSError:
        return False


def _marked(pid: int, mark: bytes | None) -> bool:
    if mark is None:
        return False
    try:
        if _boot() is not None:
            return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return bool(psutil.Process(pid).environ().get(MARK) == mark.decode().partition("=")[2])
    except (OSError, psutil.Error):
        return False
