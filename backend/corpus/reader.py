"""Foreign files are read in a process of their own; here it is started, listened to and ended."""

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

from backend.core.errors import Message, UserError
from backend.core.settings import PROJECT_ROOT
from backend.corpus import limits
from backend.corpus.detect import FileFormat, require_regular_file
from backend.corpus.limits import ReadingAllowance
from backend.corpus.reader_frames import read_frame
from backend.corpus.reader_program import OUT_OF_MEMORY_STATUS, ReadRequest
from backend.corpus.readers import NumberedRow, ShareCallback

# Each may take MEMORY_BYTES, so these are 6 GB at most.
MAX_READERS = 3
# Whoever waits holds one of the threads that answer the pages, and there are forty.
MAX_WAITING = 5
PATIENCE_S = 15.0
# Of the environment the reading process needs no more, and no key of an endpoint.
_PASSED_VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "TMPDIR",
    "TZ",
)


class _ReaderSlots:
    """At most MAX_READERS files are read at once in this process, and at most MAX_WAITING requests wait."""

    def __init__(self) -> None:
        self._count_lock = threading.Lock()
        self._free_slots = threading.Semaphore(MAX_READERS)
        self._waiting_count = 0

    @contextmanager
    def hold_slot(self) -> Iterator[None]:
        """One of the places, for as long as the block lasts. Raises UserError where none becomes free."""
        self._take_slot()
        try:
            yield
        finally:
            self._free_slots.release()

    def _take_slot(self) -> None:
        if self._free_slots.acquire(blocking=False):
            return
        with self._count_lock:
            if self._waiting_count >= MAX_WAITING:
                raise limits.too_many_readers()
            self._waiting_count += 1
        try:
            if not self._free_slots.acquire(timeout=PATIENCE_S):
                raise limits.too_many_readers()
        finally:
            with self._count_lock:
                self._waiting_count -= 1


_reader_slots = _ReaderSlots()


class ForeignFile:
    """A file that is being read in another process: its form, then its rows."""

    def __init__(self, file_path: Path, reply: "_ReaderReply") -> None:
        self._file_path, self._reader_reply = file_path, reply
        self.file_format = FileFormat(**self._frame_field("form"))

    def rows(self, progress_callback: ShareCallback | None = None) -> Iterator[NumberedRow]:
        """(line, value) one by one, a Message for a row that cannot be read; `progress_callback` hears the
        share read.

        Raises UserError where the file cannot be read on.
        """
        while (frame := self._next_frame()) is not None:
            if progress_callback:
                progress_callback(float(frame.get("share", 0.0)))
            for frame_row in frame["rows"]:
                yield (
                    frame_row[0],
                    frame_row[1] if len(frame_row) == 2 else Message(str(frame_row[2]), str(frame_row[3])),
                )

    def _frame_field(self, frame_key: str) -> Any:
        frame = self._next_frame()
        if frame is None or frame_key not in frame:
            raise self._reader_reply.early_end_error()
        return frame[frame_key]

    def _next_frame(self) -> dict[str, Any] | None:
        try:
            frame = read_frame(self._reader_reply.read_bytes)
        except ValueError as error:
            raise self._reader_reply.early_end_error() from error
        # Whoever ends without an "end" or "error" frame was ended; the rows so far are not the whole file.
        if frame is None:
            raise self._reader_reply.early_end_error()
        if "error" in frame:
            en, zh = frame["error"]
            raise UserError(str(en), str(zh))
        if "unreadable" in frame:
            raise unreadable_error(self._file_path, str(frame["unreadable"]))
        return None if "end" in frame else frame


def unreadable_error(path: Path, why: str) -> UserError:
    """The sentence for a file that cannot be read, and why."""
    return UserError(f"{path.name} cannot be read ({why}).", f"无法读取 {path.name}（{why}）。")


@contextmanager
def open_foreign_file(
    file_path: Path,
    *,
    table: bool = False,
    prompts: bool = False,
    row_limit: int | None = None,
    text_limit: int | None = None,
) -> Iterator[ForeignFile]:
    """The file as another process reads it, which ends with the block.

    `table` and `prompts` settle what plain text cannot tell by itself. `row_limit` None means the whole file, a
    number only so many, under the tighter limits of a preview; `text_limit` shortens texts to so many characters.
    Raises UserError for a file that cannot be read, or where too many others are being read.
    """
    try:
        require_regular_file(file_path)
        with file_path.open("rb"):
            file_size = file_path.stat().st_size
    except OSError as error:
        raise unreadable_error(file_path, error.strerror or str(error)) from error
    allowed = limits.to_import(file_size) if row_limit is None else limits.to_preview(file_size)
    request = ReadRequest(
        os.path.abspath(file_path),
        table,
        prompts,
        row_limit,
        text_limit,
        allowed.cpu_seconds,
        allowed.max_characters,
    )
    with _reader_slots.hold_slot(), _ReaderReply(file_path, request, allowed) as reply:
        yield ForeignFile(file_path, reply)


class _ReaderReply:
    """The reading process, and the bytes that come out of it."""

    def __init__(self, file_path: Path, request: ReadRequest, allowed: ReadingAllowance) -> None:
        self._file_path, self._allowance = file_path, allowed
        reader_environment = {
            variable_name: os.environ[variable_name]
            for variable_name in _PASSED_VARIABLES
            if variable_name in os.environ
        }
        # Arrow's own allocators reserve a gigabyte of addresses before the first row.
        reader_environment |= {
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "OMP_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backend.corpus.reader_program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A pipe that nobody reads would fill with a library's warnings and stop the process.
            stderr=subprocess.DEVNULL,
            cwd=PROJECT_ROOT,
            env=reader_environment,
            # Ctrl-C at a terminal then reaches the command alone, which ends this process itself.
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._output = self._process.stdout
        self._output_poll = select.poll()  # unlike select() it takes any number of a file
        # Read below by os.read: what a buffered reader had taken already, poll would not see.
        self._output_poll.register(self._output, select.POLLIN)
        self._buffer = bytearray()
        with suppress(BrokenPipeError):
            self._process.stdin.write(request.to_json_line())
            self._process.stdin.flush()

    def __enter__(self) -> "_ReaderReply":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for process_stream in (self._process.stdin, self._process.stdout):
            if process_stream is not None:
                with suppress(OSError):
                    process_stream.close()

    def read_bytes(self, byte_count: int) -> bytes:
        """Exactly so many bytes, fewer at the end. Raises UserError where none come for too long."""
        while len(self._buffer) < byte_count:
            output_block = self._read_block()
            if not output_block:
                break
            self._buffer += output_block
        received_bytes = bytes(self._buffer[:byte_count])
        del self._buffer[:byte_count]
        return received_bytes

    def _read_block(self) -> bytes:
        # Only waiting counts: the time that the caller spends on rows is not the file's.
        waiting_start = time.monotonic()
        if not self._output_poll.poll(1000 * self._allowance.silent_seconds):
            raise limits.too_slow(self._file_path.name, time.monotonic() - waiting_start)
        return os.read(self._output.fileno(), 1 << 18)

    def early_end_error(self) -> UserError:
        """Why the process ended before it had said everything."""
        with suppress(subprocess.TimeoutExpired):
            # A closed pipe comes before the status by which the end is explained.
            self._process.wait(timeout=5)
        exit_status = self._process.returncode
        if exit_status in (
            OUT_OF_MEMORY_STATUS,
            -signal.SIGKILL,
        ):  # by itself, or by the system that ran out of it
            return limits.needs_too_much_memory(self._file_path.name)
        if exit_status == -signal.SIGXCPU:
            return limits.too_slow(self._file_path.name, self._allowance.cpu_seconds)
        name = self._file_path.name
        return UserError(
            f"{name} is damaged: reading it ended the process that tried; write the file again, as CSV or "
            "JSON Lines rather than Parquet or .xlsx.",
            f"{name} 已损坏，读取它的进程中途退出；请重新生成，用 CSV 或 JSON Lines 代替 Parquet 或 .xlsx。",
        )
