"""A run as a job: progress into its row, its wishes obeyed."""

from backend.db.engine import Database
from backend.errors import UserError
from backend.jobs.outcome import STOPPED
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.judges.constancy import warning_line
from backend.pairs.records import PairProgress
from backend.pairs.service import PairService
from backend.scoring.records import RunState


def run_job(database: Database, jobs: JobService, pairs: PairService, job_id: int) -> int:
    """Run job `job_id`; the exit code. Raises UserError for what ends the run, after telling the row."""
    wish = jobs.job(job_id).config.get("run")
    with JobReport(database, job_id) as report:
        if not isinstance(wish, int):
            raise UserError("The job names no run.", "任务没有指定批次。")
        run = pairs.one(wish)
        report.log(f"run {run.id} “{run.name}”")

        def told(progress: PairProgress) -> None:
            report.progress(progress.share, _told(progress))

        final = pairs.run(run.id, told, report.stop_requested)
        funnel = pairs.funnel(run.id)
        report.metric(
            final.written, pairs=funnel.pairs, calls=final.calls, tokens=final.tokens, cost=final.cost
        )
        report.log(f"{final.state}: {final.line()}")
        if funnel.notice is not None:
            report.log(warning_line(funnel.notice))
    return STOPPED if final.state is RunState.STOPPED else 0


def _told(progress: PairProgress) -> str:
    if progress.state is RunState.BUDGET:
        return f"budget used up / 预算用完 · {progress.line()}"
    return progress.line()
