"""Preference pairs as pages, commands and jobs see them; what a run will roughly take."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import update

from backend.core.enums import PairStage, PairState
from backend.core.errors import Conflict, UserError
from backend.corpus.records import ExportReport
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.db.pair_tables import PairRun
from backend.generation.generators import GeneratorKind, GeneratorService, WriterPool
from backend.generation.writer import greeting_messages
from backend.jobs.outcome import STOPPED
from backend.jobs.records import JobInfo
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.judges.base import JudgeSpec, PairJudge, Sample
from backend.judges.constancy import warning_line
from backend.judges.panel import Retriever
from backend.judges.registry import AskingJudge
from backend.judges.scoring.records import ScoringRunState
from backend.judges.scoring.service import ScoringService, examples_placeholder, preview_calls
from backend.llm.budget import Budget, Estimate
from backend.llm.budget import estimate_usage as llm_estimate
from backend.llm.endpoints import EndpointService
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import Endpoint
from backend.preferences import intake, review, views
from backend.preferences.candidates import UNREADABLE, writing_instructions
from backend.preferences.emit import SECOND_JUDGED_SHARE
from backend.preferences.intake import PromptFilter, read_source
from backend.preferences.pairing import ACCEPTED_FROM
from backend.preferences.plan import CandidatePlan
from backend.preferences.records import (
    FaultyCandidate,
    Funnel,
    PairDetail,
    PairEstimate,
    PairFilter,
    PairPage,
    PairProgress,
    PairRequest,
    PairRunInfo,
    PromptLine,
)
from backend.preferences.run import PairRunner, PairRunTools
from backend.runs.lock import RunLock, RunTable, not_a_job_error, not_running_error, refuse_if_held
from backend.training.service import STARTER_PRESET, TrainingService
from backend.training.settings import STARTER, settings_for

SAMPLED_PROMPTS = 50
PLACEHOLDER_GREETING = "愿你被岁月温柔以待，所有的奔赴都有回响，生日快乐，平安喜乐常伴左右，笑口常开。"
"""Stands in for a candidate whose text nobody knows yet."""
WRITTEN_TOKENS = 80


def estimate_run(
    database: Database,
    endpoints: EndpointService,
    scoring: ScoringService,
    generators: GeneratorService,
    request: PairRequest,
) -> PairEstimate:
    """See PairService.estimate."""
    prompt_filter, drop_counts, prompt_count = PromptFilter(), Counter[str](), 0
    sampled_prompts: list[str] = []
    for source_line in read_source(database, request.source):
        prompt_count += 1
        drop_reason = prompt_filter.drop_reason(source_line) if isinstance(source_line, str) else UNREADABLE
        if drop_reason is not None:
            drop_counts[drop_reason] += 1
        elif isinstance(source_line, str) and len(sampled_prompts) < SAMPLED_PROMPTS:
            sampled_prompts.append(source_line)
    passed_count = prompt_count - drop_counts.total()
    first_judge = scoring.with_examples(request.judge)
    estimates = [
        _writing_estimate(
            endpoints, generators, request.plan, first_judge, generator_name, sampled_prompts, passed_count
        )
        for generator_name in request.plan.generators
    ]
    if (
        judging_estimate := _judging_estimate(
            scoring, first_judge, sampled_prompts, passed_count * request.plan.candidates
        )
    ) is not None:
        estimates.append(judging_estimate)
    if (retrieval_estimate := scoring.estimate_retrieval(first_judge, sampled_prompts, passed_count)) is not None:
        estimates.append(retrieval_estimate)
    if request.second is not None and request.balance_length:
        second_judge = scoring.with_examples(request.second)
        repeated_count = round(passed_count * request.plan.candidates * SECOND_JUDGED_SHARE)
        if (second_estimate := _judging_estimate(scoring, second_judge, sampled_prompts, repeated_count)) is not None:
            estimates.append(second_estimate)
    total_estimate = sum(estimates[1:], estimates[0])
    return PairEstimate(
        prompts=prompt_count,
        kept=passed_count,
        lost=dict(drop_counts),
        candidates=passed_count * request.plan.candidates,
        calls=total_estimate.calls,
        tokens=total_estimate.tokens,
        cost=total_estimate.cost,
        seconds=total_estimate.seconds,
    )


def _writing_estimate(
    endpoints: EndpointService,
    generators: GeneratorService,
    candidate_plan: CandidatePlan,
    judge_spec: JudgeSpec,
    generator_name: str,
    sampled_prompts: list[str],
    passed_count: int,
) -> Estimate:
    is_trained = generators.info(generator_name).kind is GeneratorKind.ARTIFACT
    # What a policy of ours will cost is time alone; a typical endpoint stands in for its address.
    endpoint = (
        Endpoint(generator_name, "", generator_name, concurrency=1) if is_trained else endpoints.get(generator_name)
    )
    candidate_recipe = next(
        plan_recipe
        for plan_recipe in candidate_plan.prompt_recipes(0) + candidate_plan.prompt_recipes(1)
        if plan_recipe.generator == generator_name
    )
    instructions = writing_instructions(candidate_recipe, (), length_is_free=True)
    example_filler = (
        ""
        if is_trained
        else examples_placeholder(judge_spec)[
            : round(len(examples_placeholder(judge_spec)) * _example_share(candidate_plan))
        ]
    )
    sample_messages = [
        greeting_messages(prompt_text, b"", trained=is_trained, instructions=instructions)[0].content + example_filler
        for prompt_text in sampled_prompts
    ]
    candidate_count = round(passed_count * candidate_plan.candidates / len(candidate_plan.generators))
    return llm_estimate(sample_messages, candidate_count, endpoint, tokens_out=WRITTEN_TOKENS)


def _example_share(candidate_plan: CandidatePlan) -> float:
    """The share of candidates that are written with examples."""
    return sum(candidate_plan.examples) / len(candidate_plan.examples) if candidate_plan.examples else 0.0


def _judging_estimate(
    scoring: ScoringService, judge_spec: JudgeSpec, sampled_prompts: list[str], item_count: int
) -> Estimate | None:
    described_judge = scoring.describe_judge(judge_spec)
    if not isinstance(described_judge, AskingJudge):
        return None
    sample_messages = [
        message_text + examples_placeholder(judge_spec)
        for prompt_text in sampled_prompts
        for message_text in preview_calls(described_judge, Sample(prompt_text, PLACEHOLDER_GREETING))
    ]
    calls_per_item = round(len(sample_messages) / len(sampled_prompts)) if sampled_prompts else 1
    return llm_estimate(
        sample_messages, item_count, scoring.default_endpoint(judge_spec), calls_per_item=calls_per_item
    )


PAIRS_JOB_KIND = "pairs"
PAIRS_RUN_TABLE = RunTable(PairRun, "批次", "pairs pause")
REWARD_MODEL = "reward_model"


class PairService:
    """Runs from prompts to pairs, what they made, who decided. Errors are UserError, NotFound, Conflict."""

    def __init__(
        self,
        database: Database,
        endpoints: EndpointService,
        generators: GeneratorService,
        scoring: ScoringService,
        corpus: CorpusService,
        jobs: JobService,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        self._database, self._endpoints, self._generators = database, endpoints, generators
        self._scoring, self._corpus, self._jobs = scoring, corpus, jobs
        self._policy = retry_policy

    def check(self, request: PairRequest) -> None:
        """Refuse what cannot work. Raises UserError, NotFound."""
        for generator_name in request.plan.generators:
            self._generators.info(generator_name)
        judge_specs = [judge_spec for judge_spec in (request.judge, request.second) if judge_spec is not None]
        for judge_spec in judge_specs:
            described_judge = self._scoring.describe_judge(judge_spec)
            if isinstance(described_judge, PairJudge) or described_judge.scale not in ACCEPTED_FROM:
                raise UserError(
                    f"The judge “{judge_spec.name}” does not say which greetings are excellent; use a panel, "
                    "principles or a rubric.",
                    f"裁判“{judge_spec.name}”不会说一条祝福是否优秀，请用评审团、原则或评分表类的裁判。",
                )
        if len(
            {json.dumps([judge_spec.kind, judge_spec.endpoint, dict(judge_spec.config)]) for judge_spec in judge_specs}
        ) < len(judge_specs):
            raise UserError(
                "The second judge is the first one, who would say the same; choose another, or let it be "
                "asked again at another draw.",
                "第二个裁判和第一个完全一样，只会重复同样的话；请换一个，或选“同一裁判再评一次”。",
            )

    def estimate(self, request: PairRequest) -> PairEstimate:
        """What a run will roughly take; calls nobody and stores nothing. Raises UserError, NotFound."""
        self.check(request)
        return estimate_run(self._database, self._endpoints, self._scoring, self._generators, request)

    def open(self, request: PairRequest) -> PairRunInfo:
        """Store a new run with everything that goes in. Raises UserError, NotFound.

        A panel is shown examples as the writers are, always those of the corpus as it is now.
        """
        self.check(request)
        pinned_request = replace(
            request,
            judge=self._prepared_judge(request.judge),
            second=self._prepared_judge(request.second) if request.second else None,
        )
        return self.find_run(intake.create_run(self._database, pinned_request))

    def _prepared_judge(self, judge_spec: JudgeSpec) -> JudgeSpec:
        return self._scoring.pin_examples(self._scoring.with_examples(judge_spec))

    def submit(self, request: PairRequest) -> tuple[PairRunInfo, JobInfo]:
        """Store a new run and queue it as a job."""
        pair_run = self.open(request)
        pairs_job = self._queue_job(pair_run)
        return self.find_run(pair_run.id), pairs_job

    def resume(self, run_id: int, **caps: Any) -> JobInfo:
        """Queue a run again that stopped early; caps that are given replace its own. Raises Conflict."""
        pair_run = self.update_caps(run_id, **caps)
        earlier_job = self._current_job(pair_run)
        if earlier_job is not None and earlier_job.resumable:
            return self._jobs.resume(earlier_job.id)
        return self._queue_job(pair_run)

    def update_caps(self, run_id: int, **caps: Any) -> PairRunInfo:
        """A run that can go on, with other caps where they are given. Raises NotFound, and Conflict where it
        is done or in the works."""
        pair_run = self.find_run(run_id)
        if pair_run.stage is PairStage.DONE:
            raise Conflict(f"Run {pair_run.id} is done; start a new one.", f"批次 {pair_run.id} 已完成，请新建一批。")
        if (active_job := self._active_job(pair_run)) is not None:
            raise Conflict(
                f"Job {active_job.id} works on run {pair_run.id} already.",
                f"任务 {active_job.id} 正在跑批次 {pair_run.id}。",
            )
        changed_caps = {cap_name: cap_value for cap_name, cap_value in caps.items() if cap_value is not None}
        with self._database.write() as session:
            run_row = session.get_one(PairRun, pair_run.id, with_for_update=True)
            refuse_if_held(PAIRS_RUN_TABLE, run_row)
            run_row.config = {**run_row.config, **changed_caps}
        return self.find_run(pair_run.id)

    def pause(self, run_id: int) -> PairRunInfo:
        """Let a run stop, whoever plays it; what is finished is kept. Raises Conflict where nobody does."""
        pair_run = self.find_run(run_id)
        if (active_job := self._active_job(pair_run)) is not None:
            self._jobs.pause(active_job.id)
        elif pair_run.playing is not None:
            with self._database.write() as session:
                session.get_one(PairRun, pair_run.id).stop_wished = True
        else:
            raise not_running_error(PAIRS_RUN_TABLE, pair_run.id)
        return self.find_run(pair_run.id)

    def cancel(self, run_id: int) -> PairRunInfo:
        """End a run's job; the run can be resumed later. Raises Conflict where it has none that runs."""
        pair_run = self.find_run(run_id)
        active_job = self._active_job(pair_run)
        if active_job is None:
            raise (
                not_a_job_error(PAIRS_RUN_TABLE, pair_run.id, pair_run.playing)
                if pair_run.playing
                else not_running_error(PAIRS_RUN_TABLE, pair_run.id)
            )
        self._jobs.cancel(active_job.id)
        return self.find_run(pair_run.id)

    def run(
        self,
        run_id: int,
        on_progress: Callable[[PairProgress], None] = lambda _: None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> PairProgress:
        """Work on a run in this process until its pairs stand or it has to stop.

        Raises UserError for what it cannot go on with, and Conflict where another process plays the run,
        which goes on undisturbed.
        """
        run_tools = PairRunTools(self._database, self._scoring, self._open_writers, self._make_retriever)
        run_lock = RunLock(self._database, PAIRS_RUN_TABLE, run_id)
        run_lock.acquire()
        try:
            return PairRunner(run_tools, run_id, run_lock, on_progress, stop_requested).run_stages()
        finally:
            run_lock.release()

    def runs(self) -> list[PairRunInfo]:
        """Every run, the newest first."""
        with self._database.read() as session:
            return views.runs(session)

    def find_run(self, run_or_name: str | int) -> PairRunInfo:
        """A run by number or name. Raises NotFound."""
        with self._database.read() as session:
            return views.find_run(session, run_or_name)

    def funnel(self, run_id: int) -> Funnel:
        """How many came through each stage, and why the others did not."""
        with self._database.read() as session:
            return views.count_funnel(session, run_id)

    def prompt_lines(self, run_id: int, drop_reason: str | None = None, max_lines: int = 1_000) -> list[PromptLine]:
        """What went into a run, line by line; with `lost` only what was lost for that reason."""
        with self._database.read() as session:
            return views.prompt_lines(session, run_id, drop_reason, max_lines)

    def faulty_candidates(self, run_id: int, fault_name: str, max_candidates: int = 200) -> list[FaultyCandidate]:
        """Candidates of a run that failed one check."""
        with self._database.read() as session:
            return views.faulty_candidates(session, run_id, fault_name, max_candidates)

    def pair_page(self, run_id: int, pair_filter: PairFilter, row_offset: int = 0, page_size: int = 20) -> PairPage:
        """Pairs of a run, those that wait for a decision first."""
        with self._database.read() as session:
            return views.pair_page(session, run_id, pair_filter, row_offset, page_size)

    def pair_detail(self, pair_id: int) -> PairDetail:
        """One pair with both debates and its history. Raises NotFound."""
        with self._database.read() as session:
            return views.pair_detail(session, pair_id)

    def decide(
        self,
        pair_id: int,
        action_name: str,
        reviewer_name: str = "",
        review_note: str = "",
        seen_state: PairState | None = None,
    ) -> PairDetail:
        """Accept, flip or discard a pair; what is exported follows. Raises UserError, Conflict."""
        review.apply_decision(
            self._database,
            review.DecisionRequest(pair_id, action_name, reviewer_name, review_note, seen_state),
        )
        return self.pair_detail(pair_id)

    def settle(self, run_id: int) -> int:
        """Let people's complete answers decide the pairs that wait for them; how many moved."""
        return review.settle_pairs(self._database, self.find_run(run_id).id)

    def export(self, run_id: int, file_format: str, file_path: Path) -> ExportReport:
        """Write the pairs of a run that may be used, as the corpus room writes pairs."""
        self.settle(run_id)
        return self._corpus.export("pairs", file_format, file_path, dataset=self.find_run(run_id).name)

    def train(self, run_id: int) -> JobInfo:
        """Queue a reward model on the pairs of a run that may be used. Raises UserError.

        It builds on the newest policy, or on a fresh starter where there is none.
        """
        self.settle(run_id)
        pair_run = self.find_run(run_id)
        if not self.funnel(pair_run.id).pairs:
            raise UserError(
                f"Run {pair_run.id} has no pair that may be used yet.",
                f"批次“{pair_run.name}”还没有可用的偏好对。",
            )
        training_service = TrainingService(self._jobs)
        overrides = {"datasets": [pair_run.name], "name": f"rm-{pair_run.name}"}
        dataset_names = [dataset_info.name for dataset_info in self._corpus.datasets()]
        training_settings = settings_for(REWARD_MODEL, STARTER_PRESET, overrides).model_dump(mode="json")
        if training_service.find_problems(REWARD_MODEL, training_settings, dataset_names, ()):
            overrides["base"] = STARTER
        return training_service.submit(REWARD_MODEL, STARTER_PRESET, overrides)

    def _queue_job(self, pair_run: PairRunInfo) -> JobInfo:
        queued_job = self._jobs.submit(PAIRS_JOB_KIND, {"run": pair_run.id, "name": pair_run.name})
        with self._database.write() as session:
            session.execute(update(PairRun).where(PairRun.id == pair_run.id).values(job_id=queued_job.id))
        return queued_job

    def _current_job(self, pair_run: PairRunInfo) -> JobInfo | None:
        return None if pair_run.job is None else self._jobs.job(pair_run.job)

    def _active_job(self, pair_run: PairRunInfo) -> JobInfo | None:
        pairs_job = self._current_job(pair_run)
        return pairs_job if pairs_job is not None and not pairs_job.ended else None

    def _open_writers(self) -> WriterPool:
        return self._generators.writer_pool(self._policy)

    def _make_retriever(self, request: PairRequest, run_budget: Budget) -> Retriever:
        return self._scoring.retriever(request.judge, run_budget)


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
