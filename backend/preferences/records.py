"""What crosses from the pairs room to pages, commands and jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as record_dataclass

from backend.core.enums import Decider, PairStage, PairState
from backend.core.errors import Message, UserError
from backend.core.stored_records import JsonNumber
from backend.judges.base import JudgeSpec
from backend.judges.scoring.records import Opinion, ScoringRunState, format_duration
from backend.preferences.balance import SurfaceAccuracy
from backend.preferences.pairing import PairingMode
from backend.preferences.plan import CandidatePlan
from backend.runs.hold import RunHolder

__all__ = ["ScoringRunState"]
CALLS_PER_VERDICT = 4


class SourceKind(StrEnum):
    """Where the prompts of a run come from."""

    FILE = "file"
    DATASET = "dataset"


@record_dataclass(frozen=True)
class PromptSource:
    """A file in any format that can be imported, or the requests of a data set. `limit` takes the first N."""

    kind: SourceKind
    name: str
    limit: int | None = None


@record_dataclass(frozen=True)
class HumanChecking:
    """How many of the pairs go to people before use, and to how many people each greeting is shown."""

    share: JsonNumber = 0.05
    raters: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UserError("The share for people lies between 0 and 1.", "送人复核的比例应在 0 到 1 之间。")
        if not 1 <= self.raters <= 20:
            raise UserError("1 to 20 people look at a greeting.", "每条祝福由 1 到 20 人复核。")


@record_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PairRequest:
    """One run: what goes in, who writes, who judges, how pairs are made, with which caps."""

    UNREADABLE: ClassVar = Message(
        "The stored settings of the run cannot be read ({detail}).", "无法读取该批次的设置（{detail}）。"
    )
    source: PromptSource
    plan: CandidatePlan
    judge: JudgeSpec
    name: str = ""
    way: PairingMode = PairingMode.ALL
    balance_length: bool = True
    balance_style: bool = True
    checking: HumanChecking = field(default_factory=HumanChecking)
    seed: int = 0
    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: JsonNumber | None = None
    # Who judges once more what balance would keep against the odds; None: nobody.
    second: JudgeSpec | None = None


@dataclass(frozen=True)
class PairEstimate:
    """What a run will roughly take: `kept` of the `prompts` pass the filter. Tokens are estimated from text lengths."""

    prompts: int
    kept: int
    lost: dict[str, int]
    candidates: int
    calls: int
    tokens: int
    cost: float
    seconds: float


def done_share(written_count: int, expected_count: int, judged_count: int, debated_count: int) -> float:
    """How much of writing `expected` candidates and judging `debated` of them is done, 0 to 1."""
    total_work = expected_count + CALLS_PER_VERDICT * max(debated_count, 1)
    return min((written_count + CALLS_PER_VERDICT * judged_count) / total_work, 1.0) if expected_count else 0.0


@dataclass(frozen=True)
class Funnel:
    """How many came through each stage, and why the others did not.

    prompts → kept_prompts → candidates (texts asked for) → debated (passed every check) → judged (got a
    verdict) → kept (judged, and their prompt has both an accepted and a refused one) → possible pairs →
    pairs (emitted). `dropped` has a reason for every loss, prefixed with what was lost: `prompt_`,
    `candidate_`, `verdict_`, `pair_`.
    """

    prompts: int = 0
    kept_prompts: int = 0
    exact_chars: int = 0
    written_prompts: int = 0
    candidates: int = 0
    debated: int = 0
    judged: int = 0
    good: int = 0
    kept: int = 0
    possible: int = 0
    pairs: int = 0
    states: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    # Said of a judge that gave one value to every candidate.
    notice: Message | None = None

    @property
    def seen_by_judge(self) -> int:
        """Candidates that the judge has seen, with or without a verdict."""
        return self.judged + self.dropped.get("verdict_unscored", 0)

    def share(self, per_prompt: int) -> float:
        """How much of the run is done, 0 to 1, where it writes so many candidates a prompt."""
        expected_count = self.kept_prompts * per_prompt
        debated_count = self.debated if self.written_prompts == self.kept_prompts else expected_count
        return done_share(self.candidates, expected_count, self.seen_by_judge, debated_count)


@dataclass(frozen=True)
class PromptLine:
    """A line that went into a run; `lost` says why it was not taken."""

    position: int
    text: str
    lost: str | None


@dataclass(frozen=True)
class FaultyCandidate:
    """A candidate that failed a check, as far as its text was kept."""

    prompt: str
    text: str
    generator: str


@dataclass(frozen=True)
class PairProgress:
    """How far a run is, and what it has used over every attempt. `expected` candidates in all."""

    run: int
    stage: PairStage
    state: ScoringRunState
    prompts: int
    passed_prompts: int
    written: int
    expected: int
    judged: int
    calls: int
    tokens: int
    cost: float
    seconds: float
    done_share: float
    # Candidates that a second judge has seen.
    again: int = 0
    error: Message | None = None

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return 1.0 if self.stage is PairStage.DONE else min(self.done_share, 0.99)

    def line(self) -> str:
        """One line of figures, the same in both languages."""
        share_left = 1 - self.done_share
        share_per_second = self.done_share / self.seconds if self.seconds > 0 else 0.0
        eta_text = (
            format_duration(share_left / share_per_second)
            if share_per_second > 0 and self.stage is not PairStage.DONE
            else "–"
        )
        second_judge_text = f" + {self.again:,} again" if self.again else ""
        return (
            f"{self.stage.value} · prompts {self.passed_prompts:,} / {self.prompts:,} · candidates "
            f"{self.written:,} / {self.expected:,} · judged {self.judged:,}{second_judge_text} · ETA {eta_text} · "
            f"calls {self.calls:,} · cost {self.cost:.4f}"
        )


# Share of the possible pairs below which a run says why so few are left.
SPARSE_SHARE = 0.1


@record_dataclass(frozen=True)
class PairingReport:
    """What pairing found: pairs before and after balancing, and what each part of it cost."""

    possible: int
    before: SurfaceAccuracy
    after: SurfaceAccuracy
    lost_to_length: int
    lost_to_style: int
    one_sided: int
    lost_to_second: int = 0

    @property
    def sparse_notice(self) -> Message | None:
        """Why hardly any pair is left; None where enough are."""
        remaining_pairs = self.after.pairs
        if not self.possible or remaining_pairs >= SPARSE_SHARE * self.possible:
            return None
        return Message(
            f"Balance left {remaining_pairs} of {self.possible} possible pairs: as many can stay as go against length. "
            "Give more requests (some hundreds), let candidates vary in length, or leave balance out.",
            f"配平后，{self.possible} 对里只剩 {remaining_pairs} 对：和字数对着来的有多少，才能留多少。"
            "多给些请求（几百个）、让候选有长有短，或者不配平。",
        )


@dataclass(frozen=True)
class PairRunInfo:
    """A run as it stands. `report` is None until it has made its pairs, `playing` where nobody plays it."""

    id: int
    name: str
    stage: PairStage
    request: PairRequest
    job: int | None
    judge_version: str | None
    calls: int
    tokens: int
    cost: float
    seconds: float
    campaign: str | None
    report: PairingReport | None
    created_at: datetime
    finished_at: datetime | None
    playing: RunHolder | None


@dataclass(frozen=True)
class PairSide:
    """One greeting of a pair: how it was asked for, the verdict on it, and the calls behind both."""

    candidate: int
    greeting: int
    text: str
    generator: str
    model: str
    recipe: Mapping[str, Any]
    call_id: str
    value: float | None
    reason: str
    details: Mapping[str, Any]
    # People's verdicts on it in the run's campaign: 1 excellent, 0 not.
    people: tuple[float, ...] = ()
    # What the second judge says of it.
    again: Opinion | None = None


@dataclass(frozen=True)
class Decision:
    """Who brought a pair into a state."""

    state: PairState
    by: Decider
    name: str
    note: str
    at: datetime


@dataclass(frozen=True)
class PairFilter:
    """Which pairs to show; None and empty mean any."""

    state: PairState | None = None
    decided_by: Decider | None = None
    generator: str = ""
    search: str = ""
    overturned: bool = False


@dataclass(frozen=True)
class PairRow:
    """A pair in a table; chosen and rejected as they stand now, so a flipped one is turned."""

    id: int
    prompt: str
    chosen: str
    rejected: str
    difference: float
    state: PairState
    by: Decider
    # Whether the review turned the first verdict on one of the two.
    overturned: bool


@dataclass(frozen=True)
class PairPage:
    """One page of pairs, and how many there are in all."""

    total: int
    rows: tuple[PairRow, ...]


@dataclass(frozen=True)
class PairDetail:
    """A pair with both debates and its whole history; `chosen` is the one the judge accepted."""

    id: int
    run: int
    run_name: str
    prompt: str
    state: PairState
    difference: float
    chosen: PairSide
    rejected: PairSide
    judge: str
    judge_version: str
    # Hashes of the prompt files that generators and judge were asked with, by name.
    prompts: Mapping[str, str]
    decisions: tuple[Decision, ...]
    second_judge: str = ""
    second_version: str = ""
    # Who plays the run of the pair right now.
    playing: RunHolder | None = None
