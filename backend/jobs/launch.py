"""The parent of one program, and leader of its session: outlives worker and application.

Started by path with the standard library only: `python -I -S launch.py RECORD PROGRAM ARGS…`. It waits
for one byte on stdin, which the worker sends after it has written this process into the job's row, so that
no program ever runs that the row does not know. When the program has ended it leaves RECORD behind.
"""

import json
import os
import signal
import subprocess
import sys
from types import FrameType


class Launcher:
    """Starts the program, passes SIGTERM on, records the end."""

    def __init__(self, record: str, argv: list[str]) -> None:
        self._record = record
        self._argv = argv
        self._program: subprocess.Popen[bytes] | None = None
        self._asked = False

    def run(self) -> int:
        """The program's exit code, or 128 + the number of the signal that ended it."""
        signal.signal(signal.SIGTERM, self._pass_on)
        if not os.read(0, 1):
            self._write(code=None, signal=None, started=False)
            return 0
        try:
            self._program = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL)
        except OSError as error:
            print(f"error: {self._argv[0]} cannot be started: {error.strerror}", flush=True)
            self._write(code=127, signal=None, started=True)
            return 127
        if self._asked:
            self._program.terminate()
        ended = self._program.wait()
        self._write(code=ended if ended >= 0 else None, signal=-ended if ended < 0 else None, started=True)
        return ended if ended >= 0 else 128 - ended

    def _pass_on(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if self._program is not None:
            self._program.terminate()

    def _write(self, **record: int | bool | None) -> None:
        draft = f"{self._record}.new"
        try:
            with open(draft, "w", encoding="utf-8") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self._record)
        except OSError as error:  # A full disk: the own exit code still tells the worker, if it lives.
            print(f"the exit record cannot be written: {error.strerror}", flush=True)


if __name__ == "__main__":
    sys.exit(Launcher(sys.argv[1], sys.argv[2:]).run())
