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


@lru_cache(maxsize=4096)
def _narrow(character: str) -> str:
    if unicodedata.decomposition(character)[:6] in ("<wide>", "<narro"):
        return unicodedata.normalize("NFKC", character)[:1]
    return (
        "\n" if character in "\r\v\f\x85\u2028\u2029" else " " if character in "\u3000\xa0\t" else character
    )


def plain_width(text: str) -> str:
    """The text with full-width forms plain and every space a plain one, of the same length.

    Unlike the skeleton it keeps what else looks like a figure ("①", "²", "½") as it stands.
    """
    return "".join(map(_narrow, text))


@lru_cache(maxsize=4096)
def _lower(character: str) -> str:
    lowered = _narrow(character).lower()
    return lowered if len(lowered) == 1 else character


def folded(text: str) -> str:
    """The text in plain width and lower case, of the same length."""
    return "".join(map(_lower, text))
