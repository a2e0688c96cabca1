"""A process that has loaded libraries and forks for whoever asks: its start, and the line to it."""

import atexit
import gc
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

from backend.core.settings import PROJECT_ROOT


def started(module: str, patience: float, env: Mapping[str, str] | None = None) -> socket.socket:
    """The line to a new server, `python -m MODULE FILE_DESCRIPTOR`; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs.fileno())],
            cwd=PROJECT_ROOT,
            env=os.environ | (env or {}),
            pass_fds=[theirs.fileno()],
        )
    ours.settimeout(patience)

    def end() -> None:
        ours.close()
        server.wait(patience)

    atexit.register(end)
    return ours


def serve(load: Callable[[], None], answer: Callable[[socket.socket], None]) -> None:
    """The server's main: load, keep what was loaded out of the collector's way, then answer."""
    load()
    gc.collect()
    gc.freeze()
    answer(socket.socket(fileno=int(sys.argv[1])))
