"""A run, or a comparison, as a job: progress into its row, its wishes obeyed."""

from backend.db.engine import Database
from backend.errors import UserError
from backend.evolution.records import RunInfo
from backend.evolution.service import EvolutionService
from backend.evolution.told import constant_detector
from backend.jobs.outcome import STOPPED
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.judges.constancy import warning_line
from backend.principles.vocabulary import GamePhase, RunState


def run_job(database: Database, jobs: JobService, evolution: EvolutionService, job_id: int) -> int:
    """Run job `job_id`; the exit code. Raises UserError for what ends it, after telling the row."""
    job_config = jobs.job(job_id).config
    with JobReport(database, job_id) as job_report:
        if "compare" in job_config:
            evolution.comparisons.play(int(job_config["compare"]), job_report.stop_requested)
            return 0
        if not isinstance(job_config.get("run"), int):
            raise UserError("The job names no run.", "任务没有指定运行。")
        job_report.log(f"run {job_config['run']}")
        final_info = evolution.play(
            job_config["run"],
            lambda info: job_report.progress(progress_share(info), status_line(info)),
            job_report.stop_requested,
        )
        job_report.progress(progress_share(final_info), status_line(final_info))
        job_report.log(f"{final_info.state}: {status_line(final_info)}")
        if constant_notice := constant_detector(evolution.steps(job_config["run"])):
            job_report.log(warning_line(constant_notice))
    return STOPPED if final_info.state is RunState.PAUSED else 0


def progress_share(run_info: RunInfo) -> float:
    """How far a run is, from 0 to 1: rounds and the phases of the present one."""
    if run_info.state is RunState.DONE:
        return 1.0
    round_number, _, game_phase = run_info.told.partition(".")
    if not game_phase:
        return 0.0
    phase_order = list(GamePhase)
    if game_phase in (GamePhase.REWRITE, GamePhase.LOCKED):
        return 0.95
    phase_share = phase_order.index(GamePhase(game_phase)) / len(phase_order)
    return 0.95 * max(0.0, int(round_number) - 1 + phase_share) / run_info.settings.rounds


def status_line(run_info: RunInfo) -> str:
    """How a run stands, in figures."""
    if run_info.state is RunState.WAITING:
        return run_info.told
    position = run_info.told.replace(".", " · ") if run_info.told else ""
    figures_text = f"{run_info.accepted} + / {run_info.rejected} −, {run_info.calls:,} calls, cost {run_info.cost:.4f}"
    return " · ".join(filter(None, [run_info.state.value, position, figures_text]))
