"""Principles from a text file."""

from pathlib import Path

from backend.files import read_text_file
from backend.judges.principles import parse_principles

_LIMIT = 1_000_000


def read_principles(path: Path) -> list[str]:
    """The rules in a UTF-8 file, one a line. Raises UserError."""
    return list(parse_principles(read_text_file(path, _LIMIT)))
