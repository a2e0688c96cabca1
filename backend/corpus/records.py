"""Records that cross from the corpus to pages and commands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.core.errors import Message


@dataclass(frozen=True)
class RowError:
    """Why one row was left out. `line` is a line of a text file, a row of Parquet or a spreadsheet."""

    line: int | None
    reason: Message


@dataclass(frozen=True)
class ImportReport:
    """What an import did; `errors` lists at most the first thousand rejected rows."""

    path: str
    kind: str | None
    dataset: str
    read: int
    added: int
    duplicate: int
    rejected: int
    errors: tuple[RowError, ...]


@dataclass(frozen=True)
class FilePreview:
    """The beginning of a file, for choosing which column is what; kind None means nobody can tell."""

    kind: str | None
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    encoding: str | None


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote: rows by split, and what it left out and why."""

    path: str
    rows: int
    splits: dict[str, int]
    dropped: dict[str, int]


@dataclass(frozen=True)
class DatasetInfo:
    """A data set and how much is in it."""

    id: int
    name: str
    kind: str
    prompts: int
    greetings: int
    pairs: int
    labels: int
    created_at: datetime


@dataclass(frozen=True)
class Facets:
    """The values prompts are tagged with and how many prompts carry each, the commonest first."""

    occasions: dict[str, int]
    recipients: dict[str, int]
    styles: dict[str, int]


@dataclass(frozen=True)
class GreetingRow:
    """A greeting as the corpus page shows it; `label` is what its data set says (1 good, 0 bad)."""

    id: int
    text: str
    source: str
    label: float | None
    reason: str


@dataclass(frozen=True)
class PromptRow:
    """A prompt with its first greetings and how many there are in all."""

    id: int
    text: str
    occasion: str | None
    recipient: str | None
    style: str | None
    split: str
    greetings: tuple[GreetingRow, ...]
    greeting_count: int


@dataclass(frozen=True)
class PromptPage:
    """One page of prompts out of `total`."""

    rows: tuple[PromptRow, ...]
    total: int
