"""The game as pages, commands and jobs see it: start, go on, watch, confirm, replay, compare."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import select

from backend.core.enums import Agent, GamePhase, Role, RunState
from backend.core.errors import Conflict, NotFound, UserError
from backend.core.stored_records import read_record, stored_json
from backend.db.base import insert_ignore
from backend.db.engine import Database
from backend.db.principle_tables import PrincipleAnswer, PrincipleRun, PrincipleStep
from backend.generation.generators import GeneratorService, is_policy_name
from backend.jobs.messages import FIGURES, RUN_ENDED, RUN_STARTED
from backend.jobs.outcome import STOPPED
from backend.jobs.records import JobInfo
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.judges.constancy import warning_message
from backend.judges.context import DatabaseJudgeContext
from backend.judges.scoring.service import ScoringService
from backend.llm.endpoints import EndpointService
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import Endpoint
from backend.principles import dealing
from backend.principles import store as rows
from backend.principles.algorithm.settings import GameSettings
from backend.principles.archive import PrincipleArchive, check_signature
from backend.principles.comparing import Comparisons, ReportRow, build_report
from backend.principles.locked_uses import LockedSetUses, count_uses, uses_before
from backend.principles.playing import RunPlayer
from backend.principles.records import OpenCase, RunCostEstimate, RunInfo, RunRequest, StepInfo
from backend.principles.replay import ReplayResult
from backend.principles.rulings import constant_detector
from backend.principles.setup import GameContextFactory, estimate_run
from backend.runs.lock import held_elsewhere_error, not_a_job_error, not_running_error

JOB_KIND = "principles"


class EvolutionService:
    """Runs of the game, each resumable at any moment; `archive` holds what they found."""

    def __init__(
        self,
        database: Database,
        endpoints: EndpointService,
        scoring: ScoringService,
        jobs: JobService,
        generators: GeneratorService,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._generators = generators
        self._scoring = scoring
        self._build_context = GameContextFactory(endpoints, generators, retry_policy)
        self.archive = PrincipleArchive(database, scoring)
        self._player = RunPlayer(database, endpoints, self._build_context, self.archive)
        self.comparisons = Comparisons(database, jobs, self.archive, self._build_context)

    def estimate(self, request: RunRequest) -> RunCostEstimate:
        """What a run may take at most, and its labels. Raises UserError for what cannot be run."""
        context, settings = self._build_context(), _effective_settings(request)
        agent_endpoints = self._endpoints(request)
        with self._database.read() as session:
            partitions = dealing.load_partitions(session, request.dataset, settings.gate, settings.locked)
            locked_uses = count_uses(session, request.dataset, {label.id for label in partitions.locked})
        priced_endpoints = {agent: _priced_endpoint(context, agent_endpoints[agent]["name"]) for agent in Agent}
        return replace(estimate_run(settings, partitions, priced_endpoints), uses=locked_uses)

    def create(self, request: RunRequest) -> RunInfo:
        """A run that has not begun. Raises UserError for labels or endpoints that do not suffice."""
        agent_endpoints = self._endpoints(request)
        first_versions = {
            agent_role: self._first_version(agent_role, chosen_id)
            for agent_role, chosen_id in _chosen_versions(request).items()
        }
        settings = _effective_settings(request)
        with self._database.read() as session:
            partitions = dealing.load_partitions(session, request.dataset, settings.gate, settings.locked)
        with self._database.write() as session:
            run_row = PrincipleRun(
                dataset=request.dataset,
                settings=stored_json(settings),
                endpoints=agent_endpoints,
                caps=dict(request.caps),
                labels=dealing.plain_partitions(partitions),
                labels_hash=dealing.partitions_hash(partitions),
                detector_id=first_versions[Role.DETECTOR],
                generator_id=first_versions[Role.GENERATOR],
            )
            session.add(run_row)
            session.flush()
            run_id = run_row.id
        return self.run(run_id)

    def submit(self, request: RunRequest) -> RunInfo:
        """A run as a job. Raises UserError."""
        return self.queue(self.create(request).id)

    def fork(
        self,
        version_id: int,
        dataset_name: str,
        round_count: int | None = None,
        endpoint_name: str | None = None,
    ) -> RunInfo:
        """A new run, as a job, that begins with a version. Raises UserError."""
        agent_role = self.archive.version(version_id).role
        settings = read_record(GameSettings, {"rounds": round_count})
        first_version = {"detector" if agent_role is Role.DETECTOR else "generator": version_id}
        return self.submit(RunRequest(dataset_name, settings, dict.fromkeys(Agent, endpoint_name), **first_version))

    def resume(self, run_id: int, **caps: float | None) -> RunInfo:
        """Go on with a run as a job; caps that are given replace the old ones. Raises UserError."""
        self.raise_caps(run_id, **caps)
        return self.queue(run_id)

    def raise_caps(self, run_id: int, **caps: float | None) -> None:
        """Replace the caps that are given. Raises Conflict for a run that is over or in the works."""
        new_caps = {cap_name: cap_value for cap_name, cap_value in caps.items() if cap_value is not None}
        run_info = self.run(run_id)
        if run_info.state is RunState.DONE:
            raise Conflict(f"Run {run_id} is over.", f"运行 {run_id} 已经结束。")
        self._refuse_second(run_info)
        if new_caps:
            with self._database.write() as session:
                rows.require_run(session, run_id).caps = {**run_info.caps, **new_caps}

    def queue(self, run_id: int) -> RunInfo:
        """Queue the run as a new job. Raises Conflict where it is in the works already."""
        self._refuse_second(self.run(run_id))
        queued_job = self._jobs.submit(JOB_KIND, {"run": run_id})
        with self._database.write() as session:
            run_row = rows.require_run(session, run_id)
            run_row.job_id, run_row.state = queued_job.id, RunState.QUEUED
            run_row.error_en = run_row.error_zh = None
        return self.run(run_id)

    def pause(self, run_id: int) -> RunInfo:
        """Let the run stop, whoever plays it; what is finished is kept. Raises Conflict where nobody does."""
        run_info = self.run(run_id)
        active_job = self._active_job(run_info)
        if active_job is not None:
            self._jobs.pause(active_job.id)
        elif run_info.playing is not None:
            with self._database.write() as session:
                rows.require_run(session, run_id).stop_wished = True
        else:
            raise not_running_error(rows.GAME_TABLE, run_id)
        return self.run(run_id)

    def cancel(self, run_id: int) -> RunInfo:
        """End the run's job; the run can be resumed later. Raises Conflict where it has none that runs."""
        run_info = self.run(run_id)
        active_job = self._active_job(run_info)
        if active_job is None and run_info.playing is not None:
            raise not_a_job_error(rows.GAME_TABLE, run_id, run_info.playing)
        if active_job is None:
            raise not_running_error(rows.GAME_TABLE, run_id)
        self._jobs.cancel(active_job.id)
        return self.run(run_id)

    def play(
        self,
        run_id: int,
        report_progress: Callable[[RunInfo], None] = lambda _: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> RunInfo:
        """Play in this process until the run is over, its budget is used up, it is stopped, or it waits.

        Raises UserError for what it cannot go on with; the run then is failed and can be resumed. Raises
        Conflict where another process plays it, which goes on undisturbed.
        """
        return self._player.play(run_id, report_progress, is_stopped)

    def replay(self, run_id: int) -> ReplayResult:
        """The run once more from the ledger, asking nothing. Raises UserError for one that is not over."""
        run_info = self.run(run_id)
        if run_info.state is not RunState.DONE:
            raise Conflict(
                f"Run {run_id} is not over; only a finished run can be replayed.",
                f"运行 {run_id} 还没有结束，只有完成的运行才能重放。",
            )
        return self._player.replay(run_id)

    def report(self, run_ids: Sequence[int]) -> list[ReportRow]:
        """Runs on the same labels in one table, beside the baselines. Raises UserError."""
        return build_report(self._database, self._scoring, run_ids)

    def uses(self, run_id: int) -> LockedSetUses:
        """Who read the locked labels of a run before it did. Raises NotFound."""
        self.run(run_id)
        with self._database.read() as session:
            return uses_before(session, run_id)

    def runs(self, limit: int = 50) -> list[RunInfo]:
        """The newest runs first."""
        with self._database.read() as session:
            return rows.load_run_infos(session, limit=limit)

    def run(self, run_id: int) -> RunInfo:
        """One run. Raises NotFound."""
        with self._database.read() as session:
            return rows.load_run_info(session, run_id)

    def job(self, run_id: int) -> JobInfo | None:
        """The newest job of a run."""
        run_info = self.run(run_id)
        return self._jobs.job(run_info.job) if run_info.job else None

    def steps(self, run_id: int, after_id: int = 0) -> list[StepInfo]:
        """Finished phases with an id above `after`, in order."""
        with self._database.read() as session:
            step_rows = session.scalars(
                select(PrincipleStep)
                .where(PrincipleStep.run_id == run_id, PrincipleStep.id > after_id)
                .order_by(PrincipleStep.id)
            )
            return [
                StepInfo(
                    step_row.id,
                    step_row.round,
                    step_row.phase,
                    step_row.data,
                    step_row.calls,
                    step_row.cost,
                    step_row.created_at,
                )
                for step_row in step_rows
            ]

    def open_cases(self, run_id: int) -> list[OpenCase]:
        """Planted flaws of a waiting run that no person has confirmed or refuted."""
        with self._database.read() as session:
            return rows.open_cases(session, run_id)

    def answer(
        self,
        run_id: int,
        round_number: int,
        game_phase: str,
        case_number: int,
        is_present: bool,
        person_name: str,
    ) -> RunInfo:
        """What a person says of a planted flaw; with the last one the run goes on by itself.

        Raises UserError for a case that is not open, and without a name.
        """
        signed_name, _ = check_signature(person_name, "-")
        open_keys = {(open_case.round, open_case.phase, open_case.number) for open_case in self.open_cases(run_id)}
        if (round_number, game_phase, case_number) not in open_keys:
            raise NotFound("There is no such open case.", "没有这条待确认的记录。")
        with self._database.write() as session:
            answer_key = {"run_id": run_id, "round": round_number, "phase": game_phase, "number": case_number}
            insert_ignore(session, PrincipleAnswer, [{**answer_key, "there": is_present, "person": signed_name}])
        run_info = self.run(run_id)
        is_idle = self._active_job(run_info) is None and run_info.playing is None
        if not self.open_cases(run_id) and run_info.state is RunState.WAITING and is_idle:
            return self.queue(run_id)
        return run_info

    def _refuse_second(self, run_info: RunInfo) -> None:
        if self._active_job(run_info) is not None:
            raise Conflict(
                f"Run {run_info.id} is in the works as job {run_info.job}.",
                f"运行 {run_info.id} 正在进行（任务 {run_info.job}）。",
            )
        if run_info.playing is not None:
            raise held_elsewhere_error(rows.GAME_TABLE, run_info.id, run_info.playing)

    def _endpoints(self, request: RunRequest) -> dict[str, dict[str, str]]:
        context = self._build_context()
        return {agent.value: self._agent_endpoint(context, agent, request.endpoints.get(agent)) for agent in Agent}

    def _agent_endpoint(self, context: DatabaseJudgeContext, agent: Agent, endpoint_name: str | None) -> dict[str, str]:
        if endpoint_name is not None and is_policy_name(endpoint_name):
            if agent is not Agent.GENERATOR:
                raise UserError(
                    f"Only the generator can be a trained model; name an endpoint for the {agent}, "
                    "which has to follow instructions.",
                    f"只有生成者可以用训练好的模型；{agent} 要按说明作答，请给它选一个端点。",
                )
            return {
                "name": endpoint_name,
                "base_url": "",
                "model": self._generators.usable(endpoint_name).title,
            }
        chosen_endpoint = context.endpoint(endpoint_name)
        return {
            "name": chosen_endpoint.name,
            "base_url": chosen_endpoint.base_url,
            "model": chosen_endpoint.model,
        }

    def _active_job(self, run_info: RunInfo) -> JobInfo | None:
        newest_job = self._jobs.job(run_info.job) if run_info.job else None
        return newest_job if newest_job is not None and not newest_job.ended else None

    def _first_version(self, agent_role: Role, version_id: int | None) -> int:
        if version_id is None:
            return self.archive.start(agent_role)
        version_info = self.archive.version(version_id)
        if version_info.role is not agent_role or not version_info.rules.rules:
            raise UserError(
                f"Version {version_id} is no {agent_role} to start from.",
                f"版本 {version_id} 不是可以作为起点的 {agent_role}。",
            )
        return version_id


def _chosen_versions(request: RunRequest) -> dict[Role, int | None]:
    return {Role.DETECTOR: request.detector, Role.GENERATOR: request.generator}


def _effective_settings(request: RunRequest) -> GameSettings:
    """A policy trained here cannot be told S_G, so with one S_G does not evolve."""
    is_own_policy = is_policy_name(request.endpoints.get(Agent.GENERATOR))
    return replace(request.settings, evolve_generator=False) if is_own_policy else request.settings


def _priced_endpoint(context: DatabaseJudgeContext, endpoint_name: str) -> Endpoint:
    """What a policy of ours costs is time alone; it answers one request after the other."""
    return (
        Endpoint(endpoint_name, "", endpoint_name, concurrency=1)
        if is_policy_name(endpoint_name)
        else context.endpoint(endpoint_name)
    )


def run_job(database: Database, jobs: JobService, evolution: EvolutionService, job_id: int) -> int:
    """Run job `job_id`; the exit code. Raises UserError for what ends it, after telling the row."""
    job_config = jobs.job(job_id).config
    with JobReport(database, job_id) as job_report:
        if "compare" in job_config:
            evolution.comparisons.play(int(job_config["compare"]), job_report.stop_requested)
            return 0
        if not isinstance(job_config.get("run"), int):
            raise UserError("The job names no run.", "任务没有指定运行。")
        job_report.log(RUN_STARTED.fill(run=job_config["run"]))
        final_info = evolution.play(
            job_config["run"],
            lambda info: job_report.progress(progress_share(info), FIGURES.fill(figures=status_line(info))),
            job_report.stop_requested,
        )
        job_report.progress(progress_share(final_info), FIGURES.fill(figures=status_line(final_info)))
        job_report.log(RUN_ENDED.fill(state=final_info.state.value, figures=status_line(final_info)))
        if constant_notice := constant_detector(evolution.steps(job_config["run"])):
            job_report.log(warning_message(constant_notice))
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
