"""A scoring run as a job: progress into its row, its wishes obeyed, its budget kept over every attempt."""

import json
import os
from contextlib import suppress
from pathlib import Path

from backend.db.engine import Database
from backend.errors import UserError
from backend.jobs.outcome import STOPPED
from backend.jobs.processes import MARK
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.judges.constancy import warning_line
from backend.llm.budget import Budget
from backend.scoring.records import WARNING, RunState, ScoreProgress, ScoreRequest
from backend.scoring.service import ScoringService

USED = "used.json"


def run_job(database: Database, jobs: JobService, scoring: ScoringService, job_id: int) -> int:
    """Run job `job_id`; the exit code. Raises UserError for what ends the run, after telling the row."""
    request = ScoreRequest.read(jobs.job(job_id).config)
    used = Used(Path(os.environ[MARK]) / USED if MARK in os.environ else None)
    with JobReport(database, job_id) as report:
        report.log(f"judge {request.spec.name}, target {request.target.kind} {request.target.name}")

        def told(progress: ScoreProgress) -> None:
            report.progress(progress.share, _told(progress))
            used.write(progress)

        final = scoring.run(request, told, report.stop_requested, used.read())
        report.metric(final.scored + final.unscored, **_metrics(final))
        report.log(f"{final.state}: {final.line()}")
        if final.notice is not None:
            report.log(warning_line(final.notice))
        if final.state is RunState.FAILED and final.error is not None:
            raise UserError(final.error.en, final.error.zh)
    return STOPPED if final.state is RunState.STOPPED else 0


class Used:
    """What earlier attempts of the job used of its budget, in the folder of the run."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> Budget:
        """A budget without caps that holds what was used."""
        used = Budget()
        if self._path is not None:
            with suppress(FileNotFoundError, ValueError, KeyError):
                stored = json.loads(self._path.read_text("utf-8"))
                used.calls, used.tokens, used.cost = stored["calls"], stored["tokens"], stored["cost"]
        return used

    def write(self, progress: ScoreProgress) -> None:
        """Note what was used so far."""
        if self._path is not None:
            draft = self._path.with_suffix(".new")
            stored = {"calls": progress.calls, "tokens": progress.tokens, "cost": progress.cost}
            draft.write_text(json.dumps(stored), "utf-8")
            draft.replace(self._path)


def _told(progress: ScoreProgress) -> str:
    ended = "budget used up / 预算用完 · " if progress.state is RunState.BUDGET else ""
    notice = f"{WARNING}{progress.notice.zh} | {progress.notice.en}" if progress.notice else ""
    return f"{ended}{progress.line()}{notice}"


def _metrics(progress: ScoreProgress) -> dict[str, float]:
    names = ("scored", "unscored", "cached", "calls", "tokens", "cost", "seconds")
    return {name: float(getattr(progress, name)) for name in names}
