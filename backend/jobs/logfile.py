"""The end of a log, however long the log is."""

import re
from pathlib import Path
from typing import BinaryIO

BLOCK = 64 * 1024
LIMIT = 4 * 1024 * 1024
_HEADER = re.compile(r"^=== job \d+ attempt \d+ ")


def tail(path: Path, lines: int) -> list[str]:
    """The last `lines` lines, oldest first, read from the end; empty where none can be read.

    Of a progress bar that rewrites its line only the last state is kept.
    """
    if lines <= 0:
        return []
    try:
        with path.open("rb") as file:
            data = _last_lines(file, lines)
    except OSError:
        return []
    if not data:
        return []
    text = data.decode("utf-8", "replace")
    return [_shown(line) for line in text.split("\n")[-lines:]]


def header(job_id: int, attempt: int, moment: str) -> str:
    """The line that begins an attempt in the log."""
    return f"=== job {job_id} attempt {attempt} {moment} ==="


def since_header(lines: list[str]) -> list[str]:
    """The lines of the last attempt only."""
    starts = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    return lines[starts[-1] + 1 :] if starts else lines


def _last_lines(file: BinaryIO, lines: int) -> bytes:
    position = file.seek(0, 2)
    data = b""
    while position > 0 and data.count(b"\n") <= lines and len(data) < LIMIT:
        size = min(BLOCK, position)
        position -= size
        file.seek(position)
        data = file.read(size) + data
    return data.removesuffix(b"\n")


def _shown(line: str) -> str:
    return line.rstrip("\r").rsplit("\r", 1)[-1]
