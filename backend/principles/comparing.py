"""Versions side by side: two S_D on any label set as a job, and one report over runs on the same labels."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backend.core.enums import Agent
from backend.core.errors import Conflict, UserError
from backend.core.text import digest
from backend.db.engine import Database
from backend.db.principle_tables import PrincipleComparison
from backend.db.queries import get_or_not_found
from backend.jobs.service import JobService
from backend.judges.base import Judge
from backend.judges.context import JudgeContext
from backend.judges.scoring.run import run_blocking
from backend.judges.scoring.service import ScoringService
from backend.principles import store
from backend.principles.algorithm import gate
from backend.principles.algorithm.game_run import label_sample
from backend.principles.algorithm.labels import GameLabel
from backend.principles.algorithm.locked import BEST_ROW, REWRITE_ROW, START_ROW, locked_row
from backend.principles.algorithm.rules import RuleSet
from backend.principles.algorithm.state import refuse_unavailable
from backend.principles.archive import PrincipleArchive
from backend.principles.dealing import read_labels, read_partitions
from backend.principles.locked_uses import LockedSetUses, uses_before
from backend.principles.records import ComparisonInfo, RunInfo
from backend.principles.setup import detector_builder

JOB_KIND = "principles"
# Labels of a larger set that are read, chosen by hash.
# Both versions read each, so a comparison asks at most twice as many calls.
MAX_LABELS = 1_000


class Comparisons:
    """Makes, plays and shows comparisons."""

    def __init__(
        self,
        database: Database,
        jobs: JobService,
        archive: PrincipleArchive,
        build_context: Callable[[], JudgeContext],
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._archive = archive
        self._build_context = build_context

    def create(
        self, first_id: int, second_id: int, dataset_name: str, endpoint_name: str | None = None
    ) -> ComparisonInfo:
        """A comparison that has not begun. Raises UserError for what cannot be compared."""
        for version_id in (first_id, second_id):
            # Only for what it raises: an S_G or a version without rules is refused before anything is stored.
            self._archive.spec(version_id, "compared")
        with self._database.read() as session:
            if not read_labels(session, dataset_name)[0]:
                raise UserError(f"“{dataset_name}” has no labels.", f"“{dataset_name}”没有标签。")
        chosen_endpoint = self._build_context().endpoint(endpoint_name).name
        with self._database.write() as session:
            comparison_row = PrincipleComparison(
                first_id=first_id, second_id=second_id, dataset=dataset_name, endpoint=chosen_endpoint
            )
            session.add(comparison_row)
            session.flush()
            return _comparison_info(comparison_row)

    def submit(
        self, first_id: int, second_id: int, dataset_name: str, endpoint_name: str | None = None
    ) -> ComparisonInfo:
        """A comparison as a job. Raises UserError."""
        # The row first, since the job names it; a job that starts before the row names it back finds all it
        # needs.
        created_info = self.create(first_id, second_id, dataset_name, endpoint_name)
        comparison_job = self._jobs.submit(JOB_KIND, {"compare": created_info.id})
        with self._database.write() as session:
            comparison_row = session.get_one(PrincipleComparison, created_info.id)
            comparison_row.job_id = comparison_job.id
            return _comparison_info(comparison_row)

    def comparison(self, comparison_id: int) -> ComparisonInfo:
        """One comparison. Raises NotFound."""
        with self._database.read() as session:
            sentences = f"There is no comparison {comparison_id}.", f"没有编号为 {comparison_id} 的对比。"
            return _comparison_info(get_or_not_found(session, PrincipleComparison, comparison_id, *sentences))

    def play(self, comparison_id: int, is_stopped: Callable[[], bool] = lambda: False) -> ComparisonInfo:
        """Let both read the labels in this process. Raises UserError; what was asked is in the ledger."""
        comparison_info = self.comparison(comparison_id)
        # A job that is resumed after its result was stored asks nothing again.
        if comparison_info.result is not None:
            return comparison_info
        with self._database.read() as session:
            all_labels, _ = read_labels(session, comparison_info.dataset)
        # By hash of the texts: the same labels in every home, whatever the order in which they were imported.
        chosen_labels = sorted(all_labels, key=lambda one: digest("compare", one.prompt, one.greeting))[:MAX_LABELS]
        detector_values = run_blocking(self._detector_values(comparison_info, chosen_labels, is_stopped))
        comparison_result = {
            "labels": len(chosen_labels),
            "rows": [
                locked_row(f"v{comparison_info.first}", chosen_labels, detector_values[0]),
                locked_row(f"v{comparison_info.second}", chosen_labels, detector_values[1]),
            ],
            "change": asdict(gate.compare_values(chosen_labels, *detector_values)),
        }
        with self._database.write() as session:
            session.get_one(PrincipleComparison, comparison_id).result = comparison_result
        return self.comparison(comparison_id)

    async def _detector_values(
        self, comparison_info: ComparisonInfo, chosen_labels: list[GameLabel], is_stopped: Callable[[], bool]
    ) -> list[list[float | None]]:
        context = self._build_context()
        build_judge = detector_builder(context, comparison_info.endpoint)
        rule_sets: list[RuleSet] = [
            self._archive.version(version_id).rules for version_id in (comparison_info.first, comparison_info.second)
        ]
        detector_values = []
        try:
            for rule_set in rule_sets:
                # Looked at between the two readings; what the first one asked lies in the ledger and costs
                # nothing again.
                if is_stopped():
                    context.stop()
                judgments = await build_judge(rule_set).score(list(map(label_sample, chosen_labels)))
                refuse_unavailable(
                    ((judgment.details or {}).get("failure", "") for judgment in judgments), Agent.DETECTOR
                )
                detector_values.append([judgment.value for judgment in judgments])
        finally:
            await context.close()
        return detector_values


def _comparison_info(comparison_row: PrincipleComparison) -> ComparisonInfo:
    return ComparisonInfo(
        comparison_row.id,
        comparison_row.first_id,
        comparison_row.second_id,
        comparison_row.dataset,
        comparison_row.endpoint,
        comparison_row.result,
        comparison_row.job_id,
    )


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
        # A run that is named twice is one row.
        run_infos = [store.load_run_info(session, run_id) for run_id in dict.fromkeys(run_ids)]
        _check_runs(run_infos)
        # Runs in one report have the same deal, so the locked set of the first is that of all.
        locked_labels = read_partitions(session, store.require_run(session, run_infos[0].id).labels).locked
        uses_by_run = {run_info.id: uses_before(session, run_info.id) for run_info in run_infos}
    first_info = run_infos[0]
    report_rows = [_baseline_row(START_ROW, first_info, first_info.detector)]
    # Rewriting can be switched off, so the first run that has the row stands for all.
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
        # Read anew instead of stored: baselines ask no model, and so cost nothing.
        *(_trivial_row(trivial_judge, locked_labels) for trivial_judge in scoring.trivial_judges()),
    ]


def stored_report(run_info: RunInfo) -> list[ReportRow]:
    """The rows that the run itself kept, before the fitted baselines join them; none before its locked set is open."""
    stored_rows = (run_info.locked or {}).get("rows", ())
    version_ids = {BEST_ROW: run_info.best, START_ROW: run_info.detector}
    return [
        ReportRow(
            run_info.settings.search.value if stored_row["name"] == BEST_ROW else stored_row["name"],
            run_info.id,
            version_ids.get(stored_row["name"]),
            run_info.calls if stored_row["name"] == BEST_ROW else None,
            run_info.cost if stored_row["name"] == BEST_ROW else None,
            dict(stored_row),
        )
        for stored_row in stored_rows
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
        # With the judge's own scale: its numbers are no verdicts, and the threshold for accuracy is learnt.
        trivial_judge.name,
        locked_labels,
        [judgment.value for judgment in judgments],
        trivial_judge.scale,
    )
    return ReportRow(trivial_judge.name, None, None, None, None, figures_row)
