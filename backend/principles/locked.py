"""The locked set, opened once at the end: where the run began, what it found, and a plain rewriting."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from backend.agreement.board import JudgeRow, judge_row
from backend.agreement.figures import Figure
from backend.principles import draws, gate
from backend.principles.adversary import Kept
from backend.principles.book import Outcome
from backend.principles.gate import Ruling
from backend.principles.labels import Label
from backend.principles.proposals import Proposal, kept_proposal, proposal_in
from backend.principles.table import Table
from backend.principles.vocabulary import Phase, Proposer, Role, Why
from backend.text import length
from backend.vocabulary import Scale

FIGURES = ("accuracy", "kappa", "ac1", "auc", "matched_auc")
EXAMPLES = 16
START, REWRITE, BEST, LENGTH = "start", "rewrite", "best", "length"


async def report(table: Table) -> None:
    """The last two phases: the one-shot rewriting, and the readings of the locked set."""
    rewritten = await _rewritten(table) if table.settings.rewrite else None
    await table.once(0, Phase.LOCKED, lambda: _open(table, rewritten))


async def _rewritten(table: Table) -> Proposal:
    """One rewriting of the first S_D from labelled examples, never gated: what the game must beat."""
    settings = table.settings

    async def ask() -> Kept:
        examples = draws.labelled(table.deal.play, settings.seed, 1, EXAMPLES)
        said = await table.agents.rewrite(table.first.rules, examples, table.variant(0, Phase.REWRITE))
        return kept_proposal(table.first, said, (), Proposer.REWRITE)

    found = proposal_in(table, Role.DETECTOR, await table.once(0, Phase.REWRITE, ask))
    assert found is not None
    return found


async def _open(table: Table, rewritten: Proposal | None) -> Kept:
    labels, standing = table.deal.locked, table.standing
    rows = {START: await table.read(table.first.rules, labels)}
    outcomes: tuple[Outcome, ...] = ()
    if rewritten is not None:
        why = Why.BASELINE if rewritten.refused in (None, Why.SEEN) else rewritten.refused
        outcomes = (table.outcome(rewritten.version.id, Ruling(False, why, {})),)
        if why is Why.BASELINE:
            rows[REWRITE] = await table.read(rewritten.version.rules, labels)
    same = standing.best.id == table.first.id
    rows[BEST] = rows[START] if same else await table.read(standing.best.rules, labels)
    told = [row_of(name, labels, values) for name, values in rows.items()]
    told.append(row_of(LENGTH, labels, [float(length(one.greeting)) for one in labels], Scale.SCORE))
    change = gate.compare(labels, rows[START], rows[BEST])
    data = {"rows": told, "best": standing.best.id, "values": rows, "change": asdict(change)}
    return data, None, outcomes


def row_of(name: str, labels: Sequence[Label], values: gate.Values, scale: Scale = Scale.BINARY) -> Any:
    row = judge_row(
        name,
        "",
        np.array([float(one.good) for one in labels]),
        gate.floats(values),
        np.array([one.group for one in labels]),
        np.array([float(length(one.greeting)) for one in labels]),
        scale,
        paired=False,
        seed=1,
    )
    return {"name": name, "n": row.n, "unscored": row.unscored, **_figures(row)}


def _figures(row: JudgeRow) -> dict[str, Any]:
    return {name: _plain(getattr(row, name)) for name in FIGURES}


def _plain(figure: Figure) -> dict[str, Any]:
    why = [figure.why.en, figure.why.zh] if figure.why else None
    return {"value": figure.value, "low": figure.low, "high": figure.high, "why": why, "n": figure.n}
