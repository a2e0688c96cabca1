"""Foreign files are read in a process of their own; here it is started, listened to and ended.

What such a file may hold (a sheet that claims a trillion rows, a kilobyte that unfolds to gigabytes, bytes
that crash their library) then costs that process, within `limits`, and never the one that serves pages. Only
few of them run at once, few more wait, and who comes then is told to try again.
"""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backend.corpus import limits
from backend.corpus.detect import Form, must_be_file
from backend.corpus.limits import Allowance
from backend.corpus.reader_frames import read_frame
from backend.corpus.reader_program import OUT_OF_MEMORY, Request
from backend.corpus.readers import Item, Tick
from backend.errors import Message, UserError
from backend.settings import ROOT

AT_ONCE = 3
WAITING = 5
"""Whoever waits holds one of the threads that answer the pages, and there are forty."""
PATIENCE_S = 15.0
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR", "TZ")
"""Of the environment the reading process needs no more, and no key of an endpoint."""


class _Places:
    """At most `AT_ONCE` files are read at once in this process, and at most `WAITING` requests wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = threading.Semaphore(AT_ONCE)
        self._waiting = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One of the places, for as long as the block lasts. Raises UserError where none becomes free."""
        self._enter()
        try:
            yield
        finally:
            self._free.release()

    def _enter(self) -> None:
        if self._free.acquire(blocking=False):
            return
        with self._lock:
            if self._waiting >= WAITING:
                raise limits.busy()
            self._waiting += 1
        try:
            if not self._free.acquire(timeout=PATIENCE_S):
                raise limits.busy()
        finally:
            with self._lock:
                self._waiting -= 1


_places = _Places()


class ForeignFile:
    """A file that is being read in another process: its form, then its rows."""

    def __init__(self, path: Path, reply: "_Reply") -> None:
        self._path, self._reply = path, reply
        self.form = Form(**self._next("form"))

    def rows(self, tick: Tick | None = None) -> Iterator[Item]:
        """(line, value) one by one, a Message for a row that cannot be read; `tick` hears the share read.

        Raises UserError where the file cannot be read on.
        """
        while (frame := self._frame()) is not None:
            if tick:
                tick(float(frame.get("share", 0.0)))
            for row in frame["rows"]:
                yield row[0], row[1] if len(row) == 2 else Message(str(row[2]), str(row[3]))

    def _next(self, name: str) -> Any:
        frame = self._frame()
        if frame is None or name not in frame:
            raise self._reply.death()
        return frame[name]

    def _frame(self) -> dict[str, Any] | None:
        try:
            frame = read_frame(self._reply.read)
        except ValueError as error:
            raise self._reply.death() from error
        if frame is None:
            raise self._reply.death()
        if "error" in frame:
            en, zh = frame["error"]
            raise UserError(str(en), str(zh))
        if "unreadable" in frame:
            raise unreadable(self._path, str(frame["unreadable"]))
        return None if "end" in frame else frame


def unreadable(path: Path, why: str) -> UserError:
    """The sentence for a file that cannot be read, and why."""
    return UserError(f"{path.name} cannot be read ({why}).", f"无法读取 {path.name}（{why}）。")


@contextmanager
def opened(
    path: Path, *, table: bool = False, prompts: bool = False, rows: int | None = None, cut: int | None = None
) -> Iterator[ForeignFile]:
    """The file as another process reads it, which ends with the block.

    `table` and `prompts` settle what plain text cannot tell by itself. `rows` None means the whole file, a
    number only so many, under the tighter limits of a preview; `cut` shortens texts to so many characters.
    Raises UserError for a file that cannot be read, or where too many others are being read.
    """
    try:
        must_be_file(path)
        with path.open("rb"):
            size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from error
    allowed = limits.to_import(size) if rows is None else limits.to_preview(size)
    request = Request(
        os.path.abspath(path), table, prompts, rows, cut, allowed.cpu_seconds, allowed.characters
    )
    with _places.taken(), _Reply(path, request, allowed) as reply:
        yield ForeignFile(path, reply)


class _Reply:
    """The reading process and what it says."""

    def __init__(self, path: Path, request: Request, allowed: Allowance) -> None:
        self._path, self._allowed = path, allowed
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # Arrow's own allocators reserve a gigabyte of addresses before the first row.
        environment |= {
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "OMP_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backend.corpus.reader_program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._output = self._process.stdout
        self._poll = select.poll()  # unlike select() it takes any number of a file
        self._poll.register(self._output, select.POLLIN)
        self._buffer = bytearray()
        with suppress(BrokenPipeError):
            self._process.stdin.write(request.line())
            self._process.stdin.flush()

    def __enter__(self) -> "_Reply":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, fewer at the end. Raises UserError where none come for too long."""
        while len(self._buffer) < size:
            block = self._block()
            if not block:
                break
            self._buffer += block
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def _block(self) -> bytes:
        # Only waiting counts: the time that the caller spends on rows is not the file's.
        begun = time.monotonic()
        if not self._poll.poll(1000 * self._allowed.silent_seconds):
            raise limits.too_slow(self._path.name, time.monotonic() - begun)
        return os.read(self._output.fileno(), 1 << 18)

    def death(self) -> UserError:
        """Why the process ended before it had said everything."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        status = self._process.returncode
        if status in (OUT_OF_MEMORY, -signal.SIGKILL):  # by itself, or by the system that ran out of it
            return limits.too_large(self._path.name)
        if status == -signal.SIGXCPU:
            return limits.too_slow(self._path.name, self._allowed.cpu_seconds)
        name = self._path.name
        return UserError(
            f"{name} is damaged: reading it ended the process that tried; write the file again, as CSV or "
            "JSON Lines rather than Parquet or .xlsx.",
            f"{name} 已损坏，读取它的进程中途退出；请重新生成，用 CSV 或 JSON Lines 代替 Parquet 或 .xlsx。",
        )
