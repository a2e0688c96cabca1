"""The application started from a process that has loaded its libraries already.

Some sixty tests start the application; most of each start is the import of Gradio and what it brings. One process a
session imports those libraries (nothing of this project) and forks for every start. What runs in the fork is app.py
from its first line on, in a session of its own, with its own environment, output and signals.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests import forking

LIBRARIES = (
    "gradio",
    "gradio.components.navbar",
    "gradio.routes",
    "fastapi.staticfiles",
    "uvicorn.protocols.http.auto",
    "uvicorn.lifespan.on",
    "pandas",
    "sqlalchemy.orm",
    "pydantic_settings",
)
START_PATIENCE_S = 120


class Process:
    """A process that was forked elsewhere: what the tests need of subprocess.Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """0 when it has ended, else None; its exit code is not known here."""
        return 0 if select.select([self._handle], [], [], 0)[0] else None

    def wait(self, timeout: float) -> int:
        """Wait until it has ended. Raises subprocess.TimeoutExpired."""
        if not select.select([self._handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("app.py", timeout)
        return 0

    def terminate(self) -> None:
        """SIGTERM, unless it has ended."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def __del__(self) -> None:
        os.close(self._handle)


def start_app(env: Mapping[str, str], log: Path) -> Process:
    """Start app.py with this environment; what it prints goes to the end of `log`."""
    control = _control()
    with log.open("ab") as output:
        socket.send_fds(control, [json.dumps(dict(env)).encode()], [output.fileno()])
    return Process(int(control.recv(64)))


@cache
def _control() -> socket.socket:
    return forking.started("tests.preloaded", START_PATIENCE_S)


def _load() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    assert threading.active_count() == 1, "a fork would lose the other threads"


def _serve(control: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: nobody asks for exit codes
    while True:
        request, files, _, _ = socket.recv_fds(control, 1 << 18, 1)
        if not request:
            return
        pid = os.fork()
        if not pid:
            control.close()
            _become_app(files[0], json.loads(request))
            return
        os.close(files[0])
        control.sendall(str(pid).encode())


def _become_app(output: int, env: dict[str, str]) -> None:
    # As after an exec: a session of its own, default signals, its own output, no inherited settings.
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["app.py"]
    runpy.run_path("app.py", run_name="__main__")


if __name__ == "__main__":
    forking.serve(_load, _serve)
