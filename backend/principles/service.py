"""The game as pages, commands and jobs see it: start, go on, watch, confirm, replay, compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from backend.core.enums import Agent, GamePhase, Role, RunState
from backend.core.errors import Conflict, NotFound, UserError
from backend.core.stored_records import read_record, stored_json
from backend.db.base import insert_ignore
from backend.db.engine import Database
from backend.db.principle_tables import PrincipleAnswer, PrincipleRun, PrincipleStep
from backend.generation.generators import GeneratorService, is_policy_name
from backend.jobs.messages import FIGURES, RUN_ENDED, RUN_STARTED
from backend.jobs.records import JobInfo
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.judges.constancy import warning_message
from backend.judges.context import JudgeContext
from backend.judges.scoring.service import ScoringService
from backend.llm.budget import Budget
from backend.llm.endpoints import EndpointService
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import Endpoint
from backend.principles import dealing
from backend.principles import store as rows
from backend.principles.algorithm.settings import GameSettings
from backend.principles.archive import PrincipleArchive, check_signature
from backend.principles.comparing import JOB_KIND, Comparisons, ReportRow, build_report
from backend.principles.locked_uses import LockedSetUses, count_uses, uses_before
from backend.principles.playing import RunPlayer
from backend.principles.records import OpenCase, RunCostEstimate, RunInfo, RunRequest, StepInfo
from backend.principles.replay import ReplayResult
from backend.principles.rulings import constant_detector
from backend.principles.setup import estimate_run, refuse_baseline
from backend.runs.attempt import JobAttempt, JobOutcome
from backend.runs.service import RunAttempt, RunKind, RunService, named_run

GAME_RUN_KIND = RunKind(
    row_class=PrincipleRun,
    job_kind=JOB_KIND,
    title_zh="运行",
    pause_command="principles pause",
    caps_column="caps",
    is_done=lambda run_row: run_row.state is RunState.DONE,
    done_error=lambda run_id: Conflict(f"Run {run_id} is over.", f"运行 {run_id} 已经结束。"),
    job_config=lambda run_row: {"run": run_row.id},
    # Cleared with the new state: the error of an earlier attempt would stand beside a run that goes on.
    queued_values={"state": RunState.QUEUED, "error_en": None, "error_zh": None},
    started_values={"state": RunState.RUNNING, "error_en": None, "error_zh": None},
)


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
        self._endpoint_service, self._retry_policy = endpoints, retry_policy
        self.archive = PrincipleArchive(database, scoring)
        self._player = RunPlayer(database, endpoints, generators, self._build_context, self.archive)
        self._lifecycle = RunService(database, jobs, GAME_RUN_KIND)
        self.comparisons = Comparisons(database, jobs, self.archive, self._build_context)

    def estimate(self, request: RunRequest) -> RunCostEstimate:
        """What a run may take at most, and its labels. Raises UserError for what cannot be run."""
        context, settings = self._build_context(), _effective_settings(request)
        agent_endpoints = self._endpoints(request)
        with self._database.read() as session:
            partitions = dealing.load_partitions(session, request.dataset, settings.gate, settings.locked)
            # Asked before anything is paid: labels that were read often are a reason to choose others.
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
            # Dealt outside the writing transaction: hashing thousands of labels must not hold up people who
            # vote.
            partitions = dealing.load_partitions(session, request.dataset, settings.gate, settings.locked)
        with self._database.write() as session:
            run_row = PrincipleRun(
                dataset=request.dataset,
                settings=stored_json(settings),
                endpoints=agent_endpoints,
                caps=dict(request.caps),
                # Stored with the run, so that labels which people add or change later do not move under it.
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
        self._lifecycle.resume(run_id, **caps)
        return self.run(run_id)

    def raise_caps(self, run_id: int, **caps: float | None) -> None:
        """Replace the caps that are given. Raises Conflict for a run that is over or in the works."""
        self._lifecycle.raise_caps(run_id, **caps)

    def queue(self, run_id: int) -> RunInfo:
        """Queue the run as a job. Raises Conflict where it is in the works already."""
        self._lifecycle.queue(run_id)
        return self.run(run_id)

    def pause(self, run_id: int) -> RunInfo:
        """Let the run stop, whoever plays it; what is finished stays. Raises Conflict where nobody does."""
        self._lifecycle.pause(run_id)
        return self.run(run_id)

    def cancel(self, run_id: int) -> RunInfo:
        """End the run, whoever plays it; it can be resumed later. Raises Conflict where nobody does."""
        self._lifecycle.cancel(run_id)
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
        run_info = self.run(run_id)
        # A command that is given twice does no harm and asks nothing.
        if run_info.state is RunState.DONE:
            return run_info
        with self._lifecycle.play(run_id) as run_attempt:
            self._play_attempt(run_id, run_attempt, report_progress, is_stopped)
        return self.run(run_id)

    def play_job(self, job_attempt: JobAttempt, job_config: Mapping[str, Any]) -> JobOutcome:
        """Play the run, or make the comparison, that a job names, as `backend.runs.attempt.run_job` asks.

        Raises UserError.
        """
        # Comparisons share the kind of job with runs: the same program with the same right to the key.
        if "compare" in job_config:
            self.comparisons.play(int(job_config["compare"]), job_attempt.should_stop)
            return JobOutcome()
        run_id = named_run(job_config, "任务没有指定运行。")
        job_attempt.report.log(RUN_STARTED.fill(run=run_id))
        final_info = self.run(run_id)
        # A job that is resumed after a command has finished its run only reports.
        if final_info.state is not RunState.DONE:
            final_info = self._play_attempt(run_id, self._lifecycle.join(run_id, job_attempt))
        _report_progress(job_attempt.report, final_info)
        closing_messages = [RUN_ENDED.fill(state=final_info.state.value, figures=status_line(final_info))]
        if constant_notice := constant_detector(self.steps(run_id)):
            closing_messages.append(warning_message(constant_notice))
        return JobOutcome(tuple(closing_messages))

    def _play_attempt(
        self,
        run_id: int,
        run_attempt: RunAttempt,
        on_progress: Callable[[RunInfo], None] = lambda _: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> RunInfo:
        def report_progress(run_info: RunInfo) -> None:
            _report_progress(run_attempt.report, run_info)
            on_progress(run_info)

        final_info = self._player.play(run_id, run_attempt, report_progress, is_stopped)
        # So that the program ends with the code of one that has saved and can go on.
        if final_info.state is RunState.PAUSED:
            run_attempt.mark_stopped()
        return final_info

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
        """Finished phases with an id above `after_id`, in order."""
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
            # Of two people who answer one case at once the first answer stands; the other's press is no
            # error.
            insert_ignore(session, PrincipleAnswer, [{**answer_key, "there": is_present, "person": signed_name}])
        run_info = self.run(run_id)
        # Asked after storing, so that of two who answer the last two cases one sees that none is open.
        is_answered = not self.open_cases(run_id) and run_info.state is RunState.WAITING
        # Somebody may have resumed the run by hand meanwhile.
        if is_answered and not self._lifecycle.is_busy(run_id):
            return self.queue(run_id)
        return run_info

    def _build_context(self, budget: Budget | None = None) -> JudgeContext:
        return JudgeContext(self._endpoint_service, refuse_baseline, budget or Budget(), self._retry_policy)

    def _endpoints(self, request: RunRequest) -> dict[str, dict[str, str]]:
        context = self._build_context()
        return {agent.value: self._agent_endpoint(context, agent, request.endpoints.get(agent)) for agent in Agent}

    def _agent_endpoint(self, context: JudgeContext, agent: Agent, endpoint_name: str | None) -> dict[str, str]:
        if endpoint_name is not None and is_policy_name(endpoint_name):
            if agent is not Agent.GENERATOR:
                raise UserError(
                    f"Only the generator can be a trained model; name an endpoint for the {agent}, "
                    "which has to follow instructions.",
                    f"只有生成者可以用训练好的模型；{agent} 要按说明作答，请给它选一个端点。",
                )
            return {
                "name": endpoint_name,
                # No address: a policy listens on another port each time it is woken, so one would mean nothing.
                "base_url": "",
                "model": self._generators.usable(endpoint_name).title,
            }
        chosen_endpoint = context.endpoint(endpoint_name)
        return {
            "name": chosen_endpoint.name,
            "base_url": chosen_endpoint.base_url,
            "model": chosen_endpoint.model,
        }

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


def _priced_endpoint(context: JudgeContext, endpoint_name: str) -> Endpoint:
    """What a policy of ours costs is time alone; it answers one request after the other."""
    return (
        Endpoint(endpoint_name, "", endpoint_name, concurrency=1)
        if is_policy_name(endpoint_name)
        else context.endpoint(endpoint_name)
    )


def _report_progress(report: JobReport, run_info: RunInfo) -> None:
    report.progress(progress_share(run_info), FIGURES.fill(figures=status_line(run_info)))


def progress_share(run_info: RunInfo) -> float:
    """How far a run is, from 0 to 1: rounds and the phases of the present one."""
    if run_info.state is RunState.DONE:
        return 1.0
    if run_info.phase is None:
        return 0.0
    round_number, _, game_phase = run_info.phase.partition(".")
    phase_order = list(GamePhase)
    # The last twentieth is for what follows the rounds, however early patience has ended them.
    if game_phase in (GamePhase.REWRITE, GamePhase.LOCKED):
        return 0.95
    phase_share = phase_order.index(GamePhase(game_phase)) / len(phase_order)
    # Round 0 is the first reading of gate and safety set, hence the lower bound.
    return 0.95 * max(0.0, int(round_number) - 1 + phase_share) / run_info.settings.rounds


def status_line(run_info: RunInfo) -> str:
    """How a run stands, in figures."""
    if run_info.state is RunState.WAITING:
        return run_info.message
    position = run_info.phase.replace(".", " · ") if run_info.phase is not None else ""
    figures_text = f"{run_info.accepted} + / {run_info.rejected} −, {run_info.calls:,} calls, cost {run_info.cost:.4f}"
    return " · ".join(filter(None, [run_info.state.value, position, figures_text]))
