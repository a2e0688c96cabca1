"""What a scoring run judges, page by page, and its verdicts back into the database in small transactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import field_validator
from pydantic.dataclasses import dataclass as record_dataclass
from sqlalchemy import ColumnElement, and_, case, func, or_, select, union
from sqlalchemy.orm import Session, aliased

from backend.core.enums import CampaignKind, Outcome, RaterKind, Scale
from backend.core.errors import Message, NotFound, UserError
from backend.core.stored_records import stored_json
from backend.db.base import insert_ignore
from backend.db.engine import Database
from backend.db.pair_tables import Candidate
from backend.db.queries import newest_rows
from backend.db.tables import Campaign, Comparison, Dataset, DatasetEntry, Greeting, Item, Prompt, Rater, Verdict
from backend.judges.base import JudgeSpec, Judgment, PairJudgment, PairOutcome, PairSample, Sample
from backend.judges.constancy import JudgeValue


class TargetKind(StrEnum):
    """What can be judged."""

    DATASET = "dataset"
    CAMPAIGN = "campaign"
    REJUDGED = "twice"


@record_dataclass(frozen=True)
class ScoringTarget:
    """A data set's greetings, the items of a campaign, or what a run of pairs has judged twice.

    The last is named by the run's number.
    """

    UNREADABLE: ClassVar = Message("The run names no target.", "没有指定要评判的对象。")
    kind: TargetKind
    name: str

    @field_validator("name", mode="before")
    @classmethod
    def _text_of_name(cls, stored_name: object) -> str:
        return str(stored_name)  # a run of pairs is named by its number


# How a judge's outcome is stored; a tie of a judge means no more than that neither is better.
STORED_OUTCOMES = {PairOutcome.A: Outcome.A, PairOutcome.B: Outcome.B, PairOutcome.TIE: Outcome.BOTH_GOOD}
_PAIR_OUTCOMES = {stored_outcome: pair_outcome for pair_outcome, stored_outcome in STORED_OUTCOMES.items()}


@dataclass(frozen=True)
class GreetingWork(Sample):
    """A greeting to judge, by its id; `superseded_id` is the verdict that the new one replaces, as `revision`."""

    greeting_id: int
    superseded_id: int | None = None
    revision: int = 0

    @property
    def id(self) -> int:
        """What pages of work go on after."""
        return self.greeting_id


@dataclass(frozen=True)
class PairWork(PairSample):
    """A pair to judge: an item of a campaign and its two greetings; the rest as in `GreetingWork`."""

    item_id: int
    first_id: int
    second_id: int
    superseded_id: int | None = None
    revision: int = 0

    @property
    def id(self) -> int:
        """What pages of work go on after."""
        return self.item_id


WorkItem = GreetingWork | PairWork


@dataclass(frozen=True)
class TargetCounts:
    """How far a judge is with a target; `unscored` were tried and got no verdict."""

    items: int
    scored: int
    unscored: int


class GreetingSource:
    """Single greetings of a target."""

    def __init__(self, session: Session, target: ScoringTarget) -> None:
        """Raises NotFound."""
        self._member_query: Any = _member_query(session, target)

    def count_work(self, session: Session, rater_id: int) -> TargetCounts:
        """How many greetings there are, and what became of them."""
        current_verdict = aliased(Verdict)
        count_query = (
            select(
                func.count(),
                func.count(current_verdict.value),
                func.sum(case((and_(current_verdict.id.is_not(None), current_verdict.value.is_(None)), 1), else_=0)),
            )
            .select_from(Greeting)
            .outerjoin(current_verdict, is_current_verdict(current_verdict, rater_id))
            .where(Greeting.id.in_(self._member_query))
        )
        item_count, scored_count, unscored_count = session.execute(count_query).one()
        return TargetCounts(item_count, scored_count, unscored_count or 0)

    def count_values(self, session: Session, rater_id: int) -> dict[JudgeValue, int]:
        """How many scored greetings have which value; of more than two values only two."""
        current_verdict = aliased(Verdict)
        value_rows = session.execute(
            select(current_verdict.value, func.count())
            .select_from(Greeting)
            .join(current_verdict, is_current_verdict(current_verdict, rater_id))
            .where(Greeting.id.in_(self._member_query), current_verdict.value.is_not(None))
            .group_by(current_verdict.value)
            .limit(2)
        )
        return {score_value: value_count for score_value, value_count in value_rows if score_value is not None}

    def load_page(
        self, session: Session, rater_id: int, after_id: int, page_size: int, *, retry_unscored: bool
    ) -> list[GreetingWork]:
        """The next greetings without a verdict, in order of their ids; with `retry_unscored` also unscored ones."""
        current_verdict = aliased(Verdict)
        is_missing = needs_verdict(current_verdict.id, current_verdict.value.is_(None), retry_unscored)
        greeting_rows = session.execute(
            select(Greeting.id, Prompt.text, Greeting.text, current_verdict.id, current_verdict.revision)
            .join(Prompt, Prompt.id == Greeting.prompt_id)
            .outerjoin(current_verdict, is_current_verdict(current_verdict, rater_id))
            .where(Greeting.id > after_id, Greeting.id.in_(self._member_query), is_missing)
            .order_by(Greeting.id)
            .limit(page_size)
        )
        return [
            GreetingWork(prompt_text, greeting_text, greeting_id, superseded_id, next_revision(revision))
            for greeting_id, prompt_text, greeting_text, superseded_id, revision in greeting_rows
        ]


class PairSource:
    """Pairs of a campaign that compares."""

    def __init__(self, session: Session, target: ScoringTarget) -> None:
        """Raises NotFound, and UserError for a target without pairs."""
        campaign = _load_campaign(session, target.name) if target.kind is TargetKind.CAMPAIGN else None
        if campaign is None or campaign.kind is not CampaignKind.COMPARE:
            raise UserError(
                f"A pairwise judge needs a campaign that compares two greetings; “{target.name}” is none.",
                f"两两比较的裁判需要“两条对比”类任务，“{target.name}”不是。",
            )
        self._target_condition = and_(Item.campaign_id == campaign.id, Item.greeting_b_id.is_not(None))

    def count_work(self, session: Session, rater_id: int) -> TargetCounts:
        """How many pairs there are, and what became of them."""
        current_comparison = aliased(Comparison)
        is_skipped = case((current_comparison.outcome == Outcome.SKIP, 1), else_=0)
        count_query = (
            select(func.count(), func.count(current_comparison.id), func.sum(is_skipped))
            .select_from(Item)
            .outerjoin(current_comparison, _is_current_comparison(current_comparison, rater_id))
            .where(self._target_condition)
        )
        item_count, judged_count, unscored_count = session.execute(count_query).one()
        return TargetCounts(item_count, judged_count - (unscored_count or 0), unscored_count or 0)

    def count_values(self, session: Session, rater_id: int) -> dict[JudgeValue, int]:
        """How many pairs have which outcome; unscored ones are not counted."""
        current_comparison = aliased(Comparison)
        outcome_rows = session.execute(
            select(current_comparison.outcome, func.count())
            .select_from(Item)
            .join(current_comparison, _is_current_comparison(current_comparison, rater_id))
            .where(self._target_condition, current_comparison.outcome != Outcome.SKIP)
            .group_by(current_comparison.outcome)
        )
        return {_PAIR_OUTCOMES.get(outcome, PairOutcome.TIE): outcome_count for outcome, outcome_count in outcome_rows}

    def load_page(
        self, session: Session, rater_id: int, after_id: int, page_size: int, *, retry_unscored: bool
    ) -> list[PairWork]:
        """The next pairs without a verdict, in order of their ids; with `retry_unscored` also unscored ones."""
        current_comparison, first_greeting, second_greeting = (
            aliased(Comparison),
            aliased(Greeting),
            aliased(Greeting),
        )
        is_missing = needs_verdict(current_comparison.id, current_comparison.outcome == Outcome.SKIP, retry_unscored)
        text_columns = (
            Prompt.text,
            first_greeting.id,
            first_greeting.text,
            second_greeting.id,
            second_greeting.text,
        )
        pair_rows = session.execute(
            select(Item.id, *text_columns, current_comparison.id, current_comparison.revision)
            .join(Prompt, Prompt.id == Item.prompt_id)
            .join(first_greeting, first_greeting.id == Item.greeting_a_id)
            .join(second_greeting, second_greeting.id == Item.greeting_b_id)
            .outerjoin(current_comparison, _is_current_comparison(current_comparison, rater_id))
            .where(Item.id > after_id, self._target_condition, is_missing)
            .order_by(Item.id)
            .limit(page_size)
        )
        return [
            PairWork(
                prompt_text,
                first_text,
                second_text,
                item_id,
                first_id,
                second_id,
                superseded_id,
                next_revision(revision),
            )
            for item_id, prompt_text, first_id, first_text, second_id, second_text, superseded_id, revision in pair_rows
        ]


WorkSource = GreetingSource | PairSource


def next_revision(revision: int | None) -> int:
    """The number of the verdict that follows the one of this number."""
    return 0 if revision is None else revision + 1


def needs_verdict(current_id: Any, is_unscored: ColumnElement[bool], retry_unscored: bool) -> ColumnElement[bool]:
    """Whether something has no verdict, or, asked again, none with a value."""
    is_missing: ColumnElement[bool] = current_id.is_(None)
    return or_(is_missing, is_unscored) if retry_unscored else is_missing


def is_current_verdict(current_verdict: Any, rater_id: int) -> ColumnElement[bool]:
    """The rater's newest verdict on a greeting, whatever it says."""
    return and_(
        current_verdict.greeting_id == Greeting.id,
        current_verdict.rater_id == rater_id,
        current_verdict.item_id.is_(None),
        newest_rows(current_verdict),  # not `current_rows`: the next attempt is appended to the end of the chain
    )


def _is_current_comparison(current_comparison: Any, rater_id: int) -> ColumnElement[bool]:
    return and_(
        current_comparison.item_id == Item.id,
        current_comparison.rater_id == rater_id,
        newest_rows(current_comparison),
    )


def _member_query(session: Session, target: ScoringTarget) -> Any:
    if target.kind is TargetKind.CAMPAIGN:
        in_campaign = Item.campaign_id == _load_campaign(session, target.name).id
        # A union drops repeats: a greeting that stands in several items is judged once.
        return union(
            select(Item.greeting_a_id).where(in_campaign),
            select(Item.greeting_b_id).where(in_campaign, Item.greeting_b_id.is_not(None)),
        )
    if target.kind is TargetKind.REJUDGED:
        # isdecimal(), since isdigit() also takes "²", at which int() fails.
        run_id = int(target.name) if target.name.isdecimal() else 0
        return select(Candidate.greeting_id).where(Candidate.run_id == run_id, Candidate.twice.is_(True))
    dataset_id = session.scalar(select(Dataset.id).where(Dataset.name == target.name))
    if dataset_id is None:
        raise NotFound(
            f"There is no data set named “{target.name}”; import it first.",
            f"没有名为“{target.name}”的数据集，请先导入。",
        )
    in_dataset = DatasetEntry.dataset_id == dataset_id
    return select(DatasetEntry.greeting_id).where(in_dataset, DatasetEntry.greeting_id.is_not(None))


def _load_campaign(session: Session, campaign_name: str) -> Campaign:
    campaign = session.scalar(select(Campaign).where(Campaign.name == campaign_name))
    if campaign is None:
        raise NotFound(f"There is no campaign named “{campaign_name}”.", f"没有名为“{campaign_name}”的标注任务。")
    return campaign


# First reason of a comparison in which the two orders of asking gave opposite winners.
FLIP_REASON = "flip"

JudgedWork = tuple[WorkItem, Judgment | PairJudgment]


def ensure_rater_id(
    session: Session,
    judge_name: str,
    judge_version: str,
    judge_scale: Scale | None,
    judge_spec: JudgeSpec | None,
) -> int:
    """The id of the rater that stands for a judge at one version, inserted where it is new."""
    rater_key = {"kind": RaterKind.JUDGE, "name": judge_name, "version": judge_version}
    rater_config: dict[str, Any] = {"scale": judge_scale.value} if judge_scale else {}
    if judge_spec is not None:
        rater_config["spec"] = stored_json(judge_spec)
    # By the unique key of kind, name and version: two processes that begin at once get the same rater.
    insert_ignore(session, Rater, [{**rater_key, "config": rater_config}])
    return session.scalars(select(Rater.id).filter_by(**rater_key)).one()


def store(database: Database, rater_id: int, judge_scale: Scale | None, judged_work: Sequence[JudgedWork]) -> None:
    """Store verdicts and comparisons in one transaction; rows that are there already are left as they are."""
    verdicts = [
        _verdict_row(rater_id, judge_scale, work_item, judgment)
        for work_item, judgment in judged_work
        if isinstance(work_item, GreetingWork) and isinstance(judgment, Judgment)
    ]
    comparisons = [
        _comparison_row(rater_id, work_item, judgment)
        for work_item, judgment in judged_work
        if isinstance(work_item, PairWork) and isinstance(judgment, PairJudgment)
    ]
    with database.write() as session:
        # Two runs of one judge may meet on an item; the first verdict stays, and neither run fails.
        insert_ignore(session, Verdict, verdicts)
        insert_ignore(session, Comparison, comparisons)


def _verdict_row(
    rater_id: int, judge_scale: Scale | None, work_item: GreetingWork, judgment: Judgment
) -> dict[str, Any]:
    return {
        "rater_id": rater_id,
        "greeting_id": work_item.greeting_id,
        "value": judgment.value,
        "scale": judge_scale or Scale.SCORE,
        "reason": judgment.reason,
        "dimensions": judgment.details,
        "revision": work_item.revision,
        "supersedes_id": work_item.superseded_id,
    }


def _comparison_row(rater_id: int, work_item: PairWork, judgment: PairJudgment) -> dict[str, Any]:
    return {
        "rater_id": rater_id,
        "item_id": work_item.item_id,
        "left_id": work_item.first_id,
        "right_id": work_item.second_id,
        "outcome": Outcome.SKIP if judgment.outcome is None else STORED_OUTCOMES[judgment.outcome],
        "reasons": [FLIP_REASON, *judgment.reasons] if judgment.flip else list(judgment.reasons),
        "revision": work_item.revision,
        "supersedes_id": work_item.superseded_id,
        # The same for the same attempt, so that a comparison that is stored again is ignored like a person's
        # double press.
        "request_id": f"judge-{rater_id}-{work_item.item_id}-{work_item.revision}",
    }
