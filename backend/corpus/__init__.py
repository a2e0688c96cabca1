"""What comes in and goes out: importers, exporters, the seed corpus, the leakage audit."""

from backend.text import bucket
from backend.vocabulary import Split


def split_of(prompt: str) -> Split:
    """The split of a prompt, by its text alone: 80 train, 10 validation, 10 test in a hundred."""
    place = bucket(prompt, 100, "split")
    if place < 80:
        return Split.TRAIN
    return Split.VALIDATION if place < 90 else Split.TEST
