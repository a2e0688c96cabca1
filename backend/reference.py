"""Human references read from the database into arrays: imported labels, or a campaign's majority."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from backend.db.tables import (
    Campaign,
    Comparison,
    Greeting,
    Item,
    Prompt,
    Rater,
    Verdict,
)
from backend.errors import UserError
from backend.records import ReferenceInfo
from backend.vocabulary import CampaignKind, Outcome, RaterKind

Floats = NDArray[np.float64]

_OUTCOMES = (Outcome.A, Outcome.B, Outcome.BOTH_GOOD, Outcome.BOTH_BAD)


@dataclass(frozen=True)
class Unit:
    """What a rater answers about: one greeting, or two in canonical order."""

    item_id: int | None
    prompt_id: int
    prompt: str
    occasion: str | None
    a_id: int
    a: str
    b_id: int | None
    b: str | None


@dataclass(frozen=True)
class Reference:
    """Units and what people said of them; `matrix` is raters × units, nan where silent."""

    name: str
    kind: str
    units: Sequence[Unit]
    matrix: Floats

    @property
    def paired(self) -> bool:
        """Whether a unit is two greetings; the human value is then the preference for A."""
        return self.kind == CampaignKind.COMPARE

    def majority(self) -> Floats:
        """Per unit 1, 0, or .5 for a tie of the raters; nan where nobody answered."""
        if self.matrix.size == 0:
            return np.full(len(self.units), np.nan)
        known = ~np.isnan(self.matrix)
        count = known.sum(axis=0)
        total = np.where(known, self.matrix, 0.0).sum(axis=0)
        mean = np.divide(total, count, out=np.full(len(self.units), np.nan), where=count > 0)
        return np.where(np.isnan(mean), np.nan, np.where(mean > 0.5, 1.0, np.where(mean < 0.5, 0.0, 0.5)))


def references(session: Session) -> list[ReferenceInfo]:
    """Everything that can serve as a human reference, the one labelled last first."""
    sets = select(Rater.name, func.count(Verdict.id), func.max(Verdict.id)).join(
        Verdict, Verdict.rater_id == Rater.id
    )
    sets = sets.where(Rater.kind == RaterKind.DATASET).group_by(Rater.name)
    found = [
        (ReferenceInfo(name=name, kind="dataset", labels=n), (0, last))
        for name, n, last in session.execute(sets)
    ]
    for table, kind in ((Comparison, CampaignKind.COMPARE), (Verdict, CampaignKind.VALIDATE)):
        rows = session.execute(
            select(Campaign.name, func.count(func.distinct(Item.id)), func.max(table.id))
            .join(Item, Item.campaign_id == Campaign.id)
            .join(table, table.item_id == Item.id)
            .join(Rater, Rater.id == table.rater_id)
            .where(Campaign.kind == kind, Rater.kind != RaterKind.JUDGE)
            .group_by(Campaign.name)
        )
        found += [(ReferenceInfo(name=name, kind=kind.value, labels=n), (1, last)) for name, n, last in rows]
    return [info for info, _ in sorted(found, key=lambda pair: pair[1], reverse=True)]


def read_reference(session: Session, name: str) -> Reference:
    """The campaign or data set of that name. Raises UserError where there is none with labels."""
    campaign = session.scalar(select(Campaign).where(Campaign.name == name))
    if campaign is not None:
        return _campaign(session, campaign)
    rater = session.scalar(select(Rater).where(Rater.kind == RaterKind.DATASET, Rater.name == name))
    if rater is None:
        known = ", ".join(info.name for info in references(session)) or "none yet"
        raise UserError(
            f"There is no human reference named “{name}”; choose one of: {known}.",
            f"没有名为“{name}”的人工参照，可选：{known}。",
        )
    return _dataset(session, rater)


def _dataset(session: Session, rater: Rater) -> Reference:
    newer = aliased(Verdict)
    rows = session.execute(
        select(Verdict.value, Greeting.id, Greeting.text, Prompt.id, Prompt.text, Prompt.occasion)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .outerjoin(newer, newer.supersedes_id == Verdict.id)
        .where(Verdict.rater_id == rater.id, Verdict.withdrawn.is_(False), newer.id.is_(None))
        .order_by(Greeting.id)
    ).all()
    units = [Unit(None, p, prompt, occasion, g, text, None, None) for _, g, text, p, prompt, occasion in rows]
    values = np.array([[np.nan if row[0] is None else row[0] for row in rows]], dtype=float)
    return Reference(rater.name, "dataset", units, values)


def _campaign(session: Session, campaign: Campaign) -> Reference:
    units = _items(session, campaign.id)
    answers = (
        _comparisons(session, campaign.id)
        if campaign.kind == CampaignKind.COMPARE
        else _verdicts(session, campaign.id)
    )
    return Reference(campaign.name, campaign.kind.value, units, _matrix(units, answers))


def _items(session: Session, campaign_id: int) -> list[Unit]:
    first, second = aliased(Greeting), aliased(Greeting)
    rows = session.execute(
        select(Item.id, Prompt.id, Prompt.text, Prompt.occasion, first.id, first.text, second.id, second.text)
        .join(Prompt, Prompt.id == Item.prompt_id)
        .join(first, first.id == Item.greeting_a_id)
        .outerjoin(second, second.id == Item.greeting_b_id)
        .where(Item.campaign_id == campaign_id)
        .order_by(Item.position)
    )
    return [Unit(*row) for row in rows]


def _comparisons(session: Session, campaign_id: int) -> Iterable[tuple[int, int, float]]:
    newer = aliased(Comparison)
    rows = session.execute(
        select(
            Comparison.item_id,
            Comparison.rater_id,
            Comparison.outcome,
            Comparison.left_id,
            Item.greeting_a_id,
        )
        .join(Item, Item.id == Comparison.item_id)
        .join(Rater, Rater.id == Comparison.rater_id)
        .outerjoin(newer, newer.supersedes_id == Comparison.id)
        .where(
            Item.campaign_id == campaign_id,
            Rater.kind != RaterKind.JUDGE,
            newer.id.is_(None),
            Comparison.outcome.in_(_OUTCOMES),
        )
    )
    for item_id, rater_id, outcome, left_id, a_id in rows:
        if outcome in (Outcome.BOTH_GOOD, Outcome.BOTH_BAD):
            yield item_id, rater_id, 0.5
        else:
            yield item_id, rater_id, float((outcome == Outcome.A) == (left_id == a_id))


def _verdicts(session: Session, campaign_id: int) -> Iterable[tuple[int, int, float]]:
    newer = aliased(Verdict)
    rows = session.execute(
        select(Verdict.item_id, Verdict.rater_id, Verdict.value)
        .join(Item, Item.id == Verdict.item_id)
        .outerjoin(newer, newer.supersedes_id == Verdict.id)
        .where(
            Item.campaign_id == campaign_id,
            newer.id.is_(None),
            Verdict.withdrawn.is_(False),
            Verdict.value.is_not(None),
        )
    )
    for item_id, rater_id, value in rows:
        if item_id is not None and value is not None:
            yield item_id, rater_id, value


def _matrix(units: Sequence[Unit], answers: Iterable[tuple[int, int, float]]) -> Floats:
    column = {unit.item_id: index for index, unit in enumerate(units)}
    rows: dict[int, Floats] = {}
    for item_id, rater_id, value in answers:
        row = rows.setdefault(rater_id, np.full(len(units), np.nan))
        row[column[item_id]] = value
    return np.array(list(rows.values())) if rows else np.empty((0, len(units)))
