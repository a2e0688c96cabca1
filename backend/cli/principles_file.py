"""Principles from a text file."""

from pathlib import Path

from backend.errors import UserError
from backend.judges.principles import parse_principles


def read_principles(path: Path) -> list[str]:
    """The rules in a UTF-8 file, one a line. Raises UserError."""
    try:
        return list(parse_principles(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as UTF-8 text ({error}).", f"无法把 {path} 读作 UTF-8 文本（{error}）。"
        ) from error
