"""What a judge said, as numbers beside a human reference: its scores, or its choices between two."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.agreement.figures import Flags
from backend.db.tables import Comparison, Verdict
from backend.reference import FloatArray, Reference, Unit
from backend.scoring.store import FLIP_REASON
from backend.vocabulary import Outcome

_OUTCOME_MARGINS = {Outcome.A: 1.0, Outcome.B: -1.0, Outcome.BOTH_GOOD: 0.0, Outcome.BOTH_BAD: 0.0}


@dataclass(frozen=True)
class JudgeReading:
    """What one judge said of the units of a reference.

    values: per unit, A minus B for pairs; nan where it gave none. reasons: by greeting. asked: per unit,
    whether it was asked; of a pair scored one by one it must have been asked of both greetings.
    """

    unit_values: FloatArray
    reasons: dict[int, str]
    requested_mask: Flags


def load_judge_reading(session: Session, reference: Reference, rater_id: int) -> JudgeReading:
    """The judge's current word on every unit."""
    choice_reading = _read_choices(session, reference.units, rater_id) if reference.paired else None
    return choice_reading or _read_scores(session, reference, rater_id)


def has_judged(session: Session, reference: Reference, rater_id: int) -> bool:
    """Whether the judge said anything about a unit of the reference."""
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
        .where(Verdict.rater_id == rater_id, Verdict.item_id.is_(None))
        .order_by(Verdict.revision)
    ).all()
    # A later revision overwrites the one it supersedes.
    scores_by_greeting = {
        greeting_id: np.nan if score_value is None else score_value for greeting_id, score_value, _ in verdict_rows
    }
    reasons_by_greeting = {greeting_id: reason_text for greeting_id, _, reason_text in verdict_rows}
    unit_values, requested_mask = _scores_of(scores_by_greeting, [unit.a_id for unit in reference.units])
    if reference.paired:
        second_values, second_requested = _scores_of(scores_by_greeting, [unit.b_id for unit in reference.units])
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
        .where(Comparison.rater_id == rater_id)
        .order_by(Comparison.revision)
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
            margins[unit_index] = margin if left_id == unit.a_id else -margin
            requested_mask[unit_index] = True
            reasons_by_greeting[unit.a_id] = "；".join(reason for reason in reasons if reason != FLIP_REASON)
    return JudgeReading(margins, reasons_by_greeting, requested_mask) if reasons_by_greeting else None
