"""Pages of work through a bounded number of lanes into a store: memory stays the same for any length."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from backend.errors import UserError

W = TypeVar("W")
R = TypeVar("R")

FLUSH = 100
TICK_S = 0.5
STOP_GRACE_S = 10.0


class Stream(Generic[W, R]):
    """Runs until the pages end, an error ends the run, or `stop()` is called.

    `fetch` gives the next page after the last one's end, empty at the end; `work` judges a batch;
    `store` keeps results. `fetch` and `store` run in threads, `work` in the event loop.
    """

    def __init__(
        self,
        fetch: Callable[[], Sequence[W]],
        work: Callable[[Sequence[W]], Awaitable[Sequence[R]]],
        store: Callable[[Sequence[tuple[W, R]]], None],
        *,
        batch: int,
        lanes: int,
    ) -> None:
        self._fetch, self._work, self._store = fetch, work, store
        self._batch, self._lanes = batch, lanes
        self._queue: asyncio.Queue[Sequence[W] | None] = asyncio.Queue(2 * lanes)
        self._results: list[tuple[W, R]] = []
        self._storing = asyncio.Lock()
        self._stopped_at: float | None = None
        self.failure: UserError | None = None

    def stop(self) -> None:
        """Begin nothing new; what is being judged is finished and kept, within some seconds."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()

    async def run(self, tick: Callable[[], None]) -> None:
        """Work everything off; `tick` is called twice a second. `failure` then says what ended it early."""
        tasks = [asyncio.create_task(self._produce())]
        tasks += [asyncio.create_task(self._lane()) for _ in range(self._lanes)]
        try:
            pending: set[asyncio.Task[None]] = set(tasks)
            while pending and not self._out_of_patience():
                done, pending = await asyncio.wait(
                    pending, timeout=TICK_S, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
                await self._flush()
                tick()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Also where the run itself is cancelled: what was judged is kept.
            if self._results:
                results, self._results = self._results, []
                self._store(results)

    def _out_of_patience(self) -> bool:
        return self._stopped_at is not None and time.monotonic() - self._stopped_at > STOP_GRACE_S

    async def _produce(self) -> None:
        while self._stopped_at is None and (page := await asyncio.to_thread(self._fetch)):
            for start in range(0, len(page), self._batch):
                await self._queue.put(page[start : start + self._batch])
        for _ in range(self._lanes):
            await self._queue.put(None)

    async def _lane(self) -> None:
        while (batch := await self._queue.get()) is not None:
            if self._stopped_at is not None:
                continue
            try:
                drafts = await self._work(batch)
            except UserError as error:
                # The first error names the cause; the others are its echo.
                self.failure = self.failure or error
                self.stop()
                continue
            self._results += zip(batch, drafts, strict=True)
            if len(self._results) >= FLUSH:
                await self._flush()

    async def _flush(self) -> None:
        async with self._storing:
            results, self._results = self._results, []
            if not results:
                return
            stored = asyncio.ensure_future(asyncio.to_thread(self._store, results))
            try:
                await asyncio.shield(stored)
            except asyncio.CancelledError:
                with suppress(Exception):
                    await stored
                raise
