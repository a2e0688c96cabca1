"""`python -m tests.pair_killed STAGE TIMES ARGS…`: the command line, killed once a stage stored TIMES times.

SIGKILL from within: no handler, no `finally`, nothing flushed, at a moment that is the same every time.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import backend.judges.scoring.run
import backend.preferences.candidates
import backend.preferences.emit
import backend.preferences.intake
import backend.preferences.run
from backend.cli import main

PLACES: dict[str, tuple[Any, str]] = {
    "filtering": (backend.preferences.intake, "_store"),
    "judging": (backend.judges.scoring.run, "store"),
    "again": (backend.preferences.run, "mark"),
    "pairing": (backend.preferences.emit, "_store"),
    "people": (backend.preferences.run, "hand_out"),
}


def fatal(work: Callable[..., Any], times: int) -> Callable[..., Any]:
    """The same work, the last thing that this process does."""
    left = times

    def once(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        result = work(*args, **kwargs)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return once


if __name__ == "__main__":
    stage, times = sys.argv[1], int(sys.argv[2])
    module, name = PLACES[stage]
    setattr(module, name, fatal(getattr(module, name), times))
    backend.preferences.intake.PAGE = 5
    backend.preferences.emit.CHUNK = 6
    backend.preferences.run.CHUNK = 8
    sys.argv = ["backend", *sys.argv[3:]]
    main()
