"""One report over runs on the same labels: where they began, a plain rewriting, what each search found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.db.engine import Database
from backend.errors import Conflict, UserError
from backend.evolution import runs
from backend.evolution.labels import read_partitions
from backend.evolution.records import RunInfo
from backend.evolution.uses import LockedSetUses, uses_before
from backend.judges.base import Judge
from backend.principles.labels import GameLabel
from backend.principles.locked import BEST_ROW, REWRITE_ROW, START_ROW, locked_row
from backend.principles.table import label_sample
from backend.scoring.blocking import run_blocking
from backend.scoring.service import ScoringService


@dataclass(frozen=True)
class ReportRow:
    """A judge on the locked set. `figures` as in the locked step; calls and cost of the run it came from.

    `uses`: who had read those locked labels before that run did.
    """

    name: str
    run: int | None
    version: int | None
    calls: int | None
    cost: float | None
    figures: dict[str, Any]
    uses: LockedSetUses | None = None


def build_report(database: Database, scoring: ScoringService, run_ids: Sequence[int]) -> list[ReportRow]:
    """The rows. Raises UserError for runs that are not over, and for runs on different labels."""
    with database.read() as session:
        run_infos = [runs.load_run_info(session, run_id) for run_id in dict.fromkeys(run_ids)]
        _check_runs(run_infos)
        locked_labels = read_partitions(session, runs.require_run(session, run_infos[0].id).labels).locked
        uses_by_run = {run_info.id: uses_before(session, run_info.id) for run_info in run_infos}
    first_info = run_infos[0]
    report_rows = [_baseline_row(START_ROW, first_info, first_info.detector)]
    rewrite_info = next((run_info for run_info in run_infos if _row_figures(run_info, REWRITE_ROW)), None)
    if rewrite_info is not None:
        report_rows.append(_baseline_row(REWRITE_ROW, rewrite_info, None))
    report_rows += [
        ReportRow(
            run_info.settings.search.value,
            run_info.id,
            run_info.best,
            run_info.calls,
            run_info.cost,
            _row_figures(run_info, BEST_ROW),
            uses_by_run[run_info.id],
        )
        for run_info in run_infos
    ]
    return [
        *report_rows,
        *(_trivial_row(trivial_judge, locked_labels) for trivial_judge in scoring.trivial_judges()),
    ]


def _check_runs(run_infos: Sequence[RunInfo]) -> None:
    if not run_infos:
        raise UserError("Name at least one run.", "请至少指定一次运行。")
    unfinished_id = next((run_info.id for run_info in run_infos if run_info.locked is None), None)
    if unfinished_id is not None:
        raise Conflict(
            f"Run {unfinished_id} has not opened the locked set yet; let it finish first.",
            f"运行 {unfinished_id} 还没有用到封存集，请等它结束。",
        )
    other_id = next((run_info.id for run_info in run_infos if run_info.labels_hash != run_infos[0].labels_hash), None)
    if other_id is not None:
        raise UserError(
            f"Runs {run_infos[0].id} and {other_id} have different labels; one report needs the same ones.",
            f"运行 {run_infos[0].id} 与 {other_id} 的标签不同，同一份报告需要相同的标签。",
        )


def _baseline_row(row_name: str, run_info: RunInfo, version_id: int | None) -> ReportRow:
    return ReportRow(row_name, run_info.id, version_id, None, None, _row_figures(run_info, row_name))


def _row_figures(run_info: RunInfo, row_name: str) -> dict[str, Any]:
    assert run_info.locked is not None
    return next((dict(figures_row) for figures_row in run_info.locked["rows"] if figures_row["name"] == row_name), {})


def _trivial_row(trivial_judge: Judge, locked_labels: Sequence[GameLabel]) -> ReportRow:
    judgments = run_blocking(trivial_judge.score(list(map(label_sample, locked_labels))))
    figures_row = locked_row(
        trivial_judge.name, locked_labels, [judgment.value for judgment in judgments], trivial_judge.scale
    )
    return ReportRow(trivial_judge.name, None, None, None, None, figures_row)
