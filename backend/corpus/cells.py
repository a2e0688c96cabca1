"""CSV cells that a spreadsheet would run as formulas, made harmless without losing a character."""

import re

_RISKY = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard_formula(cell_text: str) -> str:
    """Put an apostrophe before what starts like a formula (or like a formula so guarded)."""
    return "'" + cell_text if _RISKY.match(cell_text) else cell_text


def unguard_formula(cell_text: str) -> str:
    """Undo `guard`: for every text, unguard(guard(text)) == text."""
    return cell_text[1:] if _GUARDED.match(cell_text) else cell_text
