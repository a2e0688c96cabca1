"""A scoring run as a job: progress into its row, its wishes obeyed, its budget kept over every attempt."""

import json
import os
from contextlib import suppress
from pathlib import Path

from backend.db.engine import Database
from backend.errors import UserError
from backend.jobs.outcome import STOPPED
from backend.jobs.processes import RUN_FOLDER_VARIABLE
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.judges.constancy import warning_line
from backend.llm.budget import Budget
from backend.scoring.records import WARNING_SEPARATOR, ScoreProgress, ScoreRequest, ScoringRunState
from backend.scoring.service import ScoringService

USED_FILE = "used.json"


def run_job(database: Database, job_service: JobService, scoring_service: ScoringService, job_id: int) -> int:
    """Run job `job_id`; the exit code. Raises UserError for what ends the run, after telling the row."""
    request = ScoreRequest.read(job_service.job(job_id).config)
    used_budget = UsedBudget(
        Path(os.environ[RUN_FOLDER_VARIABLE]) / USED_FILE if RUN_FOLDER_VARIABLE in os.environ else None
    )
    with JobReport(database, job_id) as job_report:
        job_report.log(f"judge {request.spec.name}, target {request.target.kind} {request.target.name}")

        def report_progress(progress: ScoreProgress) -> None:
            job_report.progress(progress.share, _progress_text(progress))
            used_budget.write(progress)

        final_progress = scoring_service.run(request, report_progress, job_report.stop_requested, used_budget.read())
        job_report.metric(final_progress.scored + final_progress.unscored, **_collect_metrics(final_progress))
        job_report.log(f"{final_progress.state}: {final_progress.summary_line()}")
        if final_progress.notice is not None:
            job_report.log(warning_line(final_progress.notice))
        if final_progress.state is ScoringRunState.FAILED and final_progress.error is not None:
            raise UserError(final_progress.error.en, final_progress.error.zh)
    return STOPPED if final_progress.state is ScoringRunState.STOPPED else 0


class UsedBudget:
    """What earlier attempts of the job used of its budget, in the folder of the run."""

    def __init__(self, file_path: Path | None) -> None:
        self._file_path = file_path

    def read(self) -> Budget:
        """A budget without caps that holds what was used."""
        budget = Budget()
        if self._file_path is not None:
            with suppress(FileNotFoundError, ValueError, KeyError):
                stored_figures = json.loads(self._file_path.read_text("utf-8"))
                budget.call_count, budget.token_count, budget.total_cost = (
                    stored_figures["calls"],
                    stored_figures["tokens"],
                    stored_figures["cost"],
                )
        return budget

    def write(self, progress: ScoreProgress) -> None:
        """Note what was used so far."""
        if self._file_path is not None:
            temporary_file = self._file_path.with_suffix(".new")
            used_figures = {"calls": progress.calls, "tokens": progress.tokens, "cost": progress.cost}
            temporary_file.write_text(json.dumps(used_figures), "utf-8")
            temporary_file.replace(self._file_path)


def _progress_text(progress: ScoreProgress) -> str:
    ending_text = "budget used up / 预算用完 · " if progress.state is ScoringRunState.BUDGET else ""
    notice_text = f"{WARNING_SEPARATOR}{progress.notice.zh} | {progress.notice.en}" if progress.notice else ""
    return f"{ending_text}{progress.summary_line()}{notice_text}"


def _collect_metrics(progress: ScoreProgress) -> dict[str, float]:
    figure_names = ("scored", "unscored", "cached", "calls", "tokens", "cost", "seconds")
    return {figure_name: float(getattr(progress, figure_name)) for figure_name in figure_names}
