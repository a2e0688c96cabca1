"""The program that reads one file that somebody brought: `python -m backend.corpus.reader_program`.

It takes one JSON line on stdin (see `Request`) and answers in frames on stdout: the file's form, then rows,
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

from backend.corpus import limits
from backend.corpus.detect import detect
from backend.corpus.reader_frames import compact, framed, write_frame
from backend.corpus.readers import Item, read
from backend.errors import Message, UserError

OUT_OF_MEMORY = 81
"""Exit status where the limit of memory was met."""
_ROWS_A_FRAME = 500
_FRAME_BYTES = 1 << 18
_OPEN_FILES = 64


@dataclass(frozen=True)
class Request:
    """What to read and how far: `rows` None means all; `cut` shortens texts to so many characters."""

    path: str
    table: bool = False
    prompts: bool = False
    rows: int | None = None
    cut: int | None = None
    cpu_seconds: int = 120
    characters: int = 1 << 30

    def line(self) -> bytes:
        """The request as it goes to the program's stdin."""
        return json.dumps(asdict(self)).encode("ascii") + b"\n"


def main() -> None:
    """Read what stdin asks for."""
    request = Request(**json.loads(sys.stdin.buffer.readline()))
    _confine(request)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    out = io.BufferedWriter(io.FileIO(os.dup(1), "w"), 1 << 16)
    os.dup2(2, 1)  # whatever a library prints must not look like a frame
    try:
        answer(request, out)
    except BrokenPipeError:
        os._exit(0)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    # Nothing is left to be tidied, and some libraries crash while they end on what they could not read.
    os._exit(0)


def _confine(request: Request) -> None:
    """Limit what this process can take, for good."""
    # openpyxl and pyarrow work without numpy, which costs 0.2 s and its threads' address space.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    for kind, limit in (
        (resource.RLIMIT_AS, limits.MEMORY_BYTES),
        (resource.RLIMIT_CPU, request.cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        wanted = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        # The signal of the soft limit says what happened; where the hard one is the same it is SIGKILL.
        ceiling = wanted + 5 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else wanted
        # Where a system knows a limit by name only, the time that the parent grants still holds.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (wanted, ceiling))


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def answer(request: Request, out: IO[bytes]) -> None:
    """Write every frame of the answer. Raises MemoryError, BrokenPipeError."""
    path = Path(request.path)
    try:
        form = detect(path, table=request.table, prompts=request.prompts)
        write_frame(out, {"form": asdict(form)})
        share = Share()
        for rows in _frames(path.name, read(path, form, share.set), request):
            out.write(framed(b'{"share":%.4f,"rows":[%b]}' % (share.done, b",".join(rows))))
            out.flush()
        write_frame(out, {"end": True})
    except UserError as error:
        write_frame(out, {"error": [error.message.en, error.message.zh]})
    except (BrokenPipeError, MemoryError):
        raise
    except (OSError, UnicodeError) as error:
        write_frame(out, {"unreadable": getattr(error, "strerror", None) or str(error)})
    except Exception as error:  # a library's surprise at what it read; the parent says so in a sentence
        write_frame(out, {"unreadable": type(error).__name__})


class Share:
    """How much of the file has been read, from 0 to 1."""

    done = 0.0

    def set(self, done: float) -> None:
        """Take note."""
        self.done = min(1.0, max(self.done, done))


def _frames(name: str, items: Iterator[Item], request: Request) -> Iterator[list[bytes]]:
    """The rows as JSON texts, as many at a time as one frame carries."""
    rows: list[bytes] = []
    size = total = 0
    for count, (line, value) in enumerate(itertools.islice(items, request.rows)):
        if count == limits.ROWS:
            raise limits.too_many_rows(name, limits.ROWS)
        rows.append(_row(line, value, request.cut))
        size, total = size + len(rows[-1]), total + len(rows[-1])
        if total > request.characters:
            raise limits.unfolds(name, request.characters)
        if len(rows) == _ROWS_A_FRAME or size > _FRAME_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _row(line: int, value: Any, cut: int | None) -> bytes:
    """[line, value], or [line, null, English, Chinese] for a row that cannot be read."""
    if not isinstance(value, Message):
        text = compact([line, value if cut is None else _shortened(value, cut)])
        if len(text) <= limits.ROW_BYTES:
            return text
        value = Message("the row is far too long", "这一行过长")
    return compact([line, None, value.en, value.zh])


def _shortened(value: Any, cut: int) -> Any:
    if isinstance(value, str):
        return value[:cut]
    if isinstance(value, dict):
        return {key: _shortened(each, cut) for key, each in value.items()}
    return value


if __name__ == "__main__":
    main()
