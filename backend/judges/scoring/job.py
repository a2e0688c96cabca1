"""Scoring as a job: what it reports while it runs, and its budget over several attempts."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.core.processes import RUN_FOLDER_VARIABLE
from backend.core.stored_records import read_record
from backend.jobs.messages import RUN_ENDED
from backend.judges.constancy import warning_message
from backend.judges.scoring.records import (
    SCORING_STARTED,
    ScoreProgress,
    ScoreRequest,
    ScoringRunState,
    progress_message,
)
from backend.judges.scoring.service import ScoringService
from backend.llm.budget import Budget
from backend.runs.attempt import JobAttempt, JobOutcome

USED_FILE = "used.json"


class ScoringJob:
    """Runs the scoring that a job asks for."""

    def __init__(self, scoring_service: ScoringService) -> None:
        self._scoring_service = scoring_service

    def play(self, job_attempt: JobAttempt, job_config: Mapping[str, Any]) -> JobOutcome:
        """Score until the end, as `backend.runs.attempt.run_job` asks; a failure is in the outcome.

        Raises UserError for a judge or a target that cannot be.
        """
        request = read_record(ScoreRequest, job_config)
        used_budget, report = UsedBudget(_used_file()), job_attempt.report
        target = request.target
        report.log(SCORING_STARTED.fill(judge=request.spec.name, kind=target.kind.value, target=target.name))

        def report_progress(progress: ScoreProgress) -> None:
            report.progress(progress.share, progress_message(progress))
            used_budget.write(progress)

        final_progress = self._scoring_service.run(
            request, report_progress, job_attempt.should_stop, used_budget.read()
        )
        job_attempt.is_stopped = final_progress.state is ScoringRunState.STOPPED
        report.metric(final_progress.scored + final_progress.unscored, **_collect_metrics(final_progress))
        closing_messages = [RUN_ENDED.fill(state=final_progress.state.value, figures=final_progress.summary_line())]
        if final_progress.notice is not None:
            closing_messages.append(warning_message(final_progress.notice))
        has_failed = final_progress.state is ScoringRunState.FAILED
        return JobOutcome(tuple(closing_messages), final_progress.error if has_failed else None)


def _used_file() -> Path | None:
    """Where the figures lie; None for a job that is run by hand, which has no folder."""
    return Path(os.environ[RUN_FOLDER_VARIABLE]) / USED_FILE if RUN_FOLDER_VARIABLE in os.environ else None


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
                # Without it a job that is paused and resumed would have its whole budget again each time.
                budget.call_count, budget.token_count, budget.total_cost = (
                    stored_figures["calls"],
                    stored_figures["tokens"],
                    stored_figures["cost"],
                )
        return budget

    def write(self, progress: ScoreProgress) -> None:
        """Note what was used so far."""
        if self._file_path is not None:
            # Replaced in one piece: a kill in the middle must not leave half a file, which would count as
            # nothing used.
            temporary_file = self._file_path.with_suffix(".new")
            used_figures = {"calls": progress.calls, "tokens": progress.tokens, "cost": progress.cost}
            temporary_file.write_text(json.dumps(used_figures), "utf-8")
            temporary_file.replace(self._file_path)


def _collect_metrics(progress: ScoreProgress) -> dict[str, float]:
    figure_names = ("scored", "unscored", "cached", "calls", "tokens", "cost", "seconds")
    return {figure_name: float(getattr(progress, figure_name)) for figure_name in figure_names}
