"""The word lists in `rules/`: one pattern a file, its lines joined with "|"; "# " begins a comment.

Rules for Chinese see a text in Unicode form NFKC (so a comma is "," and digits are ASCII) and without white
space; rules for English see it with single spaces. All ignore case. `{name}` is the pattern of name.txt.
"""

import re
from functools import cache
from pathlib import Path

_RULES_FOLDER = Path(__file__).parent / "rule_lists"
_LIST_REFERENCE = re.compile(r"\{([a-z_]+)\}")


@cache
def word_pattern(list_name: str) -> str:
    """The pattern of a word list, as one group."""
    list_lines = (_RULES_FOLDER / f"{list_name}.txt").read_text(encoding="utf-8").splitlines()
    joined_pattern = "|".join(list_line for list_line in list_lines if list_line and not list_line.startswith("# "))
    return f"(?:{_LIST_REFERENCE.sub(lambda found: word_pattern(found[1]), joined_pattern)})"


@cache
def compiled_rule(list_name: str) -> re.Pattern[str]:
    """A word list, compiled."""
    return re.compile(word_pattern(list_name), re.IGNORECASE)
