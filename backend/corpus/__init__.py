"""What comes in and goes out: importers, exporters, the seed corpus, the leakage audit."""

from backend.text import assign_bucket
from backend.vocabulary import Split


def assign_split(prompt: str) -> Split:
    """The split of a prompt, by its text alone: 80 train, 10 validation, 10 test in a hundred."""
    bucket_number = assign_bucket(prompt, 100, "split")
    if bucket_number < 80:
        return Split.TRAIN
    return Split.VALIDATION if bucket_number < 90 else Split.TEST
