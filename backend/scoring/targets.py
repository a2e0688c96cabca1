"""What a run judges: the greetings or pairs of a target that still lack a verdict, page by page."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select, union
from sqlalchemy.orm import Session, aliased

from backend.db.pair_tables import Candidate
from backend.db.tables import Campaign, Comparison, Dataset, DatasetEntry, Greeting, Item, Prompt, Verdict
from backend.errors import NotFound, UserError
from backend.judges.base import PairOutcome, PairSample, Sample
from backend.judges.constancy import Value
from backend.vocabulary import CampaignKind, Outcome


class TargetKind(StrEnum):
    """What can be judged."""

    DATASET = "dataset"
    CAMPAIGN = "campaign"
    TWICE = "twice"


@dataclass(frozen=True)
class Target:
    """A data set's greetings, the items of a campaign, or what a run of pairs has judged twice.

    The last is named by the run's number.
    """

    kind: TargetKind
    name: str

    def plain(self) -> dict[str, str]:
        """As JSON has it."""
        return {"kind": self.kind.value, "name": self.name}

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """From what `plain` gave. Raises UserError."""
        try:
            return cls(TargetKind(value["kind"]), str(value["name"]))
        except (KeyError, ValueError, TypeError) as error:
            raise UserError("The run names no target.", "没有指定要评判的对象。") from error


OUTCOMES = {PairOutcome.A: Outcome.A, PairOutcome.B: Outcome.B, PairOutcome.TIE: Outcome.BOTH_GOOD}
"""How a judge's answer is kept; a judge says no more of a tie than that neither is better."""
_SAID = {kept: said for said, kept in OUTCOMES.items()}


@dataclass(frozen=True)
class Work:
    """One thing to judge. `id` is the greeting's, or for a pair the item's; `previous` is superseded."""

    id: int
    sample: Sample | PairSample
    greetings: tuple[int, ...]
    previous: int | None
    revision: int


@dataclass(frozen=True)
class Counts:
    """How far a judge is with a target; `unscored` were tried and got no verdict."""

    items: int
    scored: int
    unscored: int


class GreetingSource:
    """Single greetings of a target."""

    def __init__(self, session: Session, target: Target) -> None:
        """Raises NotFound."""
        self._members: Any = _members(session, target)

    def counts(self, session: Session, rater_id: int) -> Counts:
        """How many greetings there are, and what became of them."""
        current = aliased(Verdict)
        query = (
            select(
                func.count(),
                func.count(current.value),
                func.sum(case((and_(current.id.is_not(None), current.value.is_(None)), 1), else_=0)),
            )
            .select_from(Greeting)
            .outerjoin(current, _current_verdict(current, rater_id))
            .where(Greeting.id.in_(self._members))
        )
        items, scored, unscored = session.execute(query).one()
        return Counts(items, scored, unscored or 0)

    def values(self, session: Session, rater_id: int) -> dict[Value, int]:
        """How many scored greetings have which value; of more than two values only two."""
        current = aliased(Verdict)
        rows = session.execute(
            select(current.value, func.count())
            .select_from(Greeting)
            .join(current, _current_verdict(current, rater_id))
            .where(Greeting.id.in_(self._members), current.value.is_not(None))
            .group_by(current.value)
            .limit(2)
        )
        return {value: count for value, count in rows if value is not None}

    def page(self, session: Session, rater_id: int, after: int, limit: int, *, retry: bool) -> list[Work]:
        """The next greetings without a verdict, in order of their ids; with `retry` also unscored ones."""
        current = aliased(Verdict)
        missing = _wanted(current.id, current.value.is_(None), retry)
        rows = session.execute(
            select(Greeting.id, Prompt.text, Greeting.text, current.id, current.revision)
            .join(Prompt, Prompt.id == Greeting.prompt_id)
            .outerjoin(current, _current_verdict(current, rater_id))
            .where(Greeting.id > after, Greeting.id.in_(self._members), missing)
            .order_by(Greeting.id)
            .limit(limit)
        )
        return [
            Work(id_, Sample(prompt, text), (id_,), old, 0 if revision is None else revision + 1)
            for id_, prompt, text, old, revision in rows
        ]


class PairSource:
    """Pairs of a campaign that compares."""

    def __init__(self, session: Session, target: Target) -> None:
        """Raises NotFound, and UserError for a target without pairs."""
        campaign = _campaign(session, target.name) if target.kind is TargetKind.CAMPAIGN else None
        if campaign is None or campaign.kind is not CampaignKind.COMPARE:
            raise UserError(
                f"A pairwise judge needs a campaign that compares two greetings; “{target.name}” is none.",
                f"两两比较的裁判需要“两条对比”类任务，“{target.name}”不是。",
            )
        self._in_target = and_(Item.campaign_id == campaign.id, Item.greeting_b_id.is_not(None))

    def counts(self, session: Session, rater_id: int) -> Counts:
        """How many pairs there are, and what became of them."""
        current = aliased(Comparison)
        skipped = case((current.outcome == Outcome.SKIP, 1), else_=0)
        query = (
            select(func.count(), func.count(current.id), func.sum(skipped))
            .select_from(Item)
            .outerjoin(current, _current_comparison(current, rater_id))
            .where(self._in_target)
        )
        items, judged, unscored = session.execute(query).one()
        return Counts(items, judged - (unscored or 0), unscored or 0)

    def values(self, session: Session, rater_id: int) -> dict[Value, int]:
        """How many pairs have which outcome; unscored ones are not counted."""
        current = aliased(Comparison)
        rows = session.execute(
            select(current.outcome, func.count())
            .select_from(Item)
            .join(current, _current_comparison(current, rater_id))
            .where(self._in_target, current.outcome != Outcome.SKIP)
            .group_by(current.outcome)
        )
        return {_SAID.get(outcome, PairOutcome.TIE): count for outcome, count in rows}

    def page(self, session: Session, rater_id: int, after: int, limit: int, *, retry: bool) -> list[Work]:
        """The next pairs without a verdict, in order of their ids; with `retry` also unscored ones."""
        current, first, second = aliased(Comparison), aliased(Greeting), aliased(Greeting)
        missing = _wanted(current.id, current.outcome == Outcome.SKIP, retry)
        texts = (Prompt.text, first.id, first.text, second.id, second.text)
        rows = session.execute(
            select(Item.id, *texts, current.id, current.revision)
            .join(Prompt, Prompt.id == Item.prompt_id)
            .join(first, first.id == Item.greeting_a_id)
            .join(second, second.id == Item.greeting_b_id)
            .outerjoin(current, _current_comparison(current, rater_id))
            .where(Item.id > after, self._in_target, missing)
            .order_by(Item.id)
            .limit(limit)
        )
        return [
            Work(id_, PairSample(prompt, a, b), (a_id, b_id), old, 0 if revision is None else revision + 1)
            for id_, prompt, a_id, a, b_id, b, old, revision in rows
        ]


WorkSource = GreetingSource | PairSource


def _wanted(current: Any, unscored: ColumnElement[bool], retry: bool) -> ColumnElement[bool]:
    missing: ColumnElement[bool] = current.is_(None)
    return or_(missing, unscored) if retry else missing


def _current_verdict(current: Any, rater_id: int) -> ColumnElement[bool]:
    newer = aliased(Verdict)
    return and_(
        current.greeting_id == Greeting.id,
        current.rater_id == rater_id,
        current.item_id.is_(None),
        ~exists().where(newer.supersedes_id == current.id),
    )


def _current_comparison(current: Any, rater_id: int) -> ColumnElement[bool]:
    newer = aliased(Comparison)
    return and_(
        current.item_id == Item.id,
        current.rater_id == rater_id,
        ~exists().where(newer.supersedes_id == current.id),
    )


def _members(session: Session, target: Target) -> Any:
    if target.kind is TargetKind.CAMPAIGN:
        items = Item.campaign_id == _campaign(session, target.name).id
        return union(
            select(Item.greeting_a_id).where(items),
            select(Item.greeting_b_id).where(items, Item.greeting_b_id.is_not(None)),
        )
    if target.kind is TargetKind.TWICE:
        run = int(target.name) if target.name.isdecimal() else 0
        return select(Candidate.greeting_id).where(Candidate.run_id == run, Candidate.twice.is_(True))
    dataset_id = session.scalar(select(Dataset.id).where(Dataset.name == target.name))
    if dataset_id is None:
        raise NotFound(
            f"There is no data set named “{target.name}”; import it first.",
            f"没有名为“{target.name}”的数据集，请先导入。",
        )
    inside = DatasetEntry.dataset_id == dataset_id
    return select(DatasetEntry.greeting_id).where(inside, DatasetEntry.greeting_id.is_not(None))


def _campaign(session: Session, name: str) -> Campaign:
    campaign = session.scalar(select(Campaign).where(Campaign.name == name))
    if campaign is None:
        raise NotFound(f"There is no campaign named “{name}”.", f"没有名为“{name}”的标注任务。")
    return campaign
