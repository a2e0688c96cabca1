"""Human references read from the database into arrays, and what a judge says of the same items."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session, aliased

from backend.agreement.records import ReferenceInfo
from backend.agreement.statistics.categorical import TIE, majority
from backend.agreement.statistics.figures import Flags
from backend.core.enums import CampaignKind, Outcome, RaterKind
from backend.core.errors import UserError
from backend.db.queries import current_rows, is_skip
from backend.db.tables import (
    Campaign,
    Comparison,
    Greeting,
    Item,
    Prompt,
    Rater,
    Verdict,
)
from backend.judges.scoring.targets import FLIP_REASON

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """What a rater answers about: one greeting, or two (`a`, `b`) in the order that the item stores."""

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
    matrix: FloatArray

    @property
    def paired(self) -> bool:
        """Whether a unit is two greetings; the human value is then the preference for A."""
        return self.kind == CampaignKind.COMPARE

    def majority(self) -> FloatArray:
        """Per unit 1, 0, or .5 for a tie of the raters; nan where nobody answered."""
        if self.matrix.size == 0:
            return np.full(len(self.units), np.nan)
        answered = ~np.isnan(self.matrix)
        # Not nanmean, which warns where nobody has answered yet: in a running campaign those are most units.
        counts = answered.sum(axis=0)
        sums = np.where(answered, self.matrix, 0.0).sum(axis=0)
        means = np.divide(sums, counts, out=np.full(len(self.units), np.nan), where=counts > 0)
        return majority(means)


def list_references(session: Session) -> list[ReferenceInfo]:
    """Everything that can serve as a human reference, the one labelled last first."""
    statement = select(Rater.name, func.count(Verdict.id), func.max(Verdict.id)).join(
        Verdict, Verdict.rater_id == Rater.id
    )
    statement = statement.where(Rater.kind == RaterKind.DATASET, current_rows(Verdict)).group_by(Rater.name)
    entries = [
        (ReferenceInfo(name=name, kind="dataset", labels=label_count), (0, newest_id))
        for name, label_count, newest_id in session.execute(statement)
    ]
    for label_table, campaign_kind in ((Comparison, CampaignKind.COMPARE), (Verdict, CampaignKind.VALIDATE)):
        # Items and not answers: an item that three people answered is one item of the reference. What was taken back
        # or skipped is no label, yet it counts as work on the campaign where the newest is looked for.
        is_label = and_(current_rows(label_table), ~is_skip(label_table))
        labelled_items = func.count(func.distinct(case((is_label, Item.id))))
        rows = session.execute(
            select(Campaign.name, labelled_items, func.max(label_table.id))
            .join(Item, Item.campaign_id == Campaign.id)
            .join(label_table, label_table.item_id == Item.id)
            .join(Rater, Rater.id == label_table.rater_id)
            .where(Campaign.kind == campaign_kind, Rater.kind != RaterKind.JUDGE)
            .group_by(Campaign.name)
            .having(labelled_items > 0)
        )
        entries += [
            (ReferenceInfo(name=name, kind=campaign_kind.value, labels=label_count), (1, newest_id))
            for name, label_count, newest_id in rows
        ]
    # Campaigns before imported labels, then by the newest label: what people are working on is asked for first.
    return [info for info, _ in sorted(entries, key=lambda pair: pair[1], reverse=True)]


def read_reference(session: Session, name: str) -> Reference:
    """The campaign or data set of that name. Raises UserError where there is none with labels."""
    # Campaigns first: names are unique among campaigns and among data sets, not across the two.
    campaign = session.scalar(select(Campaign).where(Campaign.name == name))
    if campaign is not None:
        return _campaign_reference(session, campaign)
    rater = session.scalar(select(Rater).where(Rater.kind == RaterKind.DATASET, Rater.name == name))
    if rater is None:
        available = ", ".join(info.name for info in list_references(session)) or "none yet"
        raise UserError(
            f"There is no human reference named “{name}”; choose one of: {available}.",
            f"没有名为“{name}”的人工参照，可选：{available}。",
        )
    return _dataset_reference(session, rater)


def _dataset_reference(session: Session, rater: Rater) -> Reference:
    rows = session.execute(
        select(Verdict.value, Greeting.id, Greeting.text, Prompt.id, Prompt.text, Prompt.occasion)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Verdict.rater_id == rater.id, current_rows(Verdict))
        .order_by(Greeting.id)
    ).all()
    units = [
        Unit(None, prompt_id, prompt, occasion, greeting_id, text, None, None)
        for _, greeting_id, text, prompt_id, prompt, occasion in rows
    ]
    values = np.array([[np.nan if verdict_row[0] is None else verdict_row[0] for verdict_row in rows]], dtype=float)
    return Reference(rater.name, "dataset", units, values)


def _campaign_reference(session: Session, campaign: Campaign) -> Reference:
    units = _campaign_units(session, campaign.id)
    answers = (
        _comparison_answers(session, campaign.id)
        if campaign.kind == CampaignKind.COMPARE
        else _verdict_answers(session, campaign.id)
    )
    return Reference(campaign.name, campaign.kind.value, units, _answer_matrix(units, answers))


def _campaign_units(session: Session, campaign_id: int) -> list[Unit]:
    greeting_a, greeting_b = aliased(Greeting), aliased(Greeting)
    rows = session.execute(
        select(
            Item.id,
            Prompt.id,
            Prompt.text,
            Prompt.occasion,
            greeting_a.id,
            greeting_a.text,
            greeting_b.id,
            greeting_b.text,
        )
        .join(Prompt, Prompt.id == Item.prompt_id)
        .join(greeting_a, greeting_a.id == Item.greeting_a_id)
        .outerjoin(greeting_b, greeting_b.id == Item.greeting_b_id)
        .where(Item.campaign_id == campaign_id)
        .order_by(Item.position)
    )
    return [Unit(*unit_row) for unit_row in rows]


def _comparison_answers(session: Session, campaign_id: int) -> Iterable[tuple[int, int, float]]:
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
        .where(
            Item.campaign_id == campaign_id,
            Rater.kind != RaterKind.JUDGE,
            # A skip says nothing of the greetings; as a tie it would pull every judge towards one half.
            Comparison.outcome != Outcome.SKIP,
            current_rows(Comparison),
        )
    )
    for item_id, rater_id, outcome, left_id, greeting_a_id in rows:
        if outcome in (Outcome.BOTH_GOOD, Outcome.BOTH_BAD):
            yield item_id, rater_id, TIE
        else:
            # The outcome speaks of left and right as this rater saw them; the matrix of A and B as the item has
            # them.
            yield item_id, rater_id, float((outcome == Outcome.A) == (left_id == greeting_a_id))


def _verdict_answers(session: Session, campaign_id: int) -> Iterable[tuple[int, int, float]]:
    rows = session.execute(
        select(Verdict.item_id, Verdict.rater_id, Verdict.value)
        .join(Item, Item.id == Verdict.item_id)
        .where(
            Item.campaign_id == campaign_id,
            Verdict.value.is_not(None),
            current_rows(Verdict),
        )
    )
    for item_id, rater_id, value in rows:
        if item_id is not None and value is not None:
            yield item_id, rater_id, value


def _answer_matrix(units: Sequence[Unit], answers: Iterable[tuple[int, int, float]]) -> FloatArray:
    column_by_item = {unit.item_id: index for index, unit in enumerate(units)}
    rows_by_rater: dict[int, FloatArray] = {}
    for item_id, rater_id, value in answers:
        # A row a rater: alpha asks who agrees with whom, so answers may not be averaged before.
        rater_row = rows_by_rater.setdefault(rater_id, np.full(len(units), np.nan))
        rater_row[column_by_item[item_id]] = value
    return np.array(list(rows_by_rater.values())) if rows_by_rater else np.empty((0, len(units)))


_OUTCOME_MARGINS = {Outcome.A: 1.0, Outcome.B: -1.0, Outcome.BOTH_GOOD: 0.0, Outcome.BOTH_BAD: 0.0}


@dataclass(frozen=True)
class JudgeReading:
    """What one judge said of the units of a reference.

    unit_values: per unit, A minus B for pairs; nan where it gave none. reasons: by greeting. requested_mask: per unit,
    whether it was asked; of a pair scored one by one it must have been asked of both greetings.
    """

    unit_values: FloatArray
    reasons: dict[int, str]
    requested_mask: Flags


def load_judge_reading(session: Session, reference: Reference, rater_id: int) -> JudgeReading:
    """The judge's current verdicts on every unit: its comparisons of pairs where it made any, else its scores."""
    choice_reading = _read_choices(session, reference.units, rater_id) if reference.paired else None
    # Comparisons before scores: a judge that has seen both greetings together needs no difference of two
    # values.
    return choice_reading or _read_scores(session, reference, rater_id)


def has_judged(session: Session, reference: Reference, rater_id: int) -> bool:
    """Whether the judge said anything about a unit of the reference."""
    # Compared here rather than by IN: a reference may have more greetings than SQLite takes parameters.
    greeting_ids = {greeting_id for unit in reference.units for greeting_id in (unit.a_id, unit.b_id)}
    judged_ids = session.scalars(select(Verdict.greeting_id).where(Verdict.rater_id == rater_id))
    if any(greeting_id in greeting_ids for greeting_id in judged_ids):
        return True
    item_ids = {unit.item_id for unit in reference.units}
    compared_ids = session.scalars(select(Comparison.item_id).where(Comparison.rater_id == rater_id))
    return any(item_id in item_ids for item_id in compared_ids)


def _read_scores(session: Session, reference: Reference, rater_id: int) -> JudgeReading:
    verdict_rows = session.execute(
        select(Verdict.greeting_id, Verdict.value, Verdict.reason)
        # A judge's verdicts belong to greetings and not to items of a campaign: one serves every reference.
        .where(Verdict.rater_id == rater_id, Verdict.item_id.is_(None), current_rows(Verdict))
        .order_by(Verdict.id)
    ).all()
    scores_by_greeting = {
        greeting_id: np.nan if score_value is None else score_value for greeting_id, score_value, _ in verdict_rows
    }
    reasons_by_greeting = {greeting_id: reason_text for greeting_id, _, reason_text in verdict_rows}
    unit_values, requested_mask = _scores_of(scores_by_greeting, [unit.a_id for unit in reference.units])
    if reference.paired:
        second_values, second_requested = _scores_of(scores_by_greeting, [unit.b_id for unit in reference.units])
        # NaN on either side makes the margin NaN: half a pair is no opinion on it.
        unit_values, requested_mask = unit_values - second_values, requested_mask & second_requested
    return JudgeReading(unit_values, reasons_by_greeting, requested_mask)


def _scores_of(scores_by_greeting: dict[int, float], greeting_ids: Sequence[int | None]) -> tuple[FloatArray, Flags]:
    """The value of each greeting, and whether there is a verdict on it at all."""
    score_values = [
        np.nan if greeting_id is None else scores_by_greeting.get(greeting_id, np.nan) for greeting_id in greeting_ids
    ]
    return np.array(score_values, dtype=float), np.array(
        [greeting_id in scores_by_greeting for greeting_id in greeting_ids], dtype=bool
    )


def _read_choices(session: Session, units: Sequence[Unit], rater_id: int) -> JudgeReading | None:
    comparison_rows = session.execute(
        select(Comparison.item_id, Comparison.left_id, Comparison.outcome, Comparison.reasons)
        .where(Comparison.rater_id == rater_id, current_rows(Comparison))
        .order_by(Comparison.id)
    ).all()
    choices_by_item = {item_id: (left_id, outcome, reasons) for item_id, left_id, outcome, reasons in comparison_rows}
    margins, reasons_by_greeting, requested_mask = (
        np.full(len(units), np.nan),
        {},
        np.zeros(len(units), dtype=bool),
    )
    for unit_index, unit in enumerate(units):
        if unit.item_id in choices_by_item:
            left_id, outcome, reasons = choices_by_item[unit.item_id]
            margin = _OUTCOME_MARGINS.get(outcome, np.nan)
            # The judge saw the greetings in an order of its own, as raters do.
            margins[unit_index] = margin if left_id == unit.a_id else -margin
            requested_mask[unit_index] = True
            reasons_by_greeting[unit.a_id] = "；".join(reason for reason in reasons if reason != FLIP_REASON)
    return JudgeReading(margins, reasons_by_greeting, requested_mask) if reasons_by_greeting else None
