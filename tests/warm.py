"""Programs in processes of their own that do not load torch and its company each.

One process a session loads the libraries, and forks for every program. What runs in the fork is
`python -m MODULE` from its first line on: of this project nothing is loaded beforehand, the environment,
arguments and standard streams are its own, and so are signals and exit code.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache

from tests import forking

FIXED = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
"""What is read when a library is loaded, so that it is the same for every program."""
PATIENCE = 300


class Program:
    """A program that was started; its input and output are files of the caller."""

    def __init__(self, control: socket.socket, pid: int) -> None:
        self._control = control
        self.pid = pid

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, negative after a signal. Ends it and raises TimeoutError when it takes too long."""
        try:
            return int(self._control.recv(64))
        except TimeoutError:
            self.send_signal(signal.SIGKILL)
            self._control.recv(64)
            raise


def started(module: str, *given: str, files: tuple[int, int, int], env: Mapping[str, str]) -> Program:
    """Start a module with open files as its input, output and errors; one program at a time."""
    control = _control()
    socket.send_fds(control, [json.dumps([module, given, dict(env)]).encode()], list(files))
    return Program(control, int(control.recv(64)))


def run(
    module: str, *given: str, said: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a module to its end, as subprocess.run does."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        source.write(said.encode())
        source.seek(0)
        files = (source.fileno(), out.fileno(), err.fileno())
        code = started(module, *given, files=files, env=os.environ if env is None else env).wait()
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess([module, *given], code, out.read().decode(), err.read().decode())


@cache
def _control() -> socket.socket:
    return forking.started("tests.warm", PATIENCE, FIXED)


def _load() -> None:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import scipy.sparse  # noqa: F401
    import sklearn.feature_extraction.text
    import sklearn.linear_model  # noqa: F401
    import sqlalchemy.orm  # noqa: F401
    from transformers import Qwen3ForCausalLM, Qwen3ForSequenceClassification  # noqa: F401
    from trl import GRPOTrainer, RewardTrainer, SFTTrainer  # noqa: F401


def _serve(control: socket.socket) -> None:
    while True:
        asked, files, _, _ = socket.recv_fds(control, 1 << 18, 3)
        if not asked:
            return
        pid = os.fork()
        if not pid:
            control.close()
            _become(files, *json.loads(asked))
            return
        for file in files:
            os.close(file)
        control.sendall(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        control.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _become(files: list[int], module: str, given: list[str], env: dict[str, str]) -> None:
    for own, file in enumerate(files):
        os.dup2(file, own)
        os.close(file)
    os.environ.clear()
    os.environ.update(env | FIXED)
    sys.argv = [module, *given]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    forking.serve(_load, _serve)
