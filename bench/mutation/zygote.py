"""Runs pytest again and again in a copy of the project, each time in a fork that has not seen the code.

Started in the copy by `bench.mutation.trial`, asked by lines of JSON on its standard input. It loads the
libraries once, never the project; so a fork costs no start of numpy, SQLAlchemy or torch, and still imports
the changed module as a new process would.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path.cwd()
SETTINGS = [
    "-x",
    "-q",
    "--tb=line",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--hypothesis-seed=0",
    # The same tests run on SQLite; a server would have to be started anew in every fork.
    "-k",
    "not postgresql",
    # Libraries are loaded before pytest can rewrite their assertions.
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
]


def pytest_in_fork(tests: list[str], log: Path, *, first: bool) -> int:
    """The child: a process group of its own, all output in `log`; gives pytest's exit status."""
    os.setsid()
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    # Only the untouched project may leave bytecode behind: a changed module can have its size and second.
    sys.dont_write_bytecode = not first
    import pytest

    status = int(pytest.main([*SETTINGS, f"--basetemp={HERE / 'tmp'}", *tests]))
    if first:
        Path(f"{log}.modules").write_text(json.dumps([*_libraries()]))
    sys.stdout.flush()
    return status


def _libraries() -> list[str]:
    """Modules of installed packages that are loaded now, in the order they were."""
    files = ((name, getattr(module, "__file__", None) or "") for name, module in list(sys.modules.items()))
    return [name for name, file in files if "site-packages" in file]


def run(tests: list[str], timeout: float, log: Path, *, first: bool) -> tuple[int | None, float]:
    """The exit status of pytest, None where it took longer than `timeout` seconds; and the seconds.

    Whatever the tests started dies with them: the whole process group is killed in either case.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 3
        try:
            status = pytest_in_fork(tests, log, first=first)
        finally:
            os._exit(status)
    status = None
    while status is None and time.monotonic() < began + timeout:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
        else:
            time.sleep(0.01)
    _kill(child)
    if status is None:
        os.waitpid(child, 0)
    return status, time.monotonic() - began


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def load(names: list[str]) -> None:
    """Import libraries, so that every later fork has them."""
    for name in names:
        if name not in sys.modules:
            try:
                __import__(name)
            except Exception as error:  # a part that wants to be asked for otherwise: the fork will
                print(f"not loaded early: {name} ({error})", file=sys.stderr)


def main() -> None:
    """Answer one line with one line until the input ends."""
    sys.path.insert(0, str(HERE))
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        log = Path(asked["log"])
        status, seconds = run(asked["tests"], asked["timeout"], log, first=asked["first"])
        if asked["first"] and status == 0:
            load(json.loads(Path(f"{log}.modules").read_text()))
        print(json.dumps({"status": status, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
