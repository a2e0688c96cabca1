"""The agreement board: a human reference, every judge beside it, and where they part."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from backend import text
from backend.agreement import minimums
from backend.agreement.board import JudgeRow, alpha_row, decide, judge_row
from backend.agreement.figures import Figure
from backend.board_models import authors, model_rows
from backend.corpus.occasion import occasion_of
from backend.db.engine import Database
from backend.db.play_tables import GreetingOrigin
from backend.db.publication import published
from backend.db.tables import Comparison, PreferencePair, Rater, Verdict
from backend.errors import UserError
from backend.judge_versions import standing
from backend.records import Board, Disagreement, ModelRow, OccasionCell, Point, ReferenceInfo, Said
from backend.reference import Floats, Reference, Unit, read_reference, references
from backend.scoring import TRIVIAL, ScoringService
from backend.scoring.readings import Reading, reading, touched
from backend.vocabulary import RaterKind, Scale

WORST = 30
POINTS = 2000
KEPT = 16

_Key = tuple[str, tuple[str, ...], tuple[int, ...]]


class BoardService:
    """Reads references and verdicts, lets `backend.agreement` do the statistics."""

    def __init__(self, database: Database, scoring: ScoringService) -> None:
        self._database = database
        self._scoring = scoring
        self._kept: dict[_Key, Board] = {}

    def references(self) -> list[ReferenceInfo]:
        """Human references that have labels, the best candidate first."""
        with self._database.read() as session:
            return references(session)

    def board(
        self,
        reference: str | None = None,
        judges: Sequence[str] | None = None,
        progress: Callable[[float, str], None] | None = None,
    ) -> Board:
        """The board for a reference (default: the first of `references()`).

        `judges` limits the rows to those names; the trivial judges stay on the board. Raises UserError
        where there is no reference with labels, or no such judge.
        """
        wanted = tuple(judges or ())
        with self._database.read() as session:
            name = reference or _default(references(session))
            kept = self._kept.get((name, wanted, _stamp(session)))
            if kept is not None:
                return kept
            greetings = _greetings(read_reference(session, name))
        self._scoring.ensure_trivial(greetings, progress)
        present = {judge.name: judge.version for judge in self._scoring.trivial()}
        with self._database.read() as session:
            stamp = _stamp(session)
            data = read_reference(session, name)
            entries = _judges(session, data, judges, present)
            readings = {entry.rater.id: reading(session, data, entry.rater.id) for entry in entries}
            written_by = authors(session, data)
        raters = [entry.rater for entry in entries if not entry.newer]
        board = replace(
            _assemble(data, entries, readings), models=model_rows(data, written_by, raters, readings)
        )
        self._keep((name, wanted, stamp), board)
        return board

    def _keep(self, key: _Key, board: Board) -> None:
        while len(self._kept) >= KEPT:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[key] = board

    def judge_names(self) -> list[str]:
        """Names of the judges that have stored verdicts."""
        with self._database.read() as session:
            known = select(Rater.name).where(Rater.kind == RaterKind.JUDGE).distinct().order_by(Rater.name)
            return list(session.scalars(known))

    def said_of(self, greeting_id: int) -> list[Said]:
        """Every current verdict on a greeting: people, data sets, judges at each version."""
        newer = aliased(Verdict)
        with self._database.read() as session:
            rows = session.execute(
                select(Rater.name, Rater.kind, Rater.version, Verdict.value, Verdict.reason)
                .join(Verdict, Verdict.rater_id == Rater.id)
                .outerjoin(newer, newer.supersedes_id == Verdict.id)
                .where(Verdict.greeting_id == greeting_id, Verdict.withdrawn.is_(False), newer.id.is_(None))
                .order_by(Rater.kind, Rater.id)
            )
            return [
                Said(f"{name} {version[:8]}".strip(), kind.value, value, reason)
                for name, kind, version, value, reason in rows
            ]


def _default(found: Sequence[ReferenceInfo]) -> str:
    if not found:
        raise UserError(
            "There are no human labels yet; import labelled greetings or annotate a campaign first.",
            "还没有人工标签，请先导入带标签的祝福，或完成一些标注。",
        )
    return found[0].name


def _stamp(session: Session) -> tuple[int, ...]:
    """Changes whenever a label or a verdict is added: labels are append-only."""
    tables = (Verdict, Comparison, PreferencePair, GreetingOrigin)
    newest = (session.scalar(select(func.max(table.id))) or 0 for table in tables)
    return (*newest, published(session))


def _greetings(data: Reference) -> list[int]:
    return [identity for unit in data.units for identity in (unit.a_id, unit.b_id) if identity is not None]


@dataclass(frozen=True)
class _Entry:
    """A judge at the version that stands for it, or (`newer`) at one that has judged less so far."""

    rater: Rater
    newer: bool = False


def _judges(
    session: Session, data: Reference, wanted: Sequence[str] | None, trivial: dict[str, str]
) -> list[_Entry]:
    """Trivial judges at their present version, others at the version that stands for them here."""
    rows = session.scalars(
        select(Rater)
        .where(
            Rater.kind == RaterKind.JUDGE,
            exists().where(Verdict.rater_id == Rater.id) | exists().where(Comparison.rater_id == Rater.id),
        )
        .order_by(Rater.id)
    ).all()
    present = [rater for rater in rows if trivial.get(rater.name, rater.version) == rater.version]
    known = list(dict.fromkeys(rater.name for rater in present))
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise UserError(
            f"No verdicts of a judge named “{unknown[0]}” are stored; known: {', '.join(known)}.",
            f"没有名为“{unknown[0]}”的裁判的评判结果，已有：{'、'.join(known)}。",
        )
    keep = {*TRIVIAL, *(known if wanted is None else wanted)}
    versions: dict[str, list[Rater]] = {name: [] for name in TRIVIAL}
    for rater in present:
        if rater.name in keep and (rater.name in TRIVIAL or touched(session, data, rater.id)):
            versions.setdefault(rater.name, []).append(rater)
    return [entry for found in versions.values() for entry in _entries(session, data, found)]


def _entries(session: Session, data: Reference, versions: Sequence[Rater]) -> list[_Entry]:
    """The rows of one judge, of its versions from the oldest on: at most two."""
    if len(versions) < 2:
        return [_Entry(rater) for rater in versions]
    labelled = ~np.isnan(data.majority())
    values = (reading(session, data, rater.id).values for rater in versions)
    counts = [int((labelled & np.isfinite(one)).sum()) for one in values]
    chosen, newest = versions[standing(counts)], versions[-1]
    return [_Entry(chosen), *([] if newest is chosen else [_Entry(newest, newer=True)])]


def _lengths(data: Reference) -> Floats:
    def one(unit: Unit) -> float:
        own = text.length(unit.a)
        return float(own - text.length(unit.b)) if unit.b is not None else float(own)

    return np.array([one(unit) for unit in data.units], dtype=float)


def _assemble(data: Reference, entries: Sequence[_Entry], readings: dict[int, Reading]) -> Board:
    human, lengths = data.majority(), _lengths(data)
    groups = np.array([unit.prompt_id for unit in data.units])
    board = Board(
        reference=data.name,
        kind=data.kind,
        items=int((~np.isnan(human)).sum()),
        raters=len(data.matrix),
        alpha=alpha_row(data.matrix),
        rows=(),
        confusions={},
        points={},
        occasions={},
        worst={},
    )
    rows = []
    for entry in entries:
        rater, found = entry.rater, readings[entry.rater.id]
        scale = Scale(rater.config.get("scale", Scale.SCORE))
        row = judge_row(
            rater.name,
            rater.version,
            human,
            found.values,
            groups,
            lengths,
            scale,
            paired=data.paired,
            seed=0,
            asked=found.asked,
        )
        row = replace(row, newer=entry.newer)
        rows.append(row)
        decision = decide(human, found.values, groups, scale, paired=data.paired)
        board.confusions[row.key] = _confusion(human, decision, found)
        board.points[row.key] = _points(human, found.values)
        board.occasions[row.key] = _occasions(data, human, decision)
        board.worst[row.key] = _worst(data, human, found.values, decision, found.reasons)
    return replace(board, rows=tuple(rows))


def _confusion(human: Floats, decision: Floats, found: Reading) -> dict[str, dict[str, int]]:
    """Counts by what people said and what the judge decided, and why it decided nothing.

    A value alone is no decision where people's labels give no threshold for it: “undecided”.
    """
    sides = {1.0: "1", 0.5: "tie", 0.0: "0"}
    columns = (*sides.values(), "undecided", "without_verdict", "never_asked")
    silent = np.where(np.isfinite(found.values), 3, np.where(found.asked, 4, 5))
    table = {side: dict.fromkeys(columns, 0) for side in sides.values()}
    for said, decided, why in zip(human, decision, silent, strict=True):
        if not np.isnan(said):
            table[sides[said]][columns[why] if np.isnan(decided) else sides[decided]] += 1
    return table


def _points(human: Floats, value: Floats) -> tuple[Point, ...]:
    both = np.flatnonzero(~np.isnan(human) & ~np.isnan(value))
    if len(both) > POINTS:
        both = np.random.default_rng(0).choice(both, POINTS, replace=False)
    return tuple(Point(float(human[i]), float(value[i])) for i in both)


def _occasions(data: Reference, human: Floats, decision: Floats) -> tuple[OccasionCell, ...]:
    hits: dict[str, list[float]] = defaultdict(list)
    for unit, said, decided in zip(data.units, human, decision, strict=True):
        if said in (0.0, 1.0) and not np.isnan(decided):
            hits[unit.occasion or occasion_of(unit.prompt) or ""].append(1.0 - abs(said - decided))
    cells = [
        OccasionCell(name, len(seen), float(np.mean(seen)) if len(seen) >= minimums.ITEMS else None)
        for name, seen in hits.items()
    ]
    return tuple(sorted(cells, key=lambda cell: (-cell.n, cell.occasion)))


def _worst(
    data: Reference, human: Floats, value: Floats, decision: Floats, reasons: dict[int, str]
) -> tuple[Disagreement, ...]:
    """Units decided against the people, ordered by how sure the judge was (rank of its value)."""
    from scipy.stats import rankdata  # a slow import, kept off the start of the server

    both = np.flatnonzero(~np.isnan(human) & ~np.isnan(value))
    if len(both) == 0:
        return ()
    rank = np.full(len(value), np.nan)
    rank[both] = rankdata(value[both]) / len(both)
    gap = np.where(np.abs(decision - human) >= 0.5, np.abs(rank - human), np.nan)
    order = [int(i) for i in np.argsort(-np.nan_to_num(gap, nan=-1.0), kind="stable") if not np.isnan(gap[i])]
    return tuple(_disagreement(data.units[i], human[i], value[i], gap[i], reasons) for i in order[:WORST])


def _disagreement(
    unit: Unit, human: float, value: float, gap: float, reasons: dict[int, str]
) -> Disagreement:
    said = [reasons.get(identity, "") for identity in (unit.a_id, unit.b_id) if identity is not None]
    return Disagreement(
        item_id=unit.item_id,
        greeting_id=unit.a_id,
        prompt=unit.prompt,
        a=unit.a,
        b=unit.b,
        human=float(human),
        judge=float(value),
        reason=" / ".join(part for part in said if part),
        gap=float(gap),
    )


COUNTS = ("n", "unscored", "never_asked", "without_verdict", "ties")
FIGURES = ("spearman", "kendall", "accuracy", "kappa", "ac1", "auc", "matched_auc", "base_rate", "threshold")


def flat(row: JudgeRow) -> dict[str, Any]:
    """A row as plain values, for JSON and CSV; undefined figures are None and `why` says why.

    `n`, `unscored` (in all), `never_asked`, `without_verdict` and `ties` count items; so does the `_n` of
    each figure.
    """
    out: dict[str, Any] = {"judge": row.judge, "version": row.version, "newer": row.newer}
    out |= {name: getattr(row, name) for name in COUNTS}
    why = {}
    for name in FIGURES:
        figure: Figure = getattr(row, name)
        out |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
        out |= {f"{name}_n": figure.n} if name != "threshold" else {}
        if figure.why is not None:
            why[name] = figure.why.en
    out["why"] = why
    return out


def flat_model(row: ModelRow, kind: str) -> dict[str, Any]:
    """A model's row as plain values; `by` is "people" or the judge, `measure` what the share counts."""
    return {
        "generator": row.generator,
        "model": row.model,
        "by": row.by or "people",
        "measure": "wins" if kind == "compare" else "excellent",
        "share": row.figure.value,
        "low": row.figure.low,
        "high": row.figure.high,
        "n": row.n,
        "ties": row.ties,
        "missing": row.missing,
        "never_asked": row.never_asked,
        "why": row.figure.why.en if row.figure.why else None,
    }


def board_csv(board: Board) -> str:
    """The board as CSV: the judges' rows, alpha among people in columns of its own."""
    rows = [flat(row) for row in board.rows]
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "why"))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["reference", "items", "raters", "alpha", "alpha_n", *columns, "why"])
    writer.writeheader()
    for row in rows:
        why = "; ".join(f"{name}: {reason}" for name, reason in row.pop("why").items())
        alpha = board.alpha.ordinal.value
        writer.writerow(
            {
                "reference": board.reference,
                "items": board.items,
                "raters": board.raters,
                "alpha": alpha,
                "alpha_n": board.alpha.items,
                **row,
                "why": why,
            }
        )
    return stream.getvalue()
