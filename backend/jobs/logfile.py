"""The end of a log, however long the log is."""

import re
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 64 * 1024
MAX_TAIL_BYTES = 4 * 1024 * 1024
_HEADER_PATTERN = re.compile(r"^=== job \d+ attempt \d+ ")


def read_tail(log_path: Path, line_count: int) -> list[str]:
    """The last `lines` lines, oldest first, read from the end; empty where none can be read.

    Of a progress bar that rewrites its line only the last state is kept.
    """
    if line_count <= 0:
        return []
    try:
        with log_path.open("rb") as log_file:
            tail_bytes = _read_last_lines(log_file, line_count)
    except OSError:
        return []
    if not tail_bytes:
        return []
    tail_text = tail_bytes.decode("utf-8", "replace")
    return [_visible_line(log_line) for log_line in tail_text.split("\n")[-line_count:]]


def attempt_header(job_id: int, attempt_number: int, start_time: str) -> str:
    """The line that begins an attempt in the log."""
    return f"=== job {job_id} attempt {attempt_number} {start_time} ==="


def lines_since_header(log_lines: list[str]) -> list[str]:
    """The lines of the last attempt only."""
    header_indexes = [line_index for line_index, log_line in enumerate(log_lines) if _HEADER_PATTERN.match(log_line)]
    return log_lines[header_indexes[-1] + 1 :] if header_indexes else log_lines


def _read_last_lines(log_file: BinaryIO, line_count: int) -> bytes:
    position = log_file.seek(0, 2)
    tail_bytes = b""
    while position > 0 and tail_bytes.count(b"\n") <= line_count and len(tail_bytes) < MAX_TAIL_BYTES:
        block_size = min(BLOCK_BYTES, position)
        position -= block_size
        log_file.seek(position)
        tail_bytes = log_file.read(block_size) + tail_bytes
    return tail_bytes.removesuffix(b"\n")


def _visible_line(log_line: str) -> str:
    return log_line.rstrip("\r").rsplit("\r", 1)[-1]
