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

    def __init__(self, record_path: str, program_command: list[str]) -> None:
        self._record_path = record_path
        self._program_command = program_command
        self._program_process: subprocess.Popen[bytes] | None = None
        self._stop_requested = False

    def run(self) -> int:
        """The program's exit code, or 128 + the number of the signal that ended it."""
        # Before the byte is awaited: by default SIGTERM would end the launcher without a record.
        signal.signal(signal.SIGTERM, self._forward_signal)
        # End of file instead of a byte: the worker died before the row knew this process, so nothing may run.
        if not os.read(0, 1):
            self._write_record(code=None, signal=None, started=False)
            return 0
        try:
            # Its own standard input is the worker's pipe, which the program must not read.
            self._program_process = subprocess.Popen(self._program_command, stdin=subprocess.DEVNULL)
        except OSError as error:
            print(f"error: {self._program_command[0]} cannot be started: {error.strerror}", flush=True)
            self._write_record(code=127, signal=None, started=True)
            return 127
        # The request came between the byte and the start of the program, which would otherwise never hear of it.
        if self._stop_requested:
            self._program_process.terminate()
        return_code = self._program_process.wait()
        self._write_record(
            code=return_code if return_code >= 0 else None,
            signal=-return_code if return_code < 0 else None,
            started=True,
        )
        # As shells report a signal.
        return return_code if return_code >= 0 else 128 - return_code

    def _forward_signal(self, _signal_number: int, _frame: FrameType | None) -> None:
        self._stop_requested = True
        if self._program_process is not None:
            self._program_process.terminate()

    def _write_record(self, **record: int | bool | None) -> None:
        draft_path = f"{self._record_path}.new"
        try:
            with open(draft_path, "w", encoding="utf-8") as draft_file:
                json.dump(record, draft_file)
                draft_file.flush()
                # Without it a crash may leave a renamed, empty record, which means nothing to any worker.
                os.fsync(draft_file.fileno())
            os.replace(draft_path, self._record_path)
        except OSError as error:  # A full disk: the own exit code still tells the worker, if it lives.
            print(f"the exit record cannot be written: {error.strerror}", flush=True)


if __name__ == "__main__":
    sys.exit(Launcher(sys.argv[1], sys.argv[2:]).run())
