"""A run as a job: progress into its row, its wishes obeyed."""

from backend.db.engine import Database
from backend.errors import UserError
from backend.jobs.outcome import STOPPED
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.judges.constancy import warning_line
from backend.pairs.records import PairProgress
from backend.pairs.service import PairService
from backend.scoring.records import ScoringRunState


def run_pairs_job(database: Database, jobs: JobService, pairs: PairService, job_id: int) -> int:
    """Run job `job_id`; the exit code. Raises UserError for what ends the run, after telling the row."""
    requested_run = jobs.job(job_id).config.get("run")
    with JobReport(database, job_id) as job_report:
        if not isinstance(requested_run, int):
            raise UserError("The job names no run.", "任务没有指定批次。")
        run_info = pairs.find_run(requested_run)
        job_report.log(f"run {run_info.id} “{run_info.name}”")

        def report_progress(progress: PairProgress) -> None:
            job_report.progress(progress.share, _status_message(progress))

        final_progress = pairs.run(run_info.id, report_progress, job_report.stop_requested)
        run_funnel = pairs.funnel(run_info.id)
        job_report.metric(
            final_progress.written,
            pairs=run_funnel.pairs,
            calls=final_progress.calls,
            tokens=final_progress.tokens,
            cost=final_progress.cost,
        )
        job_report.log(f"{final_progress.state}: {final_progress.line()}")
        if run_funnel.notice is not None:
            job_report.log(warning_line(run_funnel.notice))
    return STOPPED if final_progress.state is ScoringRunState.STOPPED else 0


def _status_message(progress: PairProgress) -> str:
    if progress.state is ScoringRunState.BUDGET:
        return f"budget used up / 预算用完 · {progress.line()}"
    return progress.line()
