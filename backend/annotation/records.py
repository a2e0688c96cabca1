"""Records that cross between annotation and its pages, routes and commands."""

from dataclasses import dataclass
from datetime import datetime

from backend.core.enums import CampaignKind, Scale


@dataclass(frozen=True)
class RaterInfo:
    """A person who annotates."""

    id: int
    name: str


@dataclass(frozen=True)
class CampaignSpec:
    """What a researcher asks for; no data sets means all of them, and the filters may be None.

    `k` is how many people answer each item (1 to 20), `limit` how many items are drawn at most, `seed` (0 to
    2^31 - 1) decides the sample, `rubric` asks for points by dimension, `judge` is whom a validate campaign reviews.
    """

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
class CampaignProgress:
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
    progress: CampaignProgress
    reveal: ItemReveal | None = None


@dataclass(frozen=True)
class ComparisonInput:
    """An answer to a compare item; `amends` is the revision that it replaces on purpose.

    `outcome` is a value of Outcome, A meaning the left side as shown; `reasons` are values of Flaw; `seconds` is how
    long the rater took; `request_id` is the page's, the same when it sends the answer again.
    """

    campaign_id: int
    item_id: int
    outcome: str
    request_id: str
    reasons: tuple[str, ...] = ()
    seconds: float | None = None
    amends: int | None = None


@dataclass(frozen=True)
class VerdictInput:
    """A blind answer to a validate item: excellent (1), not (0), or passed over (None).

    `dimensions` gives 1 to 3 points by name of a rubric dimension; the rest is as in ComparisonInput.
    """

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
class SavedLabel:
    """A label that is on disk; `created` is False where the same request had stored it before."""

    label_id: int
    revision: int
    created: bool


@dataclass(frozen=True)
class SavedVerdict:
    """A stored blind verdict, and the judge's where there is one to review."""

    saved: SavedLabel
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
