"""Principles from a text file."""

from pathlib import Path

from backend.files import read_text_file
from backend.judges.principles import parse_principles

_MAX_BYTES = 1_000_000


def read_principles(file_path: Path) -> list[str]:
    """The rules in a UTF-8 file, one a line. Raises UserError."""
    return list(parse_principles(read_text_file(file_path, _MAX_BYTES)))
