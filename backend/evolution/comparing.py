"""Two S_D on any label set: a job, since each of them reads every label."""

from collections.abc import Callable
from dataclasses import asdict

from backend.db.engine import Database
from backend.db.principle_tables import PrincipleComparison
from backend.errors import NotFound, UserError
from backend.evolution.archive import PrincipleArchive
from backend.evolution.labels import read_labels
from backend.evolution.players import detector_builder
from backend.evolution.records import ComparisonInfo
from backend.jobs.service import JobService
from backend.principles import gate
from backend.principles.labels import GameLabel
from backend.principles.locked import locked_row
from backend.principles.lost import refuse_unavailable
from backend.principles.rules import RuleSet
from backend.principles.table import label_sample
from backend.principles.vocabulary import Agent
from backend.scoring.blocking import run_blocking
from backend.scoring.house import DatabaseJudgeContext
from backend.text import digest

JOB_KIND = "principles"
MAX_LABELS = 1_000
"""Labels of a larger set that are read, chosen by hash."""


class Comparisons:
    """Makes, plays and shows comparisons."""

    def __init__(
        self,
        database: Database,
        jobs: JobService,
        archive: PrincipleArchive,
        build_context: Callable[[], DatabaseJudgeContext],
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
        created_info = self.create(first_id, second_id, dataset_name, endpoint_name)
        comparison_job = self._jobs.submit(JOB_KIND, {"compare": created_info.id})
        with self._database.write() as session:
            comparison_row = session.get_one(PrincipleComparison, created_info.id)
            comparison_row.job_id = comparison_job.id
            return _comparison_info(comparison_row)

    def comparison(self, comparison_id: int) -> ComparisonInfo:
        """One comparison. Raises NotFound."""
        with self._database.read() as session:
            comparison_row = session.get(PrincipleComparison, comparison_id)
            if comparison_row is None:
                raise NotFound(f"There is no comparison {comparison_id}.", f"没有编号为 {comparison_id} 的对比。")
            return _comparison_info(comparison_row)

    def play(self, comparison_id: int, is_stopped: Callable[[], bool] = lambda: False) -> ComparisonInfo:
        """Let both read the labels in this process. Raises UserError; what was asked is in the ledger."""
        comparison_info = self.comparison(comparison_id)
        if comparison_info.result is not None:
            return comparison_info
        with self._database.read() as session:
            all_labels, _ = read_labels(session, comparison_info.dataset)
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
