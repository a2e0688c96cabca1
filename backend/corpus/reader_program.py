"""The program that reads one file that somebody brought: `python -m backend.corpus.reader_program`.

It takes one JSON line on stdin (see `ReadRequest`) and answers in frames on stdout: the file's form, then rows,
then the end or the reason why there is none. It holds itself to limits of memory, time, open files and bytes
written before it looks at the first byte, and ends when its stdin does, which is when whoever asked is gone.
"""

import contextlib
import io
import itertools
import json
import os
import resource
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from backend.core.errors import Message, UserError
from backend.corpus import limits
from backend.corpus.detect import detect_format
from backend.corpus.reader_frames import add_frame_length, to_compact_json, write_frame
from backend.corpus.readers import ROWS_PER_TICK, NumberedRow, read_rows

# Exit status where the limit of memory was met.
OUT_OF_MEMORY_STATUS = 81
# What the parent reads from the pipe at once.
_FULL_FRAME_BYTES = 1 << 18
_MAX_OPEN_FILES = 64


@dataclass(frozen=True)
class ReadRequest:
    """What to read and how far: `rows` None means all; `cut` shortens texts to so many characters.

    `table` and `prompts` settle what plain text cannot tell; `characters` is how many bytes of JSON all rows may take.
    """

    path: str
    table: bool = False
    prompts: bool = False
    rows: int | None = None
    cut: int | None = None
    cpu_seconds: int = 120
    characters: int = 1 << 30

    def to_json_line(self) -> bytes:
        """The request as it goes to the program's stdin."""
        return json.dumps(asdict(self)).encode("ascii") + b"\n"


def main() -> None:
    """Read what stdin asks for."""
    request = ReadRequest(**json.loads(sys.stdin.buffer.readline()))
    _limit_resources(request)
    threading.Thread(target=_exit_with_stdin, daemon=True).start()
    output_stream = io.BufferedWriter(io.FileIO(os.dup(1), "w"), 1 << 16)
    os.dup2(2, 1)  # whatever a library prints must not look like a frame
    try:
        write_answer(request, output_stream)
    except BrokenPipeError:
        os._exit(0)
    except MemoryError:
        os._exit(OUT_OF_MEMORY_STATUS)
    # Nothing is left to be tidied, and some libraries crash while they end on what they could not read.
    os._exit(0)


def _limit_resources(request: ReadRequest) -> None:
    """Limit what this process can take, for good."""
    # openpyxl and pyarrow work without numpy, which costs 0.2 s and its threads' address space.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    for resource_kind, resource_limit in (
        (resource.RLIMIT_AS, limits.MEMORY_BYTES),
        (resource.RLIMIT_CPU, request.cpu_seconds),
        # No file may be written; pipes are not concerned. Core dumps would be as large as the memory.
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard_limit = resource.getrlimit(resource_kind)[1]
        wanted_limit = resource_limit if hard_limit == resource.RLIM_INFINITY else min(resource_limit, hard_limit)
        # The signal of the soft limit says what happened; where the hard one is the same it is SIGKILL.
        new_hard_limit = (
            wanted_limit + 5
            if resource_kind == resource.RLIMIT_CPU and hard_limit == resource.RLIM_INFINITY
            else wanted_limit
        )
        # Where a system knows a limit by name only, the time that the parent grants still holds.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource_kind, (wanted_limit, new_hard_limit))


def _exit_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def write_answer(request: ReadRequest, output_stream: IO[bytes]) -> None:
    """Write every frame of the answer. Raises MemoryError, BrokenPipeError."""
    file_path = Path(request.path)
    try:
        file_format = detect_format(file_path, assume_table=request.table, assume_prompts=request.prompts)
        write_frame(output_stream, {"form": asdict(file_format)})
        read_share = ReadShare()
        for frame_rows in _collect_frames(
            file_path.name, read_rows(file_path, file_format, read_share.advance_to), request
        ):
            output_stream.write(
                add_frame_length(b'{"share":%.4f,"rows":[%b]}' % (read_share.done_share, b",".join(frame_rows)))
            )
            output_stream.flush()
        write_frame(output_stream, {"end": True})
    except UserError as error:
        write_frame(output_stream, {"error": [error.message.en, error.message.zh]})
    # Before OSError, of which a broken pipe is one: there is nobody left to write to.
    except (BrokenPipeError, MemoryError):
        raise
    except (OSError, UnicodeError) as error:
        write_frame(output_stream, {"unreadable": getattr(error, "strerror", None) or str(error)})
    except Exception as error:  # a library's surprise at what it read; the parent says so in a sentence
        write_frame(output_stream, {"unreadable": type(error).__name__})


class ReadShare:
    """How much of the file has been read, from 0 to 1."""

    done_share = 0.0

    def advance_to(self, done_share: float) -> None:
        """Note the share read so far; the parent gets it with the next frame."""
        self.done_share = min(1.0, max(self.done_share, done_share))


def _collect_frames(
    file_name: str, numbered_rows: Iterator[NumberedRow], request: ReadRequest
) -> Iterator[list[bytes]]:
    """The rows as JSON texts, as many at a time as one frame carries."""
    json_rows: list[bytes] = []
    frame_bytes = total_bytes = 0
    for row_count, (line_number, row_value) in enumerate(itertools.islice(numbered_rows, request.rows)):
        if row_count == limits.MAX_ROWS:
            raise limits.too_many_rows(file_name, limits.MAX_ROWS)
        json_rows.append(_encode_row(line_number, row_value, request.cut))
        frame_bytes, total_bytes = frame_bytes + len(json_rows[-1]), total_bytes + len(json_rows[-1])
        # Counted here rather than by the parent, so that a bomb ends before it goes through the pipe.
        if total_bytes > request.characters:
            raise limits.expands_too_far(file_name, request.characters)
        if len(json_rows) == ROWS_PER_TICK or frame_bytes > _FULL_FRAME_BYTES:
            yield json_rows
            json_rows, frame_bytes = [], 0
    if json_rows:
        yield json_rows


def _encode_row(line_number: int, row_value: Any, text_limit: int | None) -> bytes:
    """[line, value], or [line, null, English, Chinese] for a row that cannot be read."""
    if not isinstance(row_value, Message):
        row_json = to_compact_json(
            [line_number, row_value if text_limit is None else _shorten_texts(row_value, text_limit)]
        )
        if len(row_json) <= limits.MAX_ROW_BYTES:
            return row_json
        row_value = Message("the row is far too long", "这一行过长")
    return to_compact_json([line_number, None, row_value.en, row_value.zh])


def _shorten_texts(cell_value: Any, text_limit: int) -> Any:
    if isinstance(cell_value, str):
        return cell_value[:text_limit]
    if isinstance(cell_value, dict):
        return {field_name: _shorten_texts(field_value, text_limit) for field_name, field_value in cell_value.items()}
    return cell_value


if __name__ == "__main__":
    main()
