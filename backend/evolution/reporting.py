"""One report over runs on the same labels: where they began, a plain rewriting, what each search found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.db.engine import Database
from backend.errors import Conflict, UserError
from backend.evolution import runs
from backend.evolution.labels import read_deal
from backend.evolution.records import RunInfo
from backend.evolution.uses import Uses, uses_before
from backend.judges.base import Judge
from backend.principles.labels import Label
from backend.principles.locked import BEST, REWRITE, START, row_of
from backend.principles.table import sample_of
from backend.scoring.blocking import blocking
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
    uses: Uses | None = None


def report(database: Database, scoring: ScoringService, run_ids: Sequence[int]) -> list[ReportRow]:
    """The rows. Raises UserError for runs that are not over, and for runs on different labels."""
    with database.read() as session:
        infos = [runs.info(session, run_id) for run_id in dict.fromkeys(run_ids)]
        _check(infos)
        labels = read_deal(session, runs.row(session, infos[0].id).labels).locked
        uses = {info.id: uses_before(session, info.id) for info in infos}
    first = infos[0]
    rows = [_row(START, first, first.detector)]
    rewriting = next((info for info in infos if _figures(info, REWRITE)), None)
    if rewriting is not None:
        rows.append(_row(REWRITE, rewriting, None))
    rows += [
        ReportRow(
            info.settings.search.value,
            info.id,
            info.best,
            info.calls,
            info.cost,
            _figures(info, BEST),
            uses[info.id],
        )
        for info in infos
    ]
    return [*rows, *(_trivial(judge, labels) for judge in scoring.trivial())]


def _check(infos: Sequence[RunInfo]) -> None:
    if not infos:
        raise UserError("Name at least one run.", "请至少指定一次运行。")
    unfinished = next((info.id for info in infos if info.locked is None), None)
    if unfinished is not None:
        raise Conflict(
            f"Run {unfinished} has not opened the locked set yet; let it finish first.",
            f"运行 {unfinished} 还没有用到封存集，请等它结束。",
        )
    other = next((info.id for info in infos if info.labels_hash != infos[0].labels_hash), None)
    if other is not None:
        raise UserError(
            f"Runs {infos[0].id} and {other} have different labels; one report needs the same ones.",
            f"运行 {infos[0].id} 与 {other} 的标签不同，同一份报告需要相同的标签。",
        )


def _row(name: str, info: RunInfo, version: int | None) -> ReportRow:
    return ReportRow(name, info.id, version, None, None, _figures(info, name))


def _figures(info: RunInfo, name: str) -> dict[str, Any]:
    assert info.locked is not None
    return next((dict(row) for row in info.locked["rows"] if row["name"] == name), {})


def _trivial(judge: Judge, labels: Sequence[Label]) -> ReportRow:
    drafts = blocking(judge.score(list(map(sample_of, labels))))
    figures = row_of(judge.name, labels, [draft.value for draft in drafts], judge.scale)
    return ReportRow(judge.name, None, None, None, None, figures)
