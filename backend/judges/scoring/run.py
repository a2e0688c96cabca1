"""A scoring run: one judge over one target, streaming through a bounded number of lanes, able to stop and go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from backend.core.errors import UserError
from backend.db.engine import Database
from backend.judges.base import ASKING_KINDS, JudgeKind, Judgment, PairJudgment
from backend.judges.constancy import JudgeValue, ValueCounts
from backend.judges.context import JudgeContext
from backend.judges.pairwise import PairwiseJudge
from backend.judges.ranking import RankingJudge
from backend.judges.registry import AnyJudge
from backend.judges.scoring.groups import GROUPS_A_PAGE, GroupWork, RankingSource, flatten_groups, group_scorer
from backend.judges.scoring.records import ScoreProgress, ScoringRunState
from backend.judges.scoring.targets import TargetCounts, WorkItem, WorkSource, store
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.messages import Endpoint

OutputT = TypeVar("OutputT")


def run_blocking(coroutine: Coroutine[Any, Any, OutputT]) -> OutputT:
    """The result of the coroutine, awaited to its end."""
    return blocking_runner()(coroutine)


def blocking_runner() -> Callable[[Coroutine[Any, Any, OutputT]], OutputT]:
    """What awaits a coroutine to its end here: `asyncio.run`, or the same in another thread where this one already runs
    an event loop, as that of a notebook does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run
    return _run_in_thread


def _run_in_thread(coroutine: Coroutine[Any, Any, OutputT]) -> OutputT:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()


WorkT = TypeVar("WorkT")
ResultT = TypeVar("ResultT")

# Results a transaction: few enough that a person's vote never waits long for the database.
FLUSH_SIZE = 100
# How late a request to stop is seen at most, and how often progress is written.
TICK_SECONDS = 0.5
# What is in flight when a run is stopped may end within this; then it is cancelled.
STOP_GRACE_S = 10.0


class WorkStream(Generic[WorkT, ResultT]):
    """Runs until the pages end, an error ends the run, or `stop()` is called.

    `fetch_page` gives the next page after the last one's end, empty at the end; `process_batch` gives one result per
    item of a batch; `store_results` keeps them. The first and the last run in threads, so that the database holds up no
    request. Lanes bound what is in memory; how many requests are sent at once is the business of the client's limiter.
    """

    def __init__(
        self,
        fetch_page: Callable[[], Sequence[WorkT]],
        process_batch: Callable[[Sequence[WorkT]], Awaitable[Sequence[ResultT]]],
        store_results: Callable[[Sequence[tuple[WorkT, ResultT]]], None],
        *,
        batch_size: int,
        lane_count: int,
    ) -> None:
        self._fetch_page, self._process_batch, self._store_results = fetch_page, process_batch, store_results
        self._batch_size, self._lane_count = batch_size, lane_count
        # Bounded, so that pages are read only as fast as they are judged and memory stays flat over 100,000
        # items.
        self._batch_queue: asyncio.Queue[Sequence[WorkT] | None] = asyncio.Queue(2 * lane_count)
        self._unstored_results: list[tuple[WorkT, ResultT]] = []
        self._storing_lock = asyncio.Lock()
        self._stopped_at: float | None = None
        self.failure: UserError | None = None

    def stop(self) -> None:
        """Begin nothing new; what is being judged is finished and kept, within some seconds."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()

    async def run(self, on_tick: Callable[[], None], close: Callable[[], Awaitable[None]] | None = None) -> None:
        """Work everything off; `on_tick` is called twice a second. `failure` then says what ended it early.

        `close` is awaited at the end, whatever the end is: connections must be closed in the loop they belong to.
        """
        lane_tasks = [asyncio.create_task(self._produce_batches())]
        lane_tasks += [asyncio.create_task(self._run_lane()) for _ in range(self._lane_count)]
        try:
            pending_tasks: set[asyncio.Task[None]] = set(lane_tasks)
            while pending_tasks and not self._grace_exceeded():
                finished_tasks, pending_tasks = await asyncio.wait(
                    pending_tasks, timeout=TICK_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                )
                for lane_task in finished_tasks:
                    # Raises what no lane expects, such as a database that fails; errors of judging stand in
                    # `failure`.
                    lane_task.result()
                await self._flush_results()
                on_tick()
        finally:
            for lane_task in lane_tasks:
                lane_task.cancel()
            await asyncio.gather(*lane_tasks, return_exceptions=True)
            # Also where the run itself is cancelled: what was judged is kept.
            if self._unstored_results:
                unstored_results, self._unstored_results = self._unstored_results, []
                self._store_results(unstored_results)
            if close is not None:
                await close()

    def _grace_exceeded(self) -> bool:
        return self._stopped_at is not None and time.monotonic() - self._stopped_at > STOP_GRACE_S

    async def _produce_batches(self) -> None:
        while self._stopped_at is None and (work_page := await asyncio.to_thread(self._fetch_page)):
            for batch_start in range(0, len(work_page), self._batch_size):
                await self._batch_queue.put(work_page[batch_start : batch_start + self._batch_size])
        for _ in range(self._lane_count):
            # One end for each lane, since each takes one and returns.
            await self._batch_queue.put(None)

    async def _run_lane(self) -> None:
        while (work_batch := await self._batch_queue.get()) is not None:
            # Goes on taking: the producer may wait for room in the queue, and would wait for ever.
            if self._stopped_at is not None:
                continue
            try:
                batch_results = await self._process_batch(work_batch)
            except UserError as error:
                # The first error names the cause; the others are its echo.
                self.failure = self.failure or error
                self.stop()
                continue
            self._unstored_results += zip(work_batch, batch_results, strict=True)
            if len(self._unstored_results) >= FLUSH_SIZE:
                await self._flush_results()

    async def _flush_results(self) -> None:
        async with self._storing_lock:
            # Exchanged within the lock and before anything is awaited, so that no result is stored twice or
            # passed over.
            unstored_results, self._unstored_results = self._unstored_results, []
            if not unstored_results:
                return
            storing_task = asyncio.ensure_future(asyncio.to_thread(self._store_results, unstored_results))
            try:
                # A thread cannot be cancelled: to go on while it writes would store the rest beside a
                # transaction that still runs.
                await asyncio.shield(storing_task)
            except asyncio.CancelledError:
                # Only the end of the writing is waited for; the cancellation is what goes on.
                with suppress(Exception):
                    await storing_task
                raise


PagedWork = WorkItem | GroupWork
# A judge that ranks gives a list of judgments for each group.
PagedJudgment = Judgment | PairJudgment | list[Judgment]
ScoreBatch = Callable[[Sequence[PagedWork]], Awaitable[Sequence[PagedJudgment]]]
PAGE_SIZE = 500
# Each lane is a task with an item in memory; endpoints of a higher concurrency are rare.
MAX_LANES = 512


@runtime_checkable
class Closable(Protocol):
    """A judge that keeps a process."""

    def close(self) -> None:
        """End the process; the judge cannot score afterwards."""


@dataclass(frozen=True)
class BatchShape:
    """How a judge is fed: items a call of `score`, and how many such calls at once."""

    batch_size: int
    lane_count: int


def choose_batch_shape(judge_kind: JudgeKind, endpoint: Endpoint | None) -> BatchShape:
    """Judges that ask get one item a lane, and more lanes than the server takes, so that it never waits."""
    if judge_kind in ASKING_KINDS and endpoint is not None:
        return BatchShape(1, min(MAX_LANES, 2 * endpoint.concurrency))
    # A baseline gains by large batches; the reward model's are those of its process.
    return BatchShape(64 if judge_kind is JudgeKind.REWARD_MODEL else PAGE_SIZE, 1)


class ScoreRun:
    """Scores what has no verdict of this judge yet: run its `stream` with `on_tick` and `close`, then `finish`."""

    def __init__(
        self,
        database: Database,
        context: JudgeContext,
        judge: AnyJudge,
        rater_id: int,
        work_source: WorkSource,
        *,
        batch_shape: BatchShape,
        retry_unscored: bool = False,
        is_stopped: Callable[[], bool] = lambda: False,
        report_progress: Callable[[ScoreProgress], None] = lambda _: None,
    ) -> None:
        self._database, self._context = database, context
        self._judge, self._rater_id, self._work_source = judge, rater_id, work_source
        self._retry_unscored, self._is_stopped, self._report_progress = (
            retry_unscored,
            is_stopped,
            report_progress,
        )
        self._last_item_id = 0
        self._started_at = time.monotonic()
        self._done_counts = TargetCounts(0, 0, 0)
        self._cached_count = 0
        with database.read() as session:
            self._earlier_counts = work_source.count_work(session, rater_id)
            # A run that goes on, or has nothing left to do, knows the values that the judge gave before.
            self._value_counts = ValueCounts(work_source.count_values(session, rater_id))
        score_batch = group_scorer(judge) if isinstance(judge, RankingJudge) else judge.score
        self.stream: WorkStream[PagedWork, PagedJudgment] = WorkStream(
            self._fetch_page,
            cast(ScoreBatch, score_batch),  # each item of the source is what this judge takes
            self._store_judged,
            batch_size=batch_shape.batch_size,
            lane_count=batch_shape.lane_count,
        )

    async def close(self) -> None:
        """End the judge's process, where it keeps one, and close the connections; what is recorded is then stored."""
        release_judge(self._judge)
        await self._context.close()

    def finish(self) -> ScoreProgress:
        """How the run ended, once its stream has: nothing left, budget used up, an error, or stopped."""
        final_progress = self._build_progress(*self._final_state())
        self._report_progress(final_progress)
        return final_progress

    def _fetch_page(self) -> Sequence[PagedWork]:
        work_source = self._work_source
        with self._database.read() as session:
            place = (session, self._rater_id, self._last_item_id)
            work_page: Sequence[PagedWork] = (
                work_source.load_groups(*place, GROUPS_A_PAGE, retry_unscored=self._retry_unscored)
                if isinstance(work_source, RankingSource)
                else work_source.load_page(*place, PAGE_SIZE, retry_unscored=self._retry_unscored)
            )
        if work_page:
            # After an id and not at an offset: what is judged meanwhile leaves the query, and an offset would
            # skip as many.
            self._last_item_id = work_page[-1].id
        return work_page

    def _store_judged(self, judged_pages: Sequence[tuple[PagedWork, PagedJudgment]]) -> None:
        judged_work = flatten_groups(judged_pages)
        judge_scale = None if isinstance(self._judge, PairwiseJudge) else self._judge.scale
        store(self._database, self._rater_id, judge_scale, judged_work)
        judged_values = [_judged_value(judgment) for _, judgment in judged_work]
        self._value_counts.add_values(judged_values)
        scored_count = sum(judged_value is not None for judged_value in judged_values)
        done_counts = self._done_counts
        self._done_counts = TargetCounts(
            done_counts.items + len(judged_work),
            done_counts.scored + scored_count,
            done_counts.unscored + len(judged_work) - scored_count,
        )
        if isinstance(self._work_source, RankingSource):
            self._done_counts = self._counted_anew(self._work_source, self._done_counts.items)
        self._cached_count += sum(1 for _, judgment in judged_work if (judgment.details or {}).get("cached"))

    def _counted_anew(self, work_source: RankingSource, judged_count: int) -> TargetCounts:
        """What this run has added. A ranking supersedes verdicts of before, which a sum would count a second time."""
        with self._database.read() as session:
            counts_now = work_source.count_work(session, self._rater_id)
        earlier_unscored = 0 if self._retry_unscored else self._earlier_counts.unscored
        return TargetCounts(
            judged_count,
            counts_now.scored - self._earlier_counts.scored,
            counts_now.unscored - earlier_unscored,
        )

    def on_tick(self) -> None:
        """Stop where that is asked for, and report."""
        if self._is_stopped():
            self._context.stop()
            self.stream.stop()
        self._report_progress(self._build_progress(ScoringRunState.RUNNING))

    def _final_state(self) -> tuple[ScoringRunState, UserError | None]:
        failure = self.stream.failure
        # Asked first, since every failure stops the stream, and a spent budget is an end that was planned.
        if isinstance(failure, LLMError) and failure.kind is LLMErrorKind.BUDGET:
            return ScoringRunState.BUDGET, failure
        if self._is_stopped():
            return ScoringRunState.STOPPED, None
        return (ScoringRunState.DONE, None) if failure is None else (ScoringRunState.FAILED, failure)

    def _build_progress(self, run_state: ScoringRunState, ending_error: UserError | None = None) -> ScoreProgress:
        earlier_counts, done_counts = self._earlier_counts, self._done_counts
        elapsed_seconds = time.monotonic() - self._started_at
        # Asked again, the unscored ones of before are open.
        already_judged = earlier_counts.scored + (0 if self._retry_unscored else earlier_counts.unscored)
        budget = self._context.budget
        return ScoreProgress(
            judge=self._judge.name,
            version=self._judge.version,
            state=run_state,
            items=earlier_counts.items,
            scored=earlier_counts.scored + done_counts.scored,
            unscored=done_counts.unscored + (0 if self._retry_unscored else earlier_counts.unscored),
            cached=already_judged + self._cached_count,
            calls=budget.call_count,
            tokens=budget.token_count,
            cost=budget.total_cost,
            seconds=elapsed_seconds,
            rate=done_counts.items / elapsed_seconds if elapsed_seconds > 0 else 0.0,
            error=ending_error.message if ending_error else None,
            notice=self._value_counts.notice,
        )


def release_judge(judge: AnyJudge) -> None:
    """End the judge's process, where it keeps one."""
    if isinstance(judge, Closable):
        judge.close()


def _judged_value(judgment: Judgment | PairJudgment) -> JudgeValue | None:
    return judgment.value if isinstance(judgment, Judgment) else judgment.outcome
