"""A helper program behind two pipes that speaks one JSON object a line, restarted once when it dies."""

import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

ERROR_TAIL = 300


class PipeFailed(Exception):
    """The program could not be used; the text says why."""


class JsonPipe:
    """Starts the program at the first request and again after a crash. One request at a time."""

    def __init__(self, command: Sequence[str], timeout_s: float, start_timeout_s: float) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._request_lock = threading.Lock()
        self._running_program: _HelperProgram | None = None
        self._closed = False

    def send_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request. Raises PipeFailed when a fresh program fails at it as well."""
        with self._request_lock:
            for is_last_try in (False, True):
                try:
                    return self._started_program().exchange(request, self._timeout_s)
                except PipeFailed:
                    self._stop_program()
                    if is_last_try or self._closed:
                        raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the program for good, also in the middle of a request of another thread."""
        self._closed = True
        running_program = self._running_program
        if running_program is not None:
            running_program.kill()
        with self._request_lock:
            self._stop_program()

    def _started_program(self) -> "_HelperProgram":
        if self._closed:
            raise PipeFailed("it was ended")
        if self._running_program is None:
            self._running_program = _HelperProgram(self._command, self._start_timeout_s)
        return self._running_program

    def _stop_program(self) -> None:
        if self._running_program is not None:
            self._running_program.stop()
            self._running_program = None


class _HelperProgram:
    """One life of the program. A thread reads its output, so that waiting for a reply can time out."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        self._error_output = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the program)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._error_output,
            encoding="utf-8",
        )
        self._output_lines: queue.Queue[str] = queue.Queue()
        assert self._process.stdout is not None
        self._reader_thread = threading.Thread(target=self._read_output, args=(self._process.stdout,), daemon=True)
        self._reader_thread.start()
        try:
            ready_message = self._next_reply(timeout_s)
            if not ready_message.get("ready"):
                raise PipeFailed(str(ready_message.get("error", "unexpected greeting")))
        except PipeFailed:
            self.stop()
            raise

    def exchange(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one request and wait for the reply with its id."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request, ensure_ascii=False) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PipeFailed(self._death_reason()) from error
        reply_object = self._next_reply(timeout_s)
        if reply_object.get("id") != request["id"]:
            raise PipeFailed("its reply belongs to another request")
        return reply_object

    def kill(self) -> None:
        """Kill the program; whoever waits for a reply learns of its end."""
        self._process.kill()

    def stop(self) -> None:
        """Kill the program and give its pipes back."""
        self.kill()
        self._process.wait()
        self._reader_thread.join()
        for pipe_stream in (self._process.stdin, self._process.stdout):
            if pipe_stream is not None:
                _close_quietly(pipe_stream)
        self._error_output.close()

    def _read_output(self, output: IO[str]) -> None:
        for output_line in output:
            self._output_lines.put(output_line)
        self._output_lines.put("")

    def _next_reply(self, timeout_s: float) -> dict[str, Any]:
        try:
            output_line = self._output_lines.get(timeout=timeout_s)
        except queue.Empty:
            raise PipeFailed(f"no reply within {timeout_s:g} s") from None
        if not output_line:
            raise PipeFailed(self._death_reason())
        try:
            reply_object = json.loads(output_line)
        except ValueError:
            raise PipeFailed(f"not a line of JSON: {output_line[:80]!r}") from None
        if not isinstance(reply_object, dict):
            raise PipeFailed(f"not a JSON object: {output_line[:80]!r}")
        return reply_object

    def _death_reason(self) -> str:
        exit_code = self._process.wait()
        self._error_output.seek(0)
        error_lines = self._error_output.read().decode("utf-8", "replace").strip().splitlines()
        return f"it ended with exit code {exit_code}" + (f" ({error_lines[-1][-ERROR_TAIL:]})" if error_lines else "")


def _close_quietly(pipe_stream: IO[str]) -> None:
    with suppress(OSError):  # unsent bytes of a program that is gone
        pipe_stream.close()
