"""CSV cells that a spreadsheet would run as formulas, made harmless without losing a character."""

import re

_RISKY = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard(cell: str) -> str:
    """Put an apostrophe before what starts like a formula (or like a formula so guarded)."""
    return "'" + cell if _RISKY.match(cell) else cell


def unguard(cell: str) -> str:
    """Undo `guard`: for every text, unguard(guard(text)) == text."""
    return cell[1:] if _GUARDED.match(cell) else cell
