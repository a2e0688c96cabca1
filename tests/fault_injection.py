"""A program with a fault at a chosen file: `python -m tests.fault_injection FAULT FILE COUNT MODULE [ARGUMENTS…]`.

FAULT is `kill` (SIGKILL), `full` (no space left on device) or `stop` (SIGTERM). It happens when the file whose path
ends with FILE is opened for writing the COUNT-th time. A FILE of torch (.pt) can only be `full`. Where FILE is
`evaluation`, it happens at the COUNT-th batch of one.
"""

import errno
import os
import runpy
import signal
import sys


def inject(fault: str, file_end: str, count: int = 1) -> None:
    """From now on in this process."""
    if file_end == "evaluation":
        _inject_into_evaluation(fault, count)
        return
    if file_end.endswith(".pt"):
        _inject_into_torch(file_end)
        return
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


def _inject_into_evaluation(fault: str, count: int) -> None:
    from transformers.trainer_callback import CallbackHandler

    usual, seen = CallbackHandler.on_prediction_step, 0

    def call(*given: object, **named: object) -> object:
        nonlocal seen
        seen += 1
        if seen == count:
            _fail(fault, "evaluation")
        return usual(*given, **named)  # type: ignore[arg-type]

    CallbackHandler.on_prediction_step = call  # type: ignore[method-assign, assignment]


def _inject_into_torch(file_end: str) -> None:
    """Have torch.save write such a file to a device that is always full."""
    import torch

    usual = torch.save

    def save(value: object, path: object, **named: object) -> None:
        usual(value, "/dev/full" if str(path).endswith(file_end) else path, **named)  # type: ignore[arg-type]

    torch.save = save


def _fail(fault: str, path: str) -> None:
    if fault == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    os.kill(os.getpid(), signal.SIGKILL if fault == "kill" else signal.SIGTERM)


if __name__ == "__main__":
    fault, file_end, count, module, *arguments = sys.argv[1:]
    inject(fault, file_end, int(count))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
