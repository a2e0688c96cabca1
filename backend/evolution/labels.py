"""Labels of a data set or campaign as the game takes them, and the deal as a run keeps it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db.tables import Greeting, Prompt
from backend.errors import UserError
from backend.principles.labels import Deal, Label, Part, deal
from backend.reference import read_reference
from backend.text import digest

COUNTS = ("contradictory", "repeated", "shared", "surplus")
TIE = 0.5


def read_labels(session: Session, name: str) -> tuple[list[Label], int]:
    """Every labelled greeting, and how many were left out because people are even about them.

    Raises UserError for a name without labels, and for comparisons, which label no single greeting.
    """
    reference = read_reference(session, name)
    if reference.paired:
        raise UserError(
            f"“{name}” compares greetings; the game needs labels on single greetings.",
            f"“{name}”是两条对比；这里需要逐条的标签。",
        )
    said = list(zip(reference.units, reference.majority(), strict=True))
    labels = [
        Label(unit.a_id, unit.prompt, unit.a, bool(value == 1))
        for unit, value in said
        if not np.isnan(value) and value != TIE
    ]
    return labels, sum(bool(value == TIE) for _, value in said)


def dealt(session: Session, name: str, gate: int, locked: int) -> Deal:
    """The labels of `name`, dealt out. Raises UserError where they do not suffice."""
    labels, even = read_labels(session, name)
    found = deal(labels, gate, locked, name)
    return Deal(
        found.play,
        found.gate,
        found.locked,
        found.contradictory + even,
        found.repeated,
        found.shared,
        found.surplus,
    )


def plain_deal(found: Deal) -> dict[str, Any]:
    """The deal as a run keeps it: greetings by number, with the labels they had at the start."""
    parts = {part.value: [[one.id, int(one.good)] for one in found.part(part)] for part in Part}
    return {**parts, **{name: getattr(found, name) for name in COUNTS}}


def hash_of(found: Deal) -> str:
    """Stands for the labels and where each is used."""
    lines = [f"{part}|{one.prompt}|{one.greeting}|{one.good}" for part in Part for one in found.part(part)]
    return digest(*lines)[:16]


def read_deal(session: Session, kept: Mapping[str, Any]) -> Deal:
    """The deal that a run keeps. Raises UserError where a greeting is gone."""
    texts: dict[int, tuple[str, str]] = {}
    ids = [id_ for part in Part for id_, _ in kept[part.value]]
    for start in range(0, len(ids), 500):
        rows = session.execute(
            select(Greeting.id, Prompt.text, Greeting.text)
            .join(Prompt, Prompt.id == Greeting.prompt_id)
            .where(Greeting.id.in_(ids[start : start + 500]))
        )
        texts |= {id_: (prompt, text) for id_, prompt, text in rows}
    play, gate, locked = (_labels(kept[part.value], texts) for part in (Part.PLAY, Part.GATE, Part.LOCKED))
    contradictory, repeated, shared, surplus = (int(kept[name]) for name in COUNTS)
    return Deal(play, gate, locked, contradictory, repeated, shared, surplus)


def counted(kept: Mapping[str, Any]) -> dict[str, Any]:
    """How many good and bad labels each part has, and what was left out."""
    parts = {}
    for part in Part:
        good = sum(label for _, label in kept[part.value])
        parts[part.value] = {"good": good, "bad": len(kept[part.value]) - good}
    return {**parts, **{name: kept[name] for name in COUNTS}}


def _labels(rows: Sequence[Sequence[int]], texts: Mapping[int, tuple[str, str]]) -> tuple[Label, ...]:
    missing = next((id_ for id_, _ in rows if id_ not in texts), None)
    if missing is not None:
        raise UserError(
            f"Greeting {missing} of this run is gone; start a new run.",
            f"本次运行用到的祝福 {missing} 已不存在，请另开一次运行。",
        )
    return tuple(Label(id_, *texts[id_], bool(good)) for id_, good in rows)
