"""A text's skeleton: same length, but full-width forms are plain and letters are lower case."""

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    folded = unicodedata.normalize("NFKC", character).lower()
    return folded if len(folded) == 1 else character


def skeleton(text: str) -> str:
    """The text folded character by character, so that a position means the same in both."""
    return "".join(map(_plain, text))
