"""A text's skeleton: same length, but full-width forms are plain and letters are lower case."""

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=4096)
def _plain_character(character: str) -> str:
    folded_character = unicodedata.normalize("NFKC", character).lower()
    return folded_character if len(folded_character) == 1 else character


def text_skeleton(source_text: str) -> str:
    """The text folded character by character, so that a position means the same in both."""
    return "".join(map(_plain_character, source_text))


@lru_cache(maxsize=4096)
def _narrow_character(character: str) -> str:
    if unicodedata.decomposition(character)[:6] in ("<wide>", "<narro"):
        return unicodedata.normalize("NFKC", character)[:1]
    return "\n" if character in "\r\v\f\x85\u2028\u2029" else " " if character in "\u3000\xa0\t" else character


def to_plain_width(source_text: str) -> str:
    """The text with full-width forms plain and every space a plain one, of the same length.

    Unlike the skeleton it keeps what else looks like a figure ("①", "²", "½") as it stands.
    """
    return "".join(map(_narrow_character, source_text))


@lru_cache(maxsize=4096)
def _lower_character(character: str) -> str:
    lowered = _narrow_character(character).lower()
    return lowered if len(lowered) == 1 else character


def fold_text(source_text: str) -> str:
    """The text in plain width and lower case, of the same length."""
    return "".join(map(_lower_character, source_text))
