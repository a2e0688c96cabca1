"""Pages of work through a bounded number of lanes into a store: memory stays the same for any length."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from backend.errors import UserError

WorkT = TypeVar("WorkT")
ResultT = TypeVar("ResultT")

FLUSH_SIZE = 100
TICK_SECONDS = 0.5
STOP_GRACE_S = 10.0


class WorkStream(Generic[WorkT, ResultT]):
    """Runs until the pages end, an error ends the run, or `stop()` is called.

    `fetch` gives the next page after the last one's end, empty at the end; `work` judges a batch;
    `store` keeps results. `fetch` and `store` run in threads, `work` in the event loop.
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
        self._batch_queue: asyncio.Queue[Sequence[WorkT] | None] = asyncio.Queue(2 * lane_count)
        self._unstored_results: list[tuple[WorkT, ResultT]] = []
        self._storing_lock = asyncio.Lock()
        self._stopped_at: float | None = None
        self.failure: UserError | None = None

    def stop(self) -> None:
        """Begin nothing new; what is being judged is finished and kept, within some seconds."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()

    async def run(self, on_tick: Callable[[], None]) -> None:
        """Work everything off; `tick` is called twice a second. `failure` then says what ended it early."""
        lane_tasks = [asyncio.create_task(self._produce_batches())]
        lane_tasks += [asyncio.create_task(self._run_lane()) for _ in range(self._lane_count)]
        try:
            pending_tasks: set[asyncio.Task[None]] = set(lane_tasks)
            while pending_tasks and not self._grace_exceeded():
                finished_tasks, pending_tasks = await asyncio.wait(
                    pending_tasks, timeout=TICK_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                )
                for lane_task in finished_tasks:
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

    def _grace_exceeded(self) -> bool:
        return self._stopped_at is not None and time.monotonic() - self._stopped_at > STOP_GRACE_S

    async def _produce_batches(self) -> None:
        while self._stopped_at is None and (work_page := await asyncio.to_thread(self._fetch_page)):
            for batch_start in range(0, len(work_page), self._batch_size):
                await self._batch_queue.put(work_page[batch_start : batch_start + self._batch_size])
        for _ in range(self._lane_count):
            await self._batch_queue.put(None)

    async def _run_lane(self) -> None:
        while (work_batch := await self._batch_queue.get()) is not None:
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
            unstored_results, self._unstored_results = self._unstored_results, []
            if not unstored_results:
                return
            storing_task = asyncio.ensure_future(asyncio.to_thread(self._store_results, unstored_results))
            try:
                await asyncio.shield(storing_task)
            except asyncio.CancelledError:
                with suppress(Exception):
                    await storing_task
                raise
