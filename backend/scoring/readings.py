"""What a judge said, as numbers beside a human reference: its scores, or its choices between two."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.agreement.figures import Flags
from backend.db.tables import Comparison, Verdict
from backend.reference import Floats, Reference, Unit
from backend.scoring.store import FLIP
from backend.vocabulary import Outcome

_MARGINS = {Outcome.A: 1.0, Outcome.B: -1.0, Outcome.BOTH_GOOD: 0.0, Outcome.BOTH_BAD: 0.0}


@dataclass(frozen=True)
class Reading:
    """What one judge said of the units of a reference.

    values: per unit, A minus B for pairs; nan where it gave none. reasons: by greeting. asked: per unit,
    whether it was asked; of a pair scored one by one it must have been asked of both greetings.
    """

    values: Floats
    reasons: dict[int, str]
    asked: Flags


def reading(session: Session, data: Reference, rater_id: int) -> Reading:
    """The judge's current word on every unit."""
    chosen = _choices(session, data.units, rater_id) if data.paired else None
    return chosen or _scores(session, data, rater_id)


def touched(session: Session, data: Reference, rater_id: int) -> bool:
    """Whether the judge said anything about a unit of the reference."""
    greetings = {identity for unit in data.units for identity in (unit.a_id, unit.b_id)}
    judged = session.scalars(select(Verdict.greeting_id).where(Verdict.rater_id == rater_id))
    if any(identity in greetings for identity in judged):
        return True
    items = {unit.item_id for unit in data.units}
    compared = session.scalars(select(Comparison.item_id).where(Comparison.rater_id == rater_id))
    return any(item in items for item in compared)


def _scores(session: Session, data: Reference, rater_id: int) -> Reading:
    rows = session.execute(
        select(Verdict.greeting_id, Verdict.value, Verdict.reason)
        .where(Verdict.rater_id == rater_id, Verdict.item_id.is_(None))
        .order_by(Verdict.revision)
    ).all()
    # A later revision overwrites the one it supersedes.
    value = {greeting_id: np.nan if score is None else score for greeting_id, score, _ in rows}
    reason = {greeting_id: why for greeting_id, _, why in rows}
    first, asked = _side(value, [unit.a_id for unit in data.units])
    if data.paired:
        second, both = _side(value, [unit.b_id for unit in data.units])
        first, asked = first - second, asked & both
    return Reading(first, reason, asked)


def _side(value: dict[int, float], greetings: Sequence[int | None]) -> tuple[Floats, Flags]:
    """The value of each greeting, and whether there is a verdict on it at all."""
    found = [np.nan if one is None else value.get(one, np.nan) for one in greetings]
    return np.array(found, dtype=float), np.array([one in value for one in greetings], dtype=bool)


def _choices(session: Session, units: Sequence[Unit], rater_id: int) -> Reading | None:
    rows = session.execute(
        select(Comparison.item_id, Comparison.left_id, Comparison.outcome, Comparison.reasons)
        .where(Comparison.rater_id == rater_id)
        .order_by(Comparison.revision)
    ).all()
    said = {item_id: (left_id, outcome, reasons) for item_id, left_id, outcome, reasons in rows}
    margins, why, asked = np.full(len(units), np.nan), {}, np.zeros(len(units), dtype=bool)
    for index, unit in enumerate(units):
        if unit.item_id in said:
            left_id, outcome, reasons = said[unit.item_id]
            margin = _MARGINS.get(outcome, np.nan)
            margins[index] = margin if left_id == unit.a_id else -margin
            asked[index] = True
            why[unit.a_id] = "；".join(reason for reason in reasons if reason != FLIP)
    return Reading(margins, why, asked) if why else None
