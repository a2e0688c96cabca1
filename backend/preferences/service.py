"""Preference pairs as pages, commands and jobs see them; what a run will roughly take."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.core.enums import DECISION_THRESHOLDS, PairStage, PairState
from backend.core.errors import Conflict, UserError
from backend.corpus.records import ExportReport
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.db.pair_tables import PairRun
from backend.generation.generators import GeneratorService, WriterPool
from backend.jobs.messages import BUDGET_USED, FIGURES, RUN_ENDED, RUN_STARTED, JobMessage
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.judges.base import JudgeSpec
from backend.judges.constancy import warning_message
from backend.judges.pairwise import PairwiseJudge
from backend.judges.panel import Retriever
from backend.judges.scoring.records import ScoringRunState
from backend.judges.scoring.service import ScoringService
from backend.llm.budget import Budget
from backend.llm.endpoints import EndpointService
from backend.llm.limiter import RetryPolicy
from backend.preferences import intake, review, views
from backend.preferences.estimate import estimate_run
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
from backend.runs.attempt import JobAttempt, JobOutcome
from backend.runs.service import RunAttempt, RunKind, RunService, named_run
from backend.training.service import STARTER_PRESET, TrainingService
from backend.training.settings import STARTER, settings_for

PAIRS_JOB_KIND = "pairs"
PAIRS_RUN_KIND = RunKind(
    row_class=PairRun,
    job_kind=PAIRS_JOB_KIND,
    title_zh="批次",
    pause_command="pairs pause",
    caps_column="config",
    is_done=lambda run_row: run_row.stage is PairStage.DONE,
    done_error=lambda run_id: Conflict(
        f"Run {run_id} is done; start a new one.", f"批次 {run_id} 已完成，请新建一批。"
    ),
    job_config=lambda run_row: {"run": run_row.id, "name": run_row.name},
)
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
        self._lifecycle = RunService(database, jobs, PAIRS_RUN_KIND)

    def check(self, request: PairRequest) -> None:
        """Refuse what cannot work. Raises UserError, NotFound."""
        for generator_name in request.plan.generators:
            self._generators.info(generator_name)
        judge_specs = [judge_spec for judge_spec in (request.judge, request.second) if judge_spec is not None]
        for judge_spec in judge_specs:
            described_judge = self._scoring.describe_judge(judge_spec)
            if isinstance(described_judge, PairwiseJudge) or described_judge.scale not in DECISION_THRESHOLDS:
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
        pairs_job = self._lifecycle.queue(pair_run.id)
        return self.find_run(pair_run.id), pairs_job

    def resume(self, run_id: int, **caps: Any) -> JobInfo:
        """Queue a run again that stopped early; caps that are given replace its own. Raises Conflict."""
        return self._lifecycle.resume(run_id, **caps)

    def update_caps(self, run_id: int, **caps: Any) -> PairRunInfo:
        """A run that can go on, with other caps where they are given. Raises NotFound, and Conflict where it
        is done or in the works."""
        self._lifecycle.raise_caps(run_id, **caps)
        return self.find_run(run_id)

    def pause(self, run_id: int) -> PairRunInfo:
        """Let a run stop, whoever plays it; what is finished stays. Raises Conflict where nobody does."""
        self._lifecycle.pause(run_id)
        return self.find_run(run_id)

    def cancel(self, run_id: int) -> PairRunInfo:
        """End a run, whoever plays it; it can be resumed later. Raises Conflict where nobody does."""
        self._lifecycle.cancel(run_id)
        return self.find_run(run_id)

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
        with self._lifecycle.play(run_id) as run_attempt:
            return self._run_stages(run_id, run_attempt, on_progress, stop_requested)

    def play_job(self, job_attempt: JobAttempt, job_config: Mapping[str, Any]) -> JobOutcome:
        """Work on the run that a job names, as `backend.runs.attempt.run_job` asks. Raises UserError."""
        run_info = self.find_run(named_run(job_config, "任务没有指定批次。"))
        report = job_attempt.report
        report.log(RUN_STARTED.fill(run=f"{run_info.id} “{run_info.name}”"))
        final_progress = self._run_stages(run_info.id, self._lifecycle.join(run_info.id, job_attempt))
        run_funnel = self.funnel(run_info.id)
        report.metric(
            final_progress.written,
            pairs=run_funnel.pairs,
            calls=final_progress.calls,
            tokens=final_progress.tokens,
            cost=final_progress.cost,
        )
        closing_messages = [RUN_ENDED.fill(state=final_progress.state.value, figures=final_progress.line())]
        if run_funnel.notice is not None:
            closing_messages.append(warning_message(run_funnel.notice))
        return JobOutcome(tuple(closing_messages))

    def _run_stages(
        self,
        run_id: int,
        run_attempt: RunAttempt,
        on_progress: Callable[[PairProgress], None] = lambda _: None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> PairProgress:
        def report_progress(progress: PairProgress) -> None:
            run_attempt.report.progress(progress.share, _status_message(progress))
            on_progress(progress)

        run_tools = PairRunTools(self._database, self._scoring, self._open_writers, self._make_retriever)
        final_progress = PairRunner(run_tools, run_id, run_attempt, report_progress, stop_requested).run_stages()
        if final_progress.state is ScoringRunState.STOPPED:
            run_attempt.mark_stopped()
        return final_progress

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
        training_settings = settings_for(REWARD_MODEL, STARTER_PRESET, overrides)
        if training_service.find_problems(training_settings, dataset_names, ()):
            training_settings = settings_for(REWARD_MODEL, STARTER_PRESET, {**overrides, "base": STARTER})
        return training_service.queue(training_settings)

    def _open_writers(self) -> WriterPool:
        return self._generators.writer_pool(self._policy)

    def _make_retriever(self, request: PairRequest, run_budget: Budget) -> Retriever:
        return self._scoring.retriever(request.judge, run_budget)


def _status_message(progress: PairProgress) -> JobMessage:
    template = BUDGET_USED if progress.state is ScoringRunState.BUDGET else FIGURES
    return template.fill(figures=progress.line())
