"""A run from its first line to its last pair: filter, write and judge in turns, ask again, then pair.

Everything that is done stands in the database, so a run that was stopped or killed goes on where it was.
Writing and judging take turns a chunk of prompts at a time: so memory does not grow with the run, and a cap
on costs leaves finished prompts rather than unjudged candidates.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import case, func, select

from backend.db.base import now
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun, RunPrompt
from backend.errors import UserError
from backend.jobs.seat import Seat
from backend.judges.panel import Retriever
from backend.judges.spec import JudgeSpec
from backend.llm.budget import Budget
from backend.llm.errors import Kind, LLMError
from backend.pairs.candidates import Asked, Desk, Slot, store, unwritten
from backend.pairs.emit import emit
from backend.pairs.filtering import filter_run
from backend.pairs.pens import Pens
from backend.pairs.people import hand_out
from backend.pairs.records import PairProgress, PairRequest, done_share
from backend.pairs.second import mark
from backend.pairs.vocabulary import Stage
from backend.scoring.blocking import blocking
from backend.scoring.records import RunState, ScoreProgress, ScoreRequest
from backend.scoring.service import ScoringService
from backend.scoring.stream import Stream
from backend.scoring.targets import Target, TargetKind

CHUNK = 250
"""Prompts that are written before their candidates are judged."""
NOTED_S = 0.5
Told = Callable[[PairProgress], None]
Stopped = Callable[[], bool]


@dataclass(frozen=True)
class Tools:
    """What a run works with."""

    database: Database
    scoring: ScoringService
    pens: Callable[[], Pens]
    retriever: Callable[[PairRequest, Budget], Retriever]


class Halt(Exception):
    """The run ends here for now: asked to stop, or its budget is used up."""

    def __init__(self, state: RunState, error: UserError | None = None) -> None:
        super().__init__(state.value)
        self.state = state
        self.error = error


class Running:
    """One attempt at a run, by whoever has its seat."""

    def __init__(self, tools: Tools, run_id: int, seat: Seat, told: Told, stopped: Stopped) -> None:
        self._tools, self._id, self._seat, self._told, self._asked = tools, run_id, seat, told, stopped
        self._began = self._noted = time.monotonic()
        with tools.database.read() as session:
            run = session.get_one(PairRun, run_id)
            self._request = PairRequest.read(run.config)
            self._name, self._stage, spent = run.name, run.stage, run.spent
        request = self._request
        self._budget = Budget(request.max_calls, request.max_tokens, request.max_cost)
        self._budget.calls, self._budget.tokens = spent.get("calls", 0), spent.get("tokens", 0)
        self._budget.cost, self._seconds = spent.get("cost", 0.0), spent.get("seconds", 0.0)
        self._judged = self._again = 0

    def go(self) -> PairProgress:
        """Work until the pairs stand, the run is stopped, or its budget is used up. Raises UserError, and
        Elsewhere where another process took the run over."""
        state, error = RunState.DONE, None
        try:
            self._enter(Stage.FILTERING)
            filter_run(self._tools.database, self._id, self._check_stop)
            self._check_stop()
            self._write_and_judge()
            self._ask_again()
            self._pair()
        except Halt as halt:
            state, error = halt.state, halt.error
        finally:
            self._note(force=True)
        final = self._progress(state)
        final = replace(final, error=error.message if error else None)
        self._told(final)
        return final

    def _write_and_judge(self) -> None:
        while True:
            self._enter(Stage.WRITING)
            wrote = blocking(self._write())
            self._check_stop()
            self._enter(Stage.JUDGING)
            self._judge()
            self._check_stop()
            if not wrote:
                return

    async def _write(self) -> int:
        """Write the next chunk; how many prompts it had."""
        left, wrote = CHUNK, 0
        pens = self._tools.pens()

        def fetch() -> Sequence[Asked]:
            nonlocal left
            with self._tools.database.read() as session:
                page = unwritten(session, self._id, left)
            left = 0
            return page

        def keep(written: Sequence[tuple[Asked, list[Slot]]]) -> None:
            nonlocal wrote
            store(self._tools.database, self._id, written)
            wrote += len(written)

        def tick() -> None:
            if self._stopped():
                pens.stop()
                stream.stop()
            self._report()

        try:
            opened = await pens.open(self._request.plan.generators, f"pairs:{self._id}", self._budget)
            retriever = self._tools.retriever(self._request, self._budget)
            desk = Desk(self._request.plan, opened, retriever, self._request.seed)

            async def work(batch: Sequence[Asked]) -> list[list[Slot]]:
                return [await desk.write(asked) for asked in batch]

            lanes = max(
                2, 2 * sum(pen.concurrency for pen in opened.values()) // self._request.plan.candidates
            )
            stream: Stream[Asked, list[Slot]] = Stream(fetch, work, keep, batch=1, lanes=min(lanes, 128))
            await stream.run(tick)
        finally:
            await pens.close()
        _halt_on(stream.failure)
        return wrote

    def _judge(self) -> None:
        """Let the judge see every candidate that has no verdict of it yet."""
        target = Target(TargetKind.DATASET, self._name)
        self._score(self._request.judge, target, self._scored, "judge_id")

    def _ask_again(self) -> None:
        """Let a second judge see the candidates of pairs that balance would keep against the odds."""
        request = self._request
        if request.second is None or not request.balance_length:
            return
        self._note(force=True)
        if not mark(self._tools.database, self._id, request):
            return
        target = Target(TargetKind.TWICE, str(self._id))
        self._score(request.second, target, self._scored_again, "second_judge_id")
        self._check_stop()

    def _score(
        self, spec: JudgeSpec, target: Target, told: Callable[[ScoreProgress], None], column: str
    ) -> None:
        """Score what is missing, within what is left of the budget; `column` notes the rater, from its first
        verdicts on, so that they count in the funnel."""
        request = self._request
        asked = ScoreRequest(spec, target, request.max_calls, request.max_tokens, request.max_cost)
        rater: int | None = None

        def heard(progress: ScoreProgress) -> None:
            nonlocal rater
            if rater is None:
                with self._tools.database.read() as session:
                    rater = self._tools.scoring.catalog.rater_id(session, progress.judge, progress.version)
                self._seat.note(**{column: rater})
            told(progress)

        done = self._tools.scoring.run(asked, heard, self._stopped, self._budget)
        heard(done)
        if done.state is RunState.BUDGET:
            raise Halt(RunState.BUDGET, UserError(done.error.en, done.error.zh) if done.error else None)
        if done.state is RunState.FAILED and done.error is not None:
            raise UserError(done.error.en, done.error.zh)

    def _scored(self, progress: ScoreProgress) -> None:
        self._judged = progress.scored + progress.unscored
        self._spent(progress)

    def _scored_again(self, progress: ScoreProgress) -> None:
        self._again = progress.scored + progress.unscored
        self._spent(progress)

    def _spent(self, progress: ScoreProgress) -> None:
        self._budget.calls, self._budget.tokens = progress.calls, progress.tokens
        self._budget.cost = progress.cost
        self._report()

    def _pair(self) -> None:
        self._enter(Stage.PAIRING)
        report = emit(self._tools.database, self._id, self._request)
        self._seat.beat()
        hand_out(self._tools.database, self._id, self._request)
        self._seat.note(report=report.plain(), stage=Stage.DONE, finished_at=now())
        self._stage = Stage.DONE

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        self._seat.beat()
        self._seat.note(stage=stage)
        self._note(force=True)
        self._report()

    def _stopped(self) -> bool:
        """Be heard of; whether to stop: asked by the job, or noted in the row of the run."""
        return self._seat.beat() or self._asked()

    def _check_stop(self) -> None:
        if self._stopped():
            raise Halt(RunState.STOPPED)

    def _report(self) -> None:
        self._note()
        self._told(self._progress(RunState.RUNNING))

    def _note(self, *, force: bool = False) -> None:
        """Write down what was spent, twice a second and at every stage: a resumed run counts it in.

        So of a killed run at most half a second of calls is not counted into its caps.
        """
        if not force and time.monotonic() - self._noted < NOTED_S:
            return
        self._noted = time.monotonic()
        spent = {
            "calls": self._budget.calls,
            "tokens": self._budget.tokens,
            "cost": self._budget.cost,
            "seconds": self._seconds + time.monotonic() - self._began,
        }
        self._seat.note(spent=spent)

    def _progress(self, state: RunState) -> PairProgress:
        with self._tools.database.read() as session:
            counts = _counts(session, self._id)
        expected = counts["kept"] * self._request.plan.candidates
        debated = counts["debated"] if counts["written_prompts"] == counts["kept"] else expected
        return PairProgress(
            run=self._id,
            stage=self._stage,
            state=state,
            prompts=counts["prompts"],
            kept_prompts=counts["kept"],
            written=counts["written"],
            expected=expected,
            judged=self._judged,
            calls=self._budget.calls,
            tokens=self._budget.tokens,
            cost=self._budget.cost,
            seconds=self._seconds + time.monotonic() - self._began,
            done_share=done_share(counts["written"], expected, self._judged, debated),
            again=self._again,
        )


def _counts(session: Any, run_id: int) -> dict[str, int]:
    prompts = session.execute(
        select(
            func.count(), func.count(RunPrompt.prompt_id), func.sum(case((RunPrompt.written, 1), else_=0))
        ).where(RunPrompt.run_id == run_id)
    ).one()
    candidates = session.execute(
        select(func.count(), func.count(Candidate.greeting_id)).where(Candidate.run_id == run_id)
    ).one()
    return {
        "prompts": prompts[0],
        "kept": prompts[1],
        "written_prompts": int(prompts[2] or 0),
        "written": candidates[0],
        "debated": candidates[1],
    }


def _halt_on(failure: UserError | None) -> None:
    if isinstance(failure, LLMError) and failure.kind in (Kind.BUDGET, Kind.CANCELLED):
        state = RunState.BUDGET if failure.kind is Kind.BUDGET else RunState.STOPPED
        raise Halt(state, failure if state is RunState.BUDGET else None)
    if failure is not None:
        raise failure
