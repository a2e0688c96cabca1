"""Scoring as pages, commands and jobs see it: estimate, run, queue, preview, try and compare judges."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.core.errors import UserError
from backend.core.stored_records import stored_json
from backend.db.base import in_batches
from backend.db.engine import Database
from backend.db.tables import Greeting, Prompt, Verdict
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.judges.base import (
    ASKING_KINDS,
    Judge,
    JudgeKind,
    JudgeSpec,
    Judgment,
    PairJudgment,
    PairSample,
    Sample,
)
from backend.judges.context import NO_MODEL, FittedJudges, JudgeContext
from backend.judges.examples import ExampleService
from backend.judges.pairwise import PairwiseJudge
from backend.judges.panel import NoExamples, Retriever
from backend.judges.ranking import RankingGroup, RankingJudge
from backend.judges.registry import (
    DEFAULT_EXAMPLES,
    AnyJudge,
    AskingJudge,
    ExampleRequest,
    build_judge,
    describe_judge,
    example_request,
)
from backend.judges.scoring.catalog import JudgeCatalog, load_opinion_pairs
from backend.judges.scoring.groups import RankingSource, expected_calls
from backend.judges.scoring.records import (
    OpinionPairPage,
    RunEstimate,
    ScoreProgress,
    ScoreRequest,
)
from backend.judges.scoring.run import ScoreRun, blocking_runner, choose_batch_shape, release_judge, run_blocking
from backend.judges.scoring.targets import (
    GreetingSource,
    GreetingWork,
    PairSource,
    ScoringTarget,
    WorkSource,
    ensure_rater_id,
    store,
)
from backend.llm.budget import Budget, Estimate, estimate_usage
from backend.llm.endpoints import EndpointService
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import Endpoint

TRIVIAL = ("length", "style", "ngram")
BATCH_SIZE = 500
JOB_KIND = "score"
# Items whose prompts are measured for an estimate; their mean stands for all.
SAMPLE_SIZE = 50
# Characters of an example with its request, for estimates.
EXAMPLE_CHARACTERS = 80

ProgressCallback = Callable[[float, str], None]


class ScoringService:
    """Judges over greetings; every verdict is stored under the judge's exact version.

    Without `endpoint_service` only baselines and trained models can score, without `job_service` only this process.
    """

    def __init__(
        self,
        database: Database,
        endpoint_service: EndpointService | None = None,
        job_service: JobService | None = None,
        retry_policy: RetryPolicy | None = None,
        example_service: ExampleService | None = None,
    ) -> None:
        self._database = database
        self._example_service = example_service
        self._endpoint_service = endpoint_service
        self._job_service = job_service
        self._retry_policy = retry_policy
        self._fitted_judges = FittedJudges(database)
        self.catalog = JudgeCatalog(database, self._build_context)

    def trivial_judges(self) -> list[Judge]:
        """The judges nobody should mistake for taste, fitted to what the corpus holds now."""
        return self._fitted_judges.all_judges()

    def ensure_trivial_verdicts(
        self, greeting_ids: Iterable[int], report_progress: ProgressCallback | None = None
    ) -> None:
        """Store the trivial judges' verdicts on these greetings where they are missing."""
        wanted_ids = sorted(set(greeting_ids))
        judges = self.trivial_judges()
        for judge_index, judge in enumerate(judges):
            if report_progress:
                report_progress(judge_index / len(judges), judge.name)
            self.score_missing(judge, wanted_ids)

    def score_missing(self, judge: Judge, greeting_ids: Sequence[int]) -> int:
        """Score those of the greetings on which this version has no verdict; returns how many."""
        rater_id = self.ensure_rater(judge)
        with self._database.read() as session:
            judged_ids = set(session.scalars(select(Verdict.greeting_id).where(Verdict.rater_id == rater_id)))
        missing_ids = [greeting_id for greeting_id in greeting_ids if greeting_id not in judged_ids]
        for id_batch in in_batches(missing_ids, BATCH_SIZE):
            work_batch = self._load_work(id_batch)
            judgments = run_blocking(judge.score(work_batch))
            store(self._database, rater_id, judge.scale, list(zip(work_batch, judgments, strict=True)))
        return len(missing_ids)

    def ensure_rater(self, judge: Judge) -> int:
        """The id of the rater that stands for this judge at this version."""
        with self._database.write() as session:
            return ensure_rater_id(session, judge.name, judge.version, judge.scale, None)

    def estimate(self, request: ScoreRequest) -> RunEstimate:
        """What a run will roughly take. Raises UserError for a judge or a target that cannot be."""
        context = self._build_context()
        judge = describe_judge(request.spec, context)
        with self._database.read() as session:
            work_source = select_work_source(session, request.target, judge)
            # 0 where it never judged: an estimate stores nothing, and no rater has that id.
            rater_id = self.catalog.find_rater_id(session, judge.name, judge.version) or 0
            target_counts = work_source.count_work(session, rater_id)
            page = (session, rater_id, 0, SAMPLE_SIZE)
            if isinstance(work_source, RankingSource):
                sampled_groups = work_source.load_groups(*page, retry_unscored=request.retry_unscored)
            else:
                sampled_work = work_source.load_page(*page, retry_unscored=request.retry_unscored)
        missing_count = (
            target_counts.items - target_counts.scored - (0 if request.retry_unscored else target_counts.unscored)
        )
        if not isinstance(judge, AskingJudge):
            return RunEstimate(target_counts.items, missing_count, 0, 0, 0.0, 0.0)
        if isinstance(judge, RankingJudge):
            prompt_texts, call_count = expected_calls(judge, sampled_groups, missing_count)
            ranking_estimate = estimate_usage(prompt_texts, call_count, context.endpoint(request.spec.endpoint))
            return _run_estimate(target_counts.items, missing_count, ranking_estimate)
        placeholder_text = examples_placeholder(request.spec)
        prompt_texts = [
            prompt_text + placeholder_text
            for work_item in sampled_work
            for prompt_text in preview_calls(judge, work_item)
        ]
        calls_per_item = round(len(prompt_texts) / len(sampled_work)) if sampled_work else 1
        estimates = [
            estimate_usage(
                prompt_texts,
                missing_count,
                context.endpoint(request.spec.endpoint),
                calls_per_item=calls_per_item,
            )
        ]
        request_texts = [work_item.prompt for work_item in sampled_work]
        # A request is embedded once, however many greetings answer it; the sample tells how many share one.
        distinct_count = round(missing_count * len(set(request_texts)) / len(request_texts)) if request_texts else 0
        if (retrieval_estimate := self.estimate_retrieval(request.spec, request_texts, distinct_count)) is not None:
            estimates.append(retrieval_estimate)
        return _run_estimate(target_counts.items, missing_count, sum(estimates[1:], estimates[0]))

    def run(
        self,
        request: ScoreRequest,
        report_progress: Callable[[ScoreProgress], None] = lambda _: None,
        is_stopped: Callable[[], bool] = lambda: False,
        used_budget: Budget | None = None,
    ) -> ScoreProgress:
        """Score in this process until the end. Raises UserError for a judge or a target that cannot be.

        `used_budget` is what an earlier attempt at the same run has used of its budget.
        """
        budget = Budget(request.max_calls, request.max_tokens, request.max_cost)
        if used_budget is not None:
            budget.call_count, budget.token_count, budget.total_cost = (
                used_budget.call_count,
                used_budget.token_count,
                used_budget.total_cost,
            )
        scoring_run = self._prepare_run(request, budget, report_progress, is_stopped)
        # The runner and not `run_blocking`, so that it does not stand in the traceback of every request.
        run_to_end = blocking_runner()
        run_to_end(scoring_run.stream.run(scoring_run.on_tick, scoring_run.close))
        return scoring_run.finish()

    def submit(self, request: ScoreRequest) -> JobInfo:
        """Queue the run as a job; what cannot work is refused first. Raises UserError."""
        if self._job_service is None:
            raise UserError("This process has no job queue.", "当前进程没有任务队列。")
        # A wrong endpoint, judge or target is said on the page now, not minutes later in the log of a job.
        self.estimate(request)
        return self._job_service.submit(JOB_KIND, stored_json(replace(request, spec=self.pin_examples(request.spec))))

    def with_examples(self, judge_spec: JudgeSpec) -> JudgeSpec:
        """A panel with the usual number of examples, where its spec names none; any other judge as it is."""
        if judge_spec.kind is not JudgeKind.PANEL or "examples" in judge_spec.config or self._example_service is None:
            return judge_spec
        return replace(judge_spec, config={**judge_spec.config, "examples": DEFAULT_EXAMPLES})

    def pin_examples(self, judge_spec: JudgeSpec) -> JudgeSpec:
        """The spec with the index of its examples named, so that a run that goes on later sees the same."""
        request = example_request(judge_spec)
        if request is None or request.index is not None or self._example_service is None:
            return judge_spec
        # Part of the judge's version: with today's index a resumed run would be another judge and begin anew.
        return replace(judge_spec, config={**judge_spec.config, "index": self._example_service.index().name})

    def describe_judge(self, judge_spec: JudgeSpec) -> AnyJudge:
        """The judge of a spec with its version and scale; nothing is connected. Raises UserError."""
        return describe_judge(judge_spec, self._build_context())

    def default_endpoint(self, judge_spec: JudgeSpec) -> Endpoint:
        """The endpoint that a judge asks by default. Raises UserError."""
        return self._build_context().endpoint(judge_spec.endpoint)

    def retriever(self, judge_spec: JudgeSpec, budget: Budget | None = None) -> Retriever:
        """The examples a judge sees, or the usual number of them; also for whoever writes for that judge."""
        if self._example_service is None:
            return NoExamples()
        return self._build_context(budget).retriever(example_request(judge_spec) or ExampleRequest(DEFAULT_EXAMPLES))

    def estimate_retrieval(
        self, judge_spec: JudgeSpec, prompt_texts: Sequence[str], request_count: int
    ) -> Estimate | None:
        """What finding examples for so many requests like these will take; None where nobody is asked.

        Raises UserError.
        """
        request = example_request(judge_spec)
        if request is None or self._example_service is None:
            return None
        return self._example_service.estimate(request, prompt_texts, request_count)

    def preview(self, judge_spec: JudgeSpec, sample: Sample | PairSample) -> list[str]:
        """The exact text of every call this judge would make, as far as it is known beforehand."""
        judge = describe_judge(judge_spec, replace(self._build_context(), stand_in=NO_MODEL))
        return preview_calls(judge, sample) if isinstance(judge, AskingJudge) else []

    def judge_sample(self, judge_spec: JudgeSpec, sample: Sample | PairSample) -> Judgment | PairJudgment:
        """One verdict, shown but not stored; calls go through the ledger as always. Raises UserError."""
        return run_blocking(self._judge_sample(judge_spec, sample))

    def compare_judges(
        self,
        first_judge_id: int,
        second_judge_id: int,
        *,
        only_disagreements: bool,
        offset: int = 0,
        limit: int = 10,
    ) -> OpinionPairPage:
        """The verdicts of two judges on the same greetings; `only_disagreements` leaves those where they part."""
        with self._database.read() as session:
            return load_opinion_pairs(
                session,
                first_judge_id,
                second_judge_id,
                only_disagreements=only_disagreements,
                offset=offset,
                limit=limit,
            )

    async def _judge_sample(self, judge_spec: JudgeSpec, sample: Sample | PairSample) -> Judgment | PairJudgment:
        context = self._build_context()
        judge = build_judge(judge_spec, context)
        try:
            if isinstance(sample, PairSample):
                if isinstance(judge, PairwiseJudge):
                    return (await judge.score([sample]))[0]
                if isinstance(judge, RankingJudge):
                    return await judge.compare(sample)
            elif not isinstance(judge, PairwiseJudge):
                return (await judge.score([sample]))[0]
        finally:
            release_judge(judge)
            await context.close()
        raise UserError(
            "A judge that compares takes two greetings, every other judge takes one.",
            "两两比较和排序的裁判需要两条祝福语，其他裁判只需要一条。",
        )

    def _prepare_run(
        self,
        request: ScoreRequest,
        budget: Budget,
        report_progress: Callable[[ScoreProgress], None],
        is_stopped: Callable[[], bool],
    ) -> ScoreRun:
        judge_spec, asks_models = self.pin_examples(request.spec), request.spec.kind in ASKING_KINDS
        context = self._build_context(budget)
        judge = describe_judge(judge_spec, context)
        with self._database.write() as session:
            work_source = select_work_source(session, request.target, judge)
            rater_id = self.catalog.ensure_rater(session, judge_spec, judge)
            attempt_number = self.catalog.next_attempt(session, rater_id) if request.retry_unscored else 0
        # Only now connected: the transaction above must not last while clients and certificates are made.
        if asks_models:
            judge = build_judge(judge_spec, context, variant=f"retry-{attempt_number}" if attempt_number else "")
        batch_shape = choose_batch_shape(
            judge_spec.kind, context.endpoint(judge_spec.endpoint) if asks_models else None
        )
        return ScoreRun(
            self._database,
            context,
            judge,
            rater_id,
            work_source,
            batch_shape=batch_shape,
            retry_unscored=request.retry_unscored,
            is_stopped=is_stopped,
            report_progress=report_progress,
        )

    def _build_context(self, budget: Budget | None = None) -> JudgeContext:
        return JudgeContext(
            self._endpoint_service,
            self._fitted_judges.judge_named,
            budget or Budget(),
            self._retry_policy,
            self._example_service,
        )

    def _load_work(self, greeting_ids: Sequence[int]) -> list[GreetingWork]:
        with self._database.read() as session:
            greeting_rows = session.execute(
                select(Greeting.id, Prompt.text, Greeting.text)
                .join(Prompt, Prompt.id == Greeting.prompt_id)
                .where(Greeting.id.in_(greeting_ids))
            )
            return [
                GreetingWork(prompt_text, greeting_text, greeting_id)
                for greeting_id, prompt_text, greeting_text in greeting_rows
            ]


def select_work_source(session: Session, target: ScoringTarget, judge: AnyJudge) -> WorkSource:
    """What of a target the judge can judge. Raises UserError."""
    if isinstance(judge, PairwiseJudge):
        return PairSource(session, target)
    return RankingSource(session, target) if isinstance(judge, RankingJudge) else GreetingSource(session, target)


def _run_estimate(item_count: int, missing_count: int, usage: Estimate) -> RunEstimate:
    return RunEstimate(item_count, missing_count, usage.calls, usage.tokens, usage.cost, usage.seconds)


def examples_placeholder(judge_spec: JudgeSpec) -> str:
    """Stands for the examples in a prompt before anybody has looked for them."""
    request = example_request(judge_spec)
    return "例" * (EXAMPLE_CHARACTERS * request.count) if request else ""


def preview_calls(judge: AskingJudge, sample: Sample | PairSample) -> list[str]:
    """What the judge would send for a sample of the kind it takes; nothing for the other kind."""
    if isinstance(judge, PairwiseJudge):
        return judge.preview(sample) if isinstance(sample, PairSample) else []
    if isinstance(judge, RankingJudge):
        return judge.preview(RankingGroup.of_pair(sample)) if isinstance(sample, PairSample) else []
    return judge.preview(sample) if isinstance(sample, Sample) else []
