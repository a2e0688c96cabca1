"""Scoring as pages, commands and jobs see it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.corpus.examples import ExampleService
from backend.db.engine import Database
from backend.db.tables import Greeting, Prompt, Verdict
from backend.errors import UserError
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.judges.base import Draft, Judge, PairDraft, PairJudge, PairSample, Sample
from backend.judges.pairwise import PairwiseJudge
from backend.judges.panel import NoExamples, Retriever
from backend.judges.registry import (
    EXAMPLES,
    AnyJudge,
    AskingJudge,
    ExampleWish,
    build,
    describe,
    example_wish,
)
from backend.judges.spec import ASKING, JudgeKind, JudgeSpec
from backend.llm.budget import Budget, Estimate, estimate
from backend.llm.endpoint import Endpoint
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService
from backend.scoring.beside import beside
from backend.scoring.blocking import blocking
from backend.scoring.catalog import JudgeCatalog
from backend.scoring.fitted import FittedJudges
from backend.scoring.house import ReadingHouse, ScoringHouse
from backend.scoring.records import BesidePage, RunEstimate, ScoreProgress, ScoreRequest
from backend.scoring.run import ScoreRun, release, shape_of
from backend.scoring.store import rater_of, store
from backend.scoring.targets import GreetingSource, PairSource, Target, Work, WorkSource

TRIVIAL = ("length", "style", "ngram")
BATCH = 500
JOB_KIND = "score"
SAMPLED = 50
EXAMPLE = 80
"""Characters of an example with its request, for estimates."""

Progress = Callable[[float, str], None]


class ScoringService:
    """Judges over greetings; every verdict is stored under the judge's exact version.

    Without `endpoints` only the baselines and trained models can score, without `jobs` only this process.
    """

    def __init__(
        self,
        database: Database,
        endpoints: EndpointService | None = None,
        jobs: JobService | None = None,
        policy: RetryPolicy | None = None,
        examples: ExampleService | None = None,
    ) -> None:
        self._database = database
        self._examples = examples
        self._endpoints = endpoints
        self._jobs = jobs
        self._policy = policy
        self._fitted = FittedJudges(database)
        self.catalog = JudgeCatalog(database, self._house)

    def trivial(self) -> list[Judge]:
        """The judges nobody should mistake for taste, fitted to what the corpus holds now."""
        return self._fitted.all()

    def ensure_trivial(self, greeting_ids: Iterable[int], progress: Progress | None = None) -> None:
        """Store the trivial judges' verdicts on these greetings where they are missing."""
        wanted = sorted(set(greeting_ids))
        judges = self.trivial()
        for number, judge in enumerate(judges):
            if progress:
                progress(number / len(judges), judge.name)
            self.score_missing(judge, wanted)

    def score_missing(self, judge: Judge, greeting_ids: Sequence[int]) -> int:
        """Score those of the greetings on which this version has no verdict; returns how many."""
        rater_id = self.rater(judge)
        with self._database.read() as session:
            known = set(session.scalars(select(Verdict.greeting_id).where(Verdict.rater_id == rater_id)))
        missing = [greeting_id for greeting_id in greeting_ids if greeting_id not in known]
        for start in range(0, len(missing), BATCH):
            work = self._work(missing[start : start + BATCH])
            drafts = blocking(judge.score([one.sample for one in work if isinstance(one.sample, Sample)]))
            store(self._database, rater_id, judge.scale, list(zip(work, drafts, strict=True)))
        return len(missing)

    def rater(self, judge: Judge) -> int:
        """The id of the rater that stands for this judge at this version."""
        with self._database.write() as session:
            return rater_of(session, judge.name, judge.version, judge.scale, None)

    def estimate(self, request: ScoreRequest) -> RunEstimate:
        """What a run will roughly take. Raises UserError for a judge or a target that cannot be."""
        house = self._house()
        judge = describe(request.spec, house)
        with self._database.read() as session:
            source = source_of(session, request.target, judge)
            rater_id = self.catalog.rater_id(session, judge.name, judge.version) or 0
            counts = source.counts(session, rater_id)
            sample = source.page(session, rater_id, 0, SAMPLED, retry=request.retry_unscored)
        missing = counts.items - counts.scored - (0 if request.retry_unscored else counts.unscored)
        if not isinstance(judge, AskingJudge):
            return RunEstimate(counts.items, missing, 0, 0, 0.0, 0.0)
        shown = placeholder(request.spec)
        prompts = [text + shown for work in sample for text in previewed(judge, work.sample)]
        each = round(len(prompts) / len(sample)) if sample else 1
        parts = [estimate(prompts, missing, house.endpoint(request.spec.endpoint), calls_each=each)]
        asked = [work.sample.prompt for work in sample]
        distinct = round(missing * len(set(asked)) / len(asked)) if asked else 0
        if (found := self.retrieval(request.spec, asked, distinct)) is not None:
            parts.append(found)
        rough = sum(parts[1:], parts[0])
        return RunEstimate(counts.items, missing, rough.calls, rough.tokens, rough.cost, rough.seconds)

    def run(
        self,
        request: ScoreRequest,
        report: Callable[[ScoreProgress], None] = lambda _: None,
        stopped: Callable[[], bool] = lambda: False,
        used: Budget | None = None,
    ) -> ScoreProgress:
        """Score in this process until the end. Raises UserError for a judge or a target that cannot be.

        `used` is what an earlier attempt at the same run has used of its budget.
        """
        budget = Budget(request.max_calls, request.max_tokens, request.max_cost)
        if used is not None:
            budget.calls, budget.tokens, budget.cost = used.calls, used.tokens, used.cost
        return blocking(self._run(request, budget, report, stopped))

    def submit(self, request: ScoreRequest) -> JobInfo:
        """Queue the run as a job; what cannot work is refused first. Raises UserError."""
        if self._jobs is None:
            raise UserError("This process has no job queue.", "当前进程没有任务队列。")
        self.estimate(request)
        return self._jobs.submit(JOB_KIND, replace(request, spec=self.pinned(request.spec)).plain())

    def with_examples(self, spec: JudgeSpec) -> JudgeSpec:
        """A panel with the usual number of examples, where its spec names none; any other judge as it is."""
        if spec.kind is not JudgeKind.PANEL or "examples" in spec.config or self._examples is None:
            return spec
        return replace(spec, config={**spec.config, "examples": EXAMPLES})

    def pinned(self, spec: JudgeSpec) -> JudgeSpec:
        """The spec with the index of its examples named, so that a run that goes on later sees the same."""
        wish = example_wish(spec)
        if wish is None or wish.index is not None or self._examples is None:
            return spec
        return replace(spec, config={**spec.config, "index": self._examples.index().name})

    def described(self, spec: JudgeSpec) -> AnyJudge:
        """The judge of a spec with its version and scale; nothing is connected. Raises UserError."""
        return describe(spec, self._house())

    def endpoint_of(self, spec: JudgeSpec) -> Endpoint:
        """The endpoint that a judge asks by default. Raises UserError."""
        return self._house().endpoint(spec.endpoint)

    def retriever(self, spec: JudgeSpec, budget: Budget | None = None) -> Retriever:
        """The examples a judge sees, or the usual number of them; also for whoever writes for that judge."""
        if self._examples is None:
            return NoExamples()
        return self._house(budget).retriever(example_wish(spec) or ExampleWish(EXAMPLES))

    def retrieval(self, spec: JudgeSpec, prompts: Sequence[str], count: int) -> Estimate | None:
        """What finding examples for `count` requests like `prompts` will take; None where nobody is asked.

        Raises UserError.
        """
        wish = example_wish(spec)
        if wish is None or self._examples is None:
            return None
        return self._examples.estimate(wish, prompts, count)

    def preview(self, spec: JudgeSpec, sample: Sample | PairSample) -> list[str]:
        """The exact text of every call this judge would make, as far as it is known beforehand."""
        judge = describe(spec, ReadingHouse(self._endpoints, self._fitted.one, examples=self._examples))
        return previewed(judge, sample) if isinstance(judge, AskingJudge) else []

    def judge_one(self, spec: JudgeSpec, sample: Sample | PairSample) -> Draft | PairDraft:
        """One verdict, shown but not stored; calls go through the ledger as always. Raises UserError."""
        return blocking(self._judge_one(spec, sample))

    def beside(
        self, first: int, second: int, *, differ: bool, offset: int = 0, limit: int = 10
    ) -> BesidePage:
        """What two judges (by id) said of the same greetings; with `differ` only where they part."""
        with self._database.read() as session:
            return beside(session, first, second, differ=differ, offset=offset, limit=limit)

    async def _judge_one(self, spec: JudgeSpec, sample: Sample | PairSample) -> Draft | PairDraft:
        house = self._house()
        judge = build(spec, house)
        try:
            if isinstance(sample, PairSample):
                if isinstance(judge, PairJudge):
                    return await judge.compare(sample.prompt, sample.first, sample.second)
            elif not isinstance(judge, PairJudge):
                return (await judge.score([sample]))[0]
        finally:
            release(judge)
            await house.close()
        raise UserError(
            "A pairwise judge takes two greetings, every other judge takes one.",
            "两两比较的裁判需要两条祝福语，其他裁判只需要一条。",
        )

    async def _run(
        self,
        request: ScoreRequest,
        budget: Budget,
        report: Callable[[ScoreProgress], None],
        stopped: Callable[[], bool],
    ) -> ScoreProgress:
        spec, asks = self.pinned(request.spec), request.spec.kind in ASKING
        house = self._house(budget)
        judge = describe(spec, house)
        with self._database.write() as session:
            source = source_of(session, request.target, judge)
            rater_id = self.catalog.rater(session, spec, judge)
            tries = self.catalog.revisions(session, rater_id) if request.retry_unscored else 0
        if asks:
            judge = build(spec, house, variant=f"retry-{tries}" if tries else "")
        shape = shape_of(spec.kind, house.endpoint(spec.endpoint) if asks else None)
        run = ScoreRun(
            self._database,
            house,
            judge,
            rater_id,
            source,
            shape=shape,
            retry=request.retry_unscored,
            stopped=stopped,
            report=report,
        )
        return await run.run()

    def _house(self, budget: Budget | None = None) -> ScoringHouse:
        return ScoringHouse(self._endpoints, self._fitted.one, budget, self._policy, self._examples)

    def _work(self, greeting_ids: Sequence[int]) -> list[Work]:
        with self._database.read() as session:
            rows = session.execute(
                select(Greeting.id, Prompt.text, Greeting.text)
                .join(Prompt, Prompt.id == Greeting.prompt_id)
                .where(Greeting.id.in_(greeting_ids))
            )
            return [Work(id_, Sample(prompt, text), (id_,), None, 0) for id_, prompt, text in rows]


def source_of(session: Session, target: Target, judge: AnyJudge) -> WorkSource:
    """What of a target the judge can judge. Raises UserError."""
    return PairSource(session, target) if isinstance(judge, PairJudge) else GreetingSource(session, target)


def placeholder(spec: JudgeSpec) -> str:
    """Stands for the examples in a prompt before anybody has looked for them."""
    wish = example_wish(spec)
    return "例" * (EXAMPLE * wish.count) if wish else ""


def previewed(judge: AskingJudge, sample: Sample | PairSample) -> list[str]:
    """What the judge would send for a sample of the kind it takes; nothing for the other kind."""
    if isinstance(judge, PairwiseJudge):
        return judge.preview(sample) if isinstance(sample, PairSample) else []
    return judge.preview(sample) if isinstance(sample, Sample) else []
