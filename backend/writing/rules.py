"""The word lists in `rules/`: one pattern a file, its lines joined with "|"; "# " begins a comment.

Rules for Chinese see a text in Unicode form NFKC (so a comma is "," and digits are ASCII) and without white
space; rules for English see it with single spaces. All ignore case. `{name}` is the pattern of name.txt.
"""

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "rules"
_OTHER = re.compile(r"\{([a-z_]+)\}")


@cache
def words(name: str) -> str:
    """The pattern of a word list, as one group."""
    lines = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pattern = "|".join(line for line in lines if line and not line.startswith("# "))
    return f"(?:{_OTHER.sub(lambda found: words(found[1]), pattern)})"


@cache
def rule(name: str) -> re.Pattern[str]:
    """A word list, compiled."""
    return re.compile(words(name), re.IGNORECASE)
