"""Normalisation and identity of texts: one home, so that every room hashes alike."""

import hashlib
import re
import unicodedata

MAX_TEXT = 20_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]")
_SPACE = re.compile(r"\s+")


def clean(text: str) -> str:
    """NFC, unified line ends, no surrounding white space. Content is never changed beyond that."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def has_control(text: str) -> bool:
    """Whether the text holds control or invisible format characters other than tab and line feed."""
    return _CONTROL.search(text) is not None


def digest(*parts: str) -> str:
    """SHA-256 (hex) of the parts, unambiguous in where one ends."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()


def squeeze(text: str) -> str:
    """The text without any white space, for comparing and counting characters."""
    return _SPACE.sub("", text)


def length(text: str) -> int:
    """Characters without white space."""
    return len(squeeze(text))


def bucket(text: str, size: int, salt: str = "") -> int:
    """A stable number in [0, size) for the text: folds and splits by prompt hang on it."""
    return int(digest(salt, squeeze(text))[:12], 16) % size


def number_of(wish: object) -> int | None:
    """A row's number as somebody may write it; None for anything else."""
    digits = str(wish) if isinstance(wish, str | int) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
