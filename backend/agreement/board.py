"""The agreement board: a human reference, every judge beside it, and where they part."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from backend.agreement.models import build_model_rows, find_authors
from backend.agreement.records import (
    AgreementBoard,
    ChartPoint,
    Disagreement,
    OccasionCell,
    RaterVerdict,
    ReferenceInfo,
    WithinRow,
)
from backend.agreement.reference import (
    FloatArray,
    JudgeReading,
    Reference,
    Unit,
    has_judged,
    list_references,
    load_judge_reading,
    read_reference,
)
from backend.agreement.statistics import minimums
from backend.agreement.statistics.judge_rows import JudgeRow, alpha_row, decide_items, judge_row
from backend.agreement.within import ranks_within, within_rows, without_across_figures
from backend.core import text
from backend.core.enums import RaterKind, Scale
from backend.core.errors import UserError
from backend.corpus.occasion import detect_occasion
from backend.db.engine import Database
from backend.db.play_tables import GreetingOrigin
from backend.db.publication import count_finished_imports
from backend.db.queries import current_rows, current_version
from backend.db.tables import Comparison, PreferencePair, Rater, Verdict
from backend.judges.scoring.service import TRIVIAL, ScoringService

WORST_SHOWN = 30
# Points of a chart; more would lie upon each other, and all of them travel to the browser.
POINTS_SHOWN = 2000
# Boards that are remembered: computing one takes seconds, for every figure is resampled a thousand times.
CACHED_BOARDS = 16

_CacheKey = tuple[str, tuple[str, ...], tuple[int, ...]]


class BoardService:
    """Reads references and verdicts, lets `backend.agreement.statistics` compute, and remembers the boards it made."""

    def __init__(self, database: Database, scoring: ScoringService) -> None:
        self._database = database
        self._scoring = scoring
        self._cached_boards: dict[_CacheKey, AgreementBoard] = {}

    def references(self) -> list[ReferenceInfo]:
        """Human references that have labels, the best candidate first."""
        with self._database.read() as session:
            return list_references(session)

    def board(
        self,
        reference: str | None = None,
        judges: Sequence[str] | None = None,
        progress: Callable[[float, str], None] | None = None,
    ) -> AgreementBoard:
        """The board for a reference (default: the first of `references()`).

        `judges` limits the rows to those names; the trivial judges stay on the board. Raises UserError
        where there is no reference with labels, or no such judge.
        """
        wanted_names = tuple(judges or ())
        with self._database.read() as session:
            reference_name = reference or _default_reference(list_references(session))
            cached_board = self._cached_boards.get((reference_name, wanted_names, _label_stamp(session)))
            if cached_board is not None:
                return cached_board
            # Read and left: the trivial judges write their verdicts below, and a reading transaction cannot
            # turn into a writing one.
            greeting_ids = _greeting_ids(read_reference(session, reference_name))
        self._scoring.ensure_trivial_verdicts(greeting_ids, progress)
        trivial_versions = {
            trivial_judge.name: trivial_judge.version for trivial_judge in self._scoring.trivial_judges()
        }
        with self._database.read() as session:
            # Taken anew, since the trivial verdicts have raised it; with the old one the board would never be
            # found again.
            label_stamp = _label_stamp(session)
            human_reference = read_reference(session, reference_name)
            entries = _select_judges(session, human_reference, judges, trivial_versions)
            readings = {
                entry.rater.id: load_judge_reading(session, human_reference, entry.rater.id) for entry in entries
            }
            greetings_by_model = find_authors(session, human_reference)
        raters = [
            entry.rater
            for entry in entries
            # A place in a ranking is no opinion on whether a greeting is good.
            if not entry.is_newer and (human_reference.paired or not ranks_within(entry.rater))
        ]
        board = replace(
            _assemble_board(human_reference, entries, readings),
            models=build_model_rows(human_reference, greetings_by_model, raters, readings),
        )
        self._cache_board((reference_name, wanted_names, label_stamp), board)
        return board

    def _cache_board(self, cache_key: _CacheKey, board: AgreementBoard) -> None:
        while len(self._cached_boards) >= CACHED_BOARDS:
            # The oldest goes: dictionaries keep the order in which keys came. Another thread may have removed
            # it already.
            self._cached_boards.pop(next(iter(self._cached_boards)), None)
        self._cached_boards[cache_key] = board

    def judge_names(self) -> list[str]:
        """Names of the judges that have stored verdicts."""
        with self._database.read() as session:
            known_names = select(Rater.name).where(Rater.kind == RaterKind.JUDGE).distinct().order_by(Rater.name)
            return list(session.scalars(known_names))

    def verdicts_on(self, greeting_id: int) -> list[RaterVerdict]:
        """Every current verdict on a greeting: people, data sets, judges at each version."""
        with self._database.read() as session:
            rows = session.execute(
                select(Rater.name, Rater.kind, Rater.version, Verdict.value, Verdict.reason)
                .join(Verdict, Verdict.rater_id == Rater.id)
                .where(Verdict.greeting_id == greeting_id, current_rows(Verdict))
                .order_by(Rater.kind, Rater.id)
            )
            return [
                RaterVerdict(f"{rater_name} {rater_version[:8]}".strip(), rater_kind.value, verdict_value, reason)
                for rater_name, rater_kind, rater_version, verdict_value, reason in rows
            ]


def _default_reference(candidates: Sequence[ReferenceInfo]) -> str:
    if not candidates:
        raise UserError(
            "There are no human labels yet; import labelled greetings or annotate a campaign first.",
            "还没有人工标签，请先导入带标签的祝福，或完成一些标注。",
        )
    return candidates[0].name


def _label_stamp(session: Session) -> tuple[int, ...]:
    """Changes whenever a label or a verdict is added: labels are append-only."""
    tables = (Verdict, Comparison, PreferencePair, GreetingOrigin)
    # The newest id stamps a table to which rows are only added: a change of mind is a new row as well.
    newest_ids = (session.scalar(select(func.max(label_table.id))) or 0 for label_table in tables)
    return (*newest_ids, count_finished_imports(session))


def _greeting_ids(reference: Reference) -> list[int]:
    return [
        greeting_id for unit in reference.units for greeting_id in (unit.a_id, unit.b_id) if greeting_id is not None
    ]


@dataclass(frozen=True)
class _JudgeEntry:
    """A judge at the version that stands for it, or (`is_newer`) at one that has judged less so far."""

    rater: Rater
    is_newer: bool = False


def _select_judges(
    session: Session,
    reference: Reference,
    wanted_names: Sequence[str] | None,
    trivial_versions: dict[str, str],
) -> list[_JudgeEntry]:
    """Trivial judges at their present version, others at the version that stands for them here."""
    stored_raters = session.scalars(
        select(Rater)
        .where(
            Rater.kind == RaterKind.JUDGE,
            exists().where(Verdict.rater_id == Rater.id) | exists().where(Comparison.rater_id == Rater.id),
        )
        .order_by(Rater.id)
    ).all()
    # The baselines are retrained on each import; their older versions saw other data and are no baseline of
    # today's.
    present_raters = [
        rater for rater in stored_raters if trivial_versions.get(rater.name, rater.version) == rater.version
    ]
    known_names = list(dict.fromkeys(rater.name for rater in present_raters))
    unknown = [judge_name for judge_name in wanted_names or () if judge_name not in known_names]
    if unknown:
        raise UserError(
            f"No verdicts of a judge named “{unknown[0]}” are stored; known: {', '.join(known_names)}.",
            f"没有名为“{unknown[0]}”的裁判的评判结果，已有：{'、'.join(known_names)}。",
        )
    # The baselines stay whatever is chosen: a figure means little without what a character counter reaches.
    shown_names = {*TRIVIAL, *(known_names if wanted_names is None else wanted_names)}
    versions_by_name: dict[str, list[Rater]] = {judge_name: [] for judge_name in TRIVIAL}
    for rater in present_raters:
        if rater.name in shown_names and (rater.name in TRIVIAL or has_judged(session, reference, rater.id)):
            versions_by_name.setdefault(rater.name, []).append(rater)
    return [
        entry
        for judge_versions in versions_by_name.values()
        for entry in _version_entries(session, reference, judge_versions)
    ]


def _version_entries(session: Session, reference: Reference, versions: Sequence[Rater]) -> list[_JudgeEntry]:
    """The rows of one judge, of its versions from the oldest on: at most two."""
    if len(versions) < 2:
        return [_JudgeEntry(rater) for rater in versions]
    has_label = ~np.isnan(reference.majority())
    value_rows = (load_judge_reading(session, reference, rater.id).unit_values for rater in versions)
    # On the items of this reference: a version complete elsewhere may have judged five of them.
    counts = [int((has_label & np.isfinite(value_row)).sum()) for value_row in value_rows]
    chosen_version, newest_version = versions[current_version(counts)], versions[-1]
    newer_entries = [] if newest_version is chosen_version else [_JudgeEntry(newest_version, is_newer=True)]
    return [_JudgeEntry(chosen_version), *newer_entries]


def _length_values(reference: Reference) -> FloatArray:
    def unit_length(unit: Unit) -> float:
        a_length = text.count_characters(unit.a)
        return float(a_length - text.count_characters(unit.b)) if unit.b is not None else float(a_length)

    return np.array([unit_length(unit) for unit in reference.units], dtype=float)


def _assemble_board(
    reference: Reference, entries: Sequence[_JudgeEntry], readings: dict[int, JudgeReading]
) -> AgreementBoard:
    human_values, text_lengths = reference.majority(), _length_values(reference)
    prompt_groups = np.array([unit.prompt_id for unit in reference.units])
    board = AgreementBoard(
        reference=reference.name,
        kind=reference.kind,
        items=int((~np.isnan(human_values)).sum()),
        raters=len(reference.matrix),
        alpha=alpha_row(reference.matrix),
        rows=(),
        confusions={},
        points={},
        occasions={},
        worst={},
    )
    rows = []
    for entry in entries:
        rater, judge_reading = entry.rater, readings[entry.rater.id]
        scale = Scale(rater.config.get("scale", Scale.SCORE))
        result = judge_row(
            rater.name,
            rater.version,
            human_values,
            judge_reading.unit_values,
            prompt_groups,
            text_lengths,
            scale,
            is_paired=reference.paired,
            # The same draws for every judge and every visit, so that an interval changes only when the data do.
            random_seed=0,
            was_queried=judge_reading.requested_mask,
        )
        result = replace(result, newer=entry.is_newer)
        decisions = decide_items(
            human_values, judge_reading.unit_values, prompt_groups, scale, is_paired=reference.paired
        )
        if ranks_within(rater) and not reference.paired:
            result, decisions = without_across_figures(result), np.full(len(human_values), np.nan)
        rows.append(result)
        board.confusions[result.key] = _count_decisions(human_values, decisions, judge_reading)
        board.points[result.key] = _chart_points(human_values, judge_reading.unit_values)
        board.occasions[result.key] = _occasion_cells(reference, human_values, decisions)
        board.worst[result.key] = _worst_disagreements(
            reference, human_values, judge_reading.unit_values, decisions, judge_reading.reasons
        )
    return replace(board, rows=tuple(rows), within=_within_rows(reference, entries, rows, readings))


def _within_rows(
    reference: Reference, entries: Sequence[_JudgeEntry], rows: Sequence[JudgeRow], readings: dict[int, JudgeReading]
) -> tuple[WithinRow, ...]:
    # Every judge beside the one that ranks: alone its figure could not be held against a character counter's.
    if reference.paired or not any(ranks_within(entry.rater) for entry in entries):
        return ()
    row_values = (
        (row.key, row.judge, readings[entry.rater.id].unit_values) for entry, row in zip(entries, rows, strict=True)
    )
    return within_rows(reference, row_values)


def _count_decisions(
    human_values: FloatArray, decisions: FloatArray, judge_reading: JudgeReading
) -> dict[str, dict[str, int]]:
    """Counts by what people said and what the judge decided, and why it decided nothing.

    A value alone is no decision where people's labels give no threshold for it: “undecided”.
    """
    labels = {1.0: "1", 0.5: "tie", 0.0: "0"}
    columns = (*labels.values(), "undecided", "without_verdict", "never_asked")
    reason_indexes = np.where(np.isfinite(judge_reading.unit_values), 3, np.where(judge_reading.requested_mask, 4, 5))
    decision_table = {label: dict.fromkeys(columns, 0) for label in labels.values()}
    for human_value, judge_value, reason_index in zip(human_values, decisions, reason_indexes, strict=True):
        if not np.isnan(human_value):
            decision_table[labels[human_value]][
                columns[reason_index] if np.isnan(judge_value) else labels[judge_value]
            ] += 1
    return decision_table


def _chart_points(human_values: FloatArray, judge_values: FloatArray) -> tuple[ChartPoint, ...]:
    shared_units = np.flatnonzero(~np.isnan(human_values) & ~np.isnan(judge_values))
    if len(shared_units) > POINTS_SHOWN:
        # A fixed seed: a chart that changes with every reload would look like new data.
        shared_units = np.random.default_rng(0).choice(shared_units, POINTS_SHOWN, replace=False)
    return tuple(
        ChartPoint(float(human_values[unit_index]), float(judge_values[unit_index])) for unit_index in shared_units
    )


def _occasion_cells(reference: Reference, human_values: FloatArray, decisions: FloatArray) -> tuple[OccasionCell, ...]:
    hits: dict[str, list[float]] = defaultdict(list)
    for unit, human_value, judge_value in zip(reference.units, human_values, decisions, strict=True):
        # Ties of people have no right answer, so an occasion's share leaves them out.
        if human_value in (0.0, 1.0) and not np.isnan(judge_value):
            # Imported prompts may carry no tag; key words are enough to group by.
            hits[unit.occasion or detect_occasion(unit.prompt) or ""].append(1.0 - abs(human_value - judge_value))
    cells = [
        OccasionCell(
            occasion,
            len(unit_hits),
            float(np.mean(unit_hits)) if len(unit_hits) >= minimums.MIN_FIGURE_ITEMS else None,
        )
        for occasion, unit_hits in hits.items()
    ]
    return tuple(sorted(cells, key=lambda cell: (-cell.n, cell.occasion)))


def _worst_disagreements(
    reference: Reference,
    human_values: FloatArray,
    judge_values: FloatArray,
    decisions: FloatArray,
    reasons: dict[int, str],
) -> tuple[Disagreement, ...]:
    """Units decided against the people, ordered by how sure the judge was (rank of its value)."""
    from scipy.stats import rankdata  # a slow import, kept off the start of the server

    shared_units = np.flatnonzero(~np.isnan(human_values) & ~np.isnan(judge_values))
    if len(shared_units) == 0:
        return ()
    value_ranks = np.full(len(judge_values), np.nan)
    # Ranks and not values: judges have scales of their own, and one list has to order all of them.
    value_ranks[shared_units] = rankdata(judge_values[shared_units]) / len(shared_units)
    rank_gaps = np.where(np.abs(decisions - human_values) >= 0.5, np.abs(value_ranks - human_values), np.nan)
    ranking = [
        int(unit_index)
        # Stable, so that units of equal gap keep the order of the reference and the list does not jump.
        for unit_index in np.argsort(-np.nan_to_num(rank_gaps, nan=-1.0), kind="stable")
        if not np.isnan(rank_gaps[unit_index])
    ]
    return tuple(
        _disagreement(
            reference.units[unit_index],
            human_values[unit_index],
            judge_values[unit_index],
            rank_gaps[unit_index],
            reasons,
        )
        for unit_index in ranking[:WORST_SHOWN]
    )


def _disagreement(
    unit: Unit, human: float, judge_value: float, rank_gap: float, reasons: dict[int, str]
) -> Disagreement:
    unit_reasons = [reasons.get(greeting_id, "") for greeting_id in (unit.a_id, unit.b_id) if greeting_id is not None]
    return Disagreement(
        item_id=unit.item_id,
        greeting_id=unit.a_id,
        prompt=unit.prompt,
        a=unit.a,
        b=unit.b,
        human=float(human),
        judge=float(judge_value),
        reason=" / ".join(reason for reason in unit_reasons if reason),
        gap=float(rank_gap),
    )
