"""A helper program behind two pipes that speaks one JSON object a line, restarted once when it dies."""

import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

TAIL = 300


class PipeFailed(Exception):
    """The program could not be used; the text says why."""


class JsonPipe:
    """Starts the program at the first request and again after a crash. One request at a time."""

    def __init__(self, command: Sequence[str], timeout_s: float, start_timeout_s: float) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._closed = False

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request. Raises PipeFailed when a fresh program fails at it as well."""
        with self._lock:
            for last in (False, True):
                try:
                    return self._started().exchange(request, self._timeout_s)
                except PipeFailed:
                    self._stop()
                    if last or self._closed:
                        raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the program for good, also in the middle of a request of another thread."""
        self._closed = True
        running = self._running
        if running is not None:
            running.kill()
        with self._lock:
            self._stop()

    def _started(self) -> "_Running":
        if self._closed:
            raise PipeFailed("it was ended")
        if self._running is None:
            self._running = _Running(self._command, self._start_timeout_s)
        return self._running

    def _stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None


class _Running:
    """One life of the program. A thread reads its output, so that waiting for a reply can time out."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the program)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, encoding="utf-8"
        )
        self._lines: queue.Queue[str] = queue.Queue()
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        try:
            ready = self._next(timeout_s)
            if not ready.get("ready"):
                raise PipeFailed(str(ready.get("error", "unexpected greeting")))
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
            raise PipeFailed(self._death()) from error
        reply = self._next(timeout_s)
        if reply.get("id") != request["id"]:
            raise PipeFailed("its reply belongs to another request")
        return reply

    def kill(self) -> None:
        """Kill the program; whoever waits for a reply learns of its end."""
        self._process.kill()

    def stop(self) -> None:
        """Kill the program and give its pipes back."""
        self.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                _close(stream)
        self._errors.close()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line)
        self._lines.put("")

    def _next(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise PipeFailed(f"no reply within {timeout_s:g} s") from None
        if not line:
            raise PipeFailed(self._death())
        try:
            reply = json.loads(line)
        except ValueError:
            raise PipeFailed(f"not a line of JSON: {line[:80]!r}") from None
        if not isinstance(reply, dict):
            raise PipeFailed(f"not a JSON object: {line[:80]!r}")
        return reply

    def _death(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        told = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"it ended with exit code {code}" + (f" ({told[-1][-TAIL:]})" if told else "")


def _close(stream: IO[str]) -> None:
    with suppress(OSError):  # unsent bytes of a program that is gone
        stream.close()
