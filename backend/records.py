"""Frozen records that cross from services to pages and commands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.agreement.board import AlphaRow, JudgeRow
from backend.agreement.figures import Figure
from backend.errors import Message
from backend.vocabulary import CampaignKind, Scale

# --- agreement -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReferenceInfo:
    """Something that can serve as a human reference: a data set's labels or a campaign."""

    name: str
    kind: str
    labels: int


@dataclass(frozen=True)
class Point:
    """One unit on the chart: what people said, what the judge said."""

    human: float
    judge: float


@dataclass(frozen=True)
class OccasionCell:
    """A judge's share of right decisions within one occasion, over `n` items that are no tie.

    None where they are too few for a share (`backend.agreement.minimums`).
    """

    occasion: str
    n: int
    accuracy: float | None


@dataclass(frozen=True)
class Disagreement:
    """A unit on which people and the judge part, the worst first."""

    item_id: int | None
    greeting_id: int
    prompt: str
    a: str
    b: str | None
    human: float
    judge: float
    reason: str
    gap: float


@dataclass(frozen=True)
class Said:
    """A rater's current verdict on a greeting."""

    rater: str
    kind: str
    value: float | None
    reason: str


@dataclass(frozen=True)
class ModelRow:
    """One opinion of one model: by people (`by` empty) or by a judge.

    `figure` is the share of its greetings called excellent, or of its comparisons won, over `n` items, of
    which `ties` counted half. `missing` items of the model got no opinion: `never_asked` of them nobody
    asked for, the others were left without one.
    """

    generator: str
    model: str
    by: str
    figure: Figure
    n: int
    ties: int
    missing: int
    never_asked: int


@dataclass(frozen=True)
class Board:
    """A human reference and every judge beside it; the mappings are keyed by `JudgeRow.key`."""

    reference: str
    kind: str
    items: int
    raters: int
    alpha: AlphaRow
    rows: tuple[JudgeRow, ...]
    confusions: dict[str, dict[str, dict[str, int]]]
    points: dict[str, tuple[Point, ...]]
    occasions: dict[str, tuple[OccasionCell, ...]]
    worst: dict[str, tuple[Disagreement, ...]]
    models: tuple[ModelRow, ...] = ()


# --- annotation ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RaterInfo:
    """A person who annotates."""

    id: int
    name: str


@dataclass(frozen=True)
class CampaignSpec:
    """What a researcher asks for; no data sets means all of them, and the filters may be None."""

    name: str
    kind: CampaignKind
    k: int
    instructions: str
    rubric: bool
    datasets: tuple[str, ...]
    occasion: str | None
    recipient: str | None
    style: str | None
    limit: int
    seed: int
    judge: str | None


@dataclass(frozen=True)
class CampaignInfo:
    """A campaign and how far it is; `finished` items have all their k labels."""

    id: int
    name: str
    kind: CampaignKind
    k: int
    instructions: str
    rubric: bool
    closed: bool
    judge: str | None
    items: int
    finished: int
    labels: int
    raters: int
    created_at: datetime


@dataclass(frozen=True)
class Progress:
    """Items finished by all, labelled by me, still open to me, and all of them."""

    done: int
    mine: int
    left_for_me: int
    total: int


@dataclass(frozen=True)
class ItemReveal:
    """What the judge said; shown only after the rater's own verdict."""

    value: float
    reason: str
    scale: Scale


@dataclass(frozen=True)
class ItemView:
    """One question as its rater sees it: blind, the sides as they are stored with the answer.

    `reveal` is set where the rater's own verdict is stored and the review of the judge's is still open.
    """

    item_id: int
    campaign_id: int
    kind: CampaignKind
    prompt: str
    left: str
    right: str | None
    rubric: bool
    progress: Progress
    reveal: ItemReveal | None = None


@dataclass(frozen=True)
class ComparisonInput:
    """An answer to a compare item; `amends` is the revision that it replaces on purpose."""

    campaign_id: int
    item_id: int
    outcome: str
    request_id: str
    reasons: tuple[str, ...] = ()
    seconds: float | None = None
    amends: int | None = None


@dataclass(frozen=True)
class VerdictInput:
    """A blind answer to a validate item: excellent (1), not (0), or passed over (None)."""

    campaign_id: int
    item_id: int
    value: int | None
    request_id: str
    dimensions: dict[str, int] | None = None
    amends: int | None = None


@dataclass(frozen=True)
class ReviewInput:
    """What the rater says of the judge's verdict; None means no opinion."""

    campaign_id: int
    item_id: int
    agrees: bool | None
    request_id: str
    reason: str = ""
    amends: int | None = None


@dataclass(frozen=True)
class Saved:
    """A label that is on disk; `created` is False where the same request had stored it before."""

    label_id: int
    revision: int
    created: bool


@dataclass(frozen=True)
class Judged:
    """A stored blind verdict, and the judge's where there is one to review."""

    saved: Saved
    reveal: ItemReveal | None


@dataclass(frozen=True)
class HistoryEntry:
    """One stored answer, for the researcher; `left` says which greeting (A or B) stood on the left.

    `answer` is an Outcome for a comparison, else the value; `prefers` is A or B in canonical order.
    """

    kind: str
    label_id: int
    rater: str
    revision: int
    answer: str
    left: str | None
    prefers: str | None
    reasons: tuple[str, ...]
    dimensions: dict[str, int]
    note: str
    seconds: float | None
    created_at: datetime
    withdrawn: bool
    superseded: bool


@dataclass(frozen=True)
class GreetingDetail:
    """A greeting with what an annotator must not see: where it comes from."""

    id: int
    text: str
    source: str
    datasets: tuple[str, ...]


@dataclass(frozen=True)
class ItemDetail:
    """Everything about an item, for the researcher."""

    item_id: int
    campaign_id: int
    campaign: str
    kind: CampaignKind
    position: int
    prompt: str
    occasion: str | None
    recipient: str | None
    style: str | None
    a: GreetingDetail
    b: GreetingDetail | None
    history: tuple[HistoryEntry, ...]


# --- corpus ----------------------------------------------------------------------------------------


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
class Page:
    """One page of prompts out of `total`."""

    rows: tuple[PromptRow, ...]
    total: int
