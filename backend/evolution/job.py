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
from backend.principles.vocabulary import Phase, RunState


def run_job(database: Database, jobs: JobService, evolution: EvolutionService, job_id: int) -> int:
    """Run job `job_id`; the exit code. Raises UserError for what ends it, after telling the row."""
    config = jobs.job(job_id).config
    with JobReport(database, job_id) as report:
        if "compare" in config:
            evolution.comparisons.play(int(config["compare"]), report.stop_requested)
            return 0
        if not isinstance(config.get("run"), int):
            raise UserError("The job names no run.", "任务没有指定运行。")
        report.log(f"run {config['run']}")
        final = evolution.play(
            config["run"],
            lambda info: report.progress(share(info), line(info)),
            report.stop_requested,
        )
        report.progress(share(final), line(final))
        report.log(f"{final.state}: {line(final)}")
        if notice := constant_detector(evolution.steps(config["run"])):
            report.log(warning_line(notice))
    return STOPPED if final.state is RunState.PAUSED else 0


def share(info: RunInfo) -> float:
    """How far a run is, from 0 to 1: rounds and the phases of the present one."""
    if info.state is RunState.DONE:
        return 1.0
    number, _, phase = info.told.partition(".")
    if not phase:
        return 0.0
    order = list(Phase)
    if phase in (Phase.REWRITE, Phase.LOCKED):
        return 0.95
    within = order.index(Phase(phase)) / len(order)
    return 0.95 * max(0.0, int(number) - 1 + within) / info.settings.rounds


def line(info: RunInfo) -> str:
    """How a run stands, in figures."""
    if info.state is RunState.WAITING:
        return info.told
    where = info.told.replace(".", " · ") if info.told else ""
    figures = f"{info.accepted} + / {info.rejected} −, {info.calls:,} calls, cost {info.cost:.4f}"
    return " · ".join(filter(None, [info.state.value, where, figures]))
