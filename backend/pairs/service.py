"""Preference pairs as pages, commands and jobs see them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import update

from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.db.pair_tables import PairRun
from backend.errors import Conflict, UserError
from backend.jobs.records import JobInfo
from backend.jobs.seat import RunTable, Seat, idle, not_a_job, refuse_second
from backend.jobs.service import JobService
from backend.judges.base import PairJudge
from backend.judges.panel import Retriever
from backend.judges.spec import JudgeSpec
from backend.llm.budget import Budget
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService
from backend.pairs import decide, estimating, intake, people, views
from backend.pairs.pens import Pens
from backend.pairs.records import (
    Funnel,
    LostCandidate,
    PairDetail,
    PairEstimate,
    PairFilter,
    PairPage,
    PairProgress,
    PairRequest,
    PairRunInfo,
    PromptLine,
)
from backend.pairs.run import Running, Tools
from backend.pairs.verdicts import LIMITS
from backend.pairs.vocabulary import PairState, Stage
from backend.records import ExportReport
from backend.scoring.service import ScoringService
from backend.training_runs.config import STARTER, settings_for
from backend.training_runs.service import STARTER_PRESET, TrainingService
from backend.writing.generators import GeneratorService

JOB_KIND = "pairs"
PAIRS = RunTable(PairRun, "批次", "pairs pause")
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
        policy: RetryPolicy | None = None,
    ) -> None:
        self._database, self._endpoints, self._generators = database, endpoints, generators
        self._scoring, self._corpus, self._jobs = scoring, corpus, jobs
        self._policy = policy

    def check(self, request: PairRequest) -> None:
        """Refuse what cannot work. Raises UserError, NotFound."""
        for name in request.plan.generators:
            self._generators.info(name)
        judges = [spec for spec in (request.judge, request.second) if spec is not None]
        for spec in judges:
            judge = self._scoring.described(spec)
            if isinstance(judge, PairJudge) or judge.scale not in LIMITS:
                raise UserError(
                    f"The judge “{spec.name}” does not say which greetings are excellent; use a panel, "
                    "principles or a rubric.",
                    f"裁判“{spec.name}”不会说一条祝福是否优秀，请用评审团、原则或评分表类的裁判。",
                )
        if len({json.dumps([spec.kind, spec.endpoint, dict(spec.config)]) for spec in judges}) < len(judges):
            raise UserError(
                "The second judge is the first one, who would say the same; choose another, or let it be "
                "asked again at another draw.",
                "第二个裁判和第一个完全一样，只会重复同样的话；请换一个，或选“同一裁判再评一次”。",
            )

    def estimate(self, request: PairRequest) -> PairEstimate:
        """What a run will roughly take; calls nobody and stores nothing. Raises UserError, NotFound."""
        self.check(request)
        return estimating.estimate(self._database, self._endpoints, self._scoring, self._generators, request)

    def open(self, request: PairRequest) -> PairRunInfo:
        """Store a new run with everything that goes in. Raises UserError, NotFound.

        A panel is shown examples as the writers are, always those of the corpus as it is now.
        """
        self.check(request)
        pinned = replace(
            request,
            judge=self._ready(request.judge),
            second=self._ready(request.second) if request.second else None,
        )
        return self.one(intake.open_run(self._database, pinned))

    def _ready(self, spec: JudgeSpec) -> JudgeSpec:
        return self._scoring.pinned(self._scoring.with_examples(spec))

    def submit(self, request: PairRequest) -> tuple[PairRunInfo, JobInfo]:
        """Store a new run and queue it as a job."""
        run = self.open(request)
        job = self._queued(run)
        return self.one(run.id), job

    def resume(self, run_id: int, **caps: Any) -> JobInfo:
        """Queue a run again that stopped early; caps that are given replace its own. Raises Conflict."""
        run = self.recapped(run_id, **caps)
        job = self._job(run)
        if job is not None and job.resumable:
            return self._jobs.resume(job.id)
        return self._queued(run)

    def recapped(self, run_id: int, **caps: Any) -> PairRunInfo:
        """A run that can go on, with other caps where they are given. Raises NotFound, and Conflict where it
        is done or in the works."""
        run = self.one(run_id)
        if run.stage is Stage.DONE:
            raise Conflict(f"Run {run.id} is done; start a new one.", f"批次 {run.id} 已完成，请新建一批。")
        if (job := self._active(run)) is not None:
            raise Conflict(
                f"Job {job.id} works on run {run.id} already.", f"任务 {job.id} 正在跑批次 {run.id}。"
            )
        given = {name: value for name, value in caps.items() if value is not None}
        with self._database.write() as session:
            row = session.get_one(PairRun, run.id, with_for_update=True)
            refuse_second(PAIRS, row)
            row.config = {**row.config, **given}
        return self.one(run.id)

    def pause(self, run_id: int) -> PairRunInfo:
        """Let a run stop, whoever plays it; what is finished is kept. Raises Conflict where nobody does."""
        run = self.one(run_id)
        if (job := self._active(run)) is not None:
            self._jobs.pause(job.id)
        elif run.playing is not None:
            with self._database.write() as session:
                session.get_one(PairRun, run.id).stop_wished = True
        else:
            raise idle(PAIRS, run.id)
        return self.one(run.id)

    def cancel(self, run_id: int) -> PairRunInfo:
        """End a run's job; the run can be resumed later. Raises Conflict where it has none that runs."""
        run = self.one(run_id)
        job = self._active(run)
        if job is None:
            raise not_a_job(PAIRS, run.id, run.playing) if run.playing else idle(PAIRS, run.id)
        self._jobs.cancel(job.id)
        return self.one(run.id)

    def run(
        self,
        run_id: int,
        told: Callable[[PairProgress], None] = lambda _: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> PairProgress:
        """Work on a run in this process until its pairs stand or it has to stop.

        Raises UserError for what it cannot go on with, and Conflict where another process plays the run,
        which goes on undisturbed.
        """
        tools = Tools(self._database, self._scoring, self._pens, self._retriever)
        seat = Seat(self._database, PAIRS, run_id)
        seat.take()
        try:
            return Running(tools, run_id, seat, told, stopped).go()
        finally:
            seat.leave()

    def runs(self) -> list[PairRunInfo]:
        """Every run, the newest first."""
        with self._database.read() as session:
            return views.runs(session)

    def one(self, run: str | int) -> PairRunInfo:
        """A run by number or name. Raises NotFound."""
        with self._database.read() as session:
            return views.run_of(session, run)

    def funnel(self, run_id: int) -> Funnel:
        """How many came through each stage, and why the others did not."""
        with self._database.read() as session:
            return views.funnel(session, run_id)

    def lines(self, run_id: int, lost: str | None = None, limit: int = 1_000) -> list[PromptLine]:
        """What went into a run, line by line; with `lost` only what was lost for that reason."""
        with self._database.read() as session:
            return views.lines(session, run_id, lost, limit)

    def lost_candidates(self, run_id: int, fault: str, limit: int = 200) -> list[LostCandidate]:
        """Candidates of a run that failed one check."""
        with self._database.read() as session:
            return views.lost_candidates(session, run_id, fault, limit)

    def page(self, run_id: int, wish: PairFilter, offset: int = 0, limit: int = 20) -> PairPage:
        """Pairs of a run, those that wait for a decision first."""
        with self._database.read() as session:
            return views.page(session, run_id, wish, offset, limit)

    def pair(self, pair_id: int) -> PairDetail:
        """One pair with both debates and its history. Raises NotFound."""
        with self._database.read() as session:
            return views.detail(session, pair_id)

    def decide(
        self, pair_id: int, action: str, name: str = "", note: str = "", seen: PairState | None = None
    ) -> PairDetail:
        """Accept, flip or discard a pair; what is exported follows. Raises UserError, Conflict."""
        decide.decide(self._database, decide.Wish(pair_id, action, name, note, seen))
        return self.pair(pair_id)

    def settle(self, run_id: int) -> int:
        """Let people's complete answers decide the pairs that wait for them; how many moved."""
        return people.settle(self._database, self.one(run_id).id)

    def export(self, run_id: int, fmt: str, path: Path) -> ExportReport:
        """Write the pairs of a run that may be used, as the corpus room writes pairs."""
        self.settle(run_id)
        return self._corpus.export("pairs", fmt, path, dataset=self.one(run_id).name)

    def train(self, run_id: int) -> JobInfo:
        """Queue a reward model on the pairs of a run that may be used. Raises UserError.

        It builds on the newest policy, or on a fresh starter where there is none.
        """
        self.settle(run_id)
        run = self.one(run_id)
        if not self.funnel(run.id).pairs:
            raise UserError(
                f"Run {run.id} has no pair that may be used yet.", f"批次“{run.name}”还没有可用的偏好对。"
            )
        trainings = TrainingService(self._jobs)
        wish = {"datasets": [run.name], "name": f"rm-{run.name}"}
        sets = [info.name for info in self._corpus.datasets()]
        settings = settings_for(REWARD_MODEL, STARTER_PRESET, wish).model_dump(mode="json")
        if trainings.problems(REWARD_MODEL, settings, sets, ()):
            wish["base"] = STARTER
        return trainings.submit(REWARD_MODEL, STARTER_PRESET, wish)

    def _queued(self, run: PairRunInfo) -> JobInfo:
        job = self._jobs.submit(JOB_KIND, {"run": run.id, "name": run.name})
        with self._database.write() as session:
            session.execute(update(PairRun).where(PairRun.id == run.id).values(job_id=job.id))
        return job

    def _job(self, run: PairRunInfo) -> JobInfo | None:
        return None if run.job is None else self._jobs.job(run.job)

    def _active(self, run: PairRunInfo) -> JobInfo | None:
        job = self._job(run)
        return job if job is not None and not job.ended else None

    def _pens(self) -> Pens:
        return Pens(self._generators, self._endpoints, self._policy)

    def _retriever(self, request: PairRequest, budget: Budget) -> Retriever:
        return self._scoring.retriever(request.judge, budget)
