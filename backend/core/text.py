"""Normalisation and identity of texts: one home, so that every room hashes alike."""

import hashlib
import re
import unicodedata

from backend.core.enums import Split

MAX_TEXT_LENGTH = 20_000
# Besides C0 and C1 the invisible ones by which two texts that look the same differ: zero-width space, line and
# paragraph separator, byte order mark. The zero-width joiner may stay: emoji of several parts are written with it.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]")
_WHITE_SPACE = re.compile(r"\s+")


def normalize_text(raw_text: str) -> str:
    """NFC, unified line ends, no surrounding white space. Content is never changed beyond that."""
    return unicodedata.normalize("NFC", raw_text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def has_control_characters(raw_text: str) -> bool:
    """Whether the text holds control or invisible format characters other than tab and line feed."""
    return _CONTROL_CHARACTERS.search(raw_text) is not None


def digest(*parts: str) -> str:
    """SHA-256 (hex) of the parts, unambiguous in where one ends."""
    sha256_hasher = hashlib.sha256()
    for text_part in parts:
        # Lone surrogates, which JSON may bring, are hashed as they are rather than refused; the length goes before each
        # part, so that ("ab", "c") and ("a", "bc") differ.
        encoded_part = text_part.encode("utf-8", "surrogatepass")
        sha256_hasher.update(len(encoded_part).to_bytes(8, "big"))
        sha256_hasher.update(encoded_part)
    return sha256_hasher.hexdigest()


def strip_white_space(raw_text: str) -> str:
    """The text without any white space, for comparing and counting characters."""
    return _WHITE_SPACE.sub("", raw_text)


def count_characters(raw_text: str) -> int:
    """Characters without white space."""
    return len(strip_white_space(raw_text))


def assign_bucket(raw_text: str, bucket_count: int, hash_salt: str = "") -> int:
    """A stable number in [0, bucket_count) for the text, blind to white space: folds and splits by prompt hang on it.

    hash_salt: one a purpose, so that the folds of one use say nothing about the split or the folds of another.
    """
    # Not Python's hash(): that one is salted anew in every process. 48 bits make the bias of the modulo negligible.
    return int(digest(hash_salt, strip_white_space(raw_text))[:12], 16) % bucket_count


def parse_row_number(entered_number: object) -> int | None:
    """A row's number as somebody may write it; None for anything else."""
    # Below ten digits it fits into the id column of every database; isdigit() alone would take “²” and “٣”.
    digit_text = str(entered_number) if isinstance(entered_number, str | int) else ""
    return int(digit_text) if digit_text.isascii() and digit_text.isdigit() and len(digit_text) < 10 else None


def assign_split(prompt: str) -> Split:
    """The split of a prompt, by its text alone: 80 train, 10 validation, 10 test in a hundred."""
    bucket_number = assign_bucket(prompt, 100, "split")
    if bucket_number < 80:
        return Split.TRAIN
    return Split.VALIDATION if bucket_number < 90 else Split.TEST
