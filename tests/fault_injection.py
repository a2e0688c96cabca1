"""A program with a fault at a chosen file: `python -m tests.fault_injection FAULT FILE COUNT MODULE [ARGUMENTS…]`.

FAULT is `kill` (SIGKILL), `full` (no space left on device) or `pause` (SIGTERM, as a request to stop); it happens
when the file whose path ends with FILE is opened for writing the COUNT-th time.
"""

import errno
import os
import runpy
import signal
import sys


def inject(fault: str, file_end: str, count: int = 1) -> None:
    """From now on in this process."""
    seen = 0

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal seen
        # builtins.open, os.open and Path.write_text all come here; what C++ and Rust open does not.
        if event != "open" or not isinstance(given[0], str) or not given[0].endswith(file_end):
            return
        is_written = int(str(given[2])) & (os.O_WRONLY | os.O_RDWR)
        seen += bool(is_written)
        if is_written and seen == count:
            _fail(fault, given[0])

    sys.addaudithook(watch)


def _fail(fault: str, path: str) -> None:
    if fault == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    os.kill(os.getpid(), signal.SIGKILL if fault == "kill" else signal.SIGTERM)


if __name__ == "__main__":
    fault, file_end, count, module, *arguments = sys.argv[1:]
    inject(fault, file_end, int(count))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
