"""A scoring run: one judge over one target, streaming, with a budget, able to stop and to go on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from backend.db.engine import Database
from backend.errors import UserError
from backend.judges.base import Draft, PairDraft, PairJudge, PairSample, Sample
from backend.judges.constancy import Value, ValueCounts
from backend.judges.registry import AnyJudge
from backend.judges.spec import ASKING, JudgeKind
from backend.llm.endpoint import Endpoint
from backend.llm.errors import Kind, LLMError
from backend.scoring.house import ScoringHouse
from backend.scoring.records import RunState, ScoreProgress
from backend.scoring.store import store
from backend.scoring.stream import Stream
from backend.scoring.targets import Counts, Work, WorkSource

PAGE = 500
MOST_LANES = 512


@runtime_checkable
class Closable(Protocol):
    """A judge that keeps a process."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True)
class Shape:
    """How a judge is fed: items a call of `score`, and how many such calls at once."""

    batch: int
    lanes: int


def shape_of(kind: JudgeKind, endpoint: Endpoint | None) -> Shape:
    """Judges that ask get one item a lane, and more lanes than the server takes, so that it never waits."""
    if kind in ASKING and endpoint is not None:
        return Shape(1, min(MOST_LANES, 2 * endpoint.concurrency))
    return Shape(64 if kind is JudgeKind.REWARD_MODEL else PAGE, 1)


class ScoreRun:
    """Scores what has no verdict of this judge yet. `stopped()` is asked twice a second."""

    def __init__(
        self,
        database: Database,
        house: ScoringHouse,
        judge: AnyJudge,
        rater_id: int,
        source: WorkSource,
        *,
        shape: Shape,
        retry: bool = False,
        stopped: Callable[[], bool] = lambda: False,
        report: Callable[[ScoreProgress], None] = lambda _: None,
    ) -> None:
        self._database, self._house = database, house
        self._judge, self._rater_id, self._source = judge, rater_id, source
        self._retry, self._stopped, self._report = retry, stopped, report
        self._after = 0
        self._began = time.monotonic()
        self._done = Counts(0, 0, 0)
        self._cached = 0
        with database.read() as session:
            self._before = source.counts(session, rater_id)
            # A run that goes on, or finds nothing left, knows what the judge said before.
            self._values = ValueCounts(source.values(session, rater_id))
        self._stream: Stream[Work, Draft | PairDraft] = Stream(
            self._fetch, self._score, self._keep, batch=shape.batch, lanes=shape.lanes
        )

    async def run(self) -> ScoreProgress:
        """Score until nothing is left, the budget is used up, an error ends it, or it is stopped."""
        try:
            await self._stream.run(self._tick)
        finally:
            release(self._judge)
            await self._house.close()
        final = self._progress(*self._ending())
        self._report(final)
        return final

    def _fetch(self) -> Sequence[Work]:
        with self._database.read() as session:
            page = self._source.page(session, self._rater_id, self._after, PAGE, retry=self._retry)
        if page:
            self._after = page[-1].id
        return page

    async def _score(self, batch: Sequence[Work]) -> Sequence[Draft | PairDraft]:
        if isinstance(self._judge, PairJudge):
            return [await _compared(self._judge, work) for work in batch]
        return await self._judge.score([work.sample for work in batch if isinstance(work.sample, Sample)])

    def _keep(self, judged: Sequence[tuple[Work, Draft | PairDraft]]) -> None:
        scale = None if isinstance(self._judge, PairJudge) else self._judge.scale
        store(self._database, self._rater_id, scale, judged)
        values = [_value(draft) for _, draft in judged]
        self._values.add(values)
        good = sum(value is not None for value in values)
        done = self._done
        self._done = Counts(done.items + len(judged), done.scored + good, done.unscored + len(judged) - good)
        self._cached += sum(1 for _, draft in judged if (draft.details or {}).get("cached"))

    def _tick(self) -> None:
        if self._stopped():
            self._house.stop()
            self._stream.stop()
        self._report(self._progress(RunState.RUNNING))

    def _ending(self) -> tuple[RunState, UserError | None]:
        failure = self._stream.failure
        if isinstance(failure, LLMError) and failure.kind is Kind.BUDGET:
            return RunState.BUDGET, failure
        if self._stopped():
            return RunState.STOPPED, None
        return (RunState.DONE, None) if failure is None else (RunState.FAILED, failure)

    def _progress(self, state: RunState, error: UserError | None = None) -> ScoreProgress:
        before, done = self._before, self._done
        seconds = time.monotonic() - self._began
        # With `retry` the unscored ones of before are open again.
        kept = before.scored + (0 if self._retry else before.unscored)
        budget = self._house.budget
        return ScoreProgress(
            judge=self._judge.name,
            version=self._judge.version,
            state=state,
            items=before.items,
            scored=before.scored + done.scored,
            unscored=done.unscored + (0 if self._retry else before.unscored),
            cached=kept + self._cached,
            calls=budget.calls,
            tokens=budget.tokens,
            cost=budget.cost,
            seconds=seconds,
            rate=done.items / seconds if seconds > 0 else 0.0,
            error=error.message if error else None,
            notice=self._values.notice,
        )


def release(judge: AnyJudge) -> None:
    """End the judge's process, where it keeps one."""
    if isinstance(judge, Closable):
        judge.close()


async def _compared(judge: PairJudge, work: Work) -> PairDraft:
    assert isinstance(work.sample, PairSample)
    return await judge.compare(work.sample.prompt, work.sample.first, work.sample.second)


def _value(draft: Draft | PairDraft) -> Value | None:
    return draft.value if isinstance(draft, Draft) else draft.outcome
