"""Adaptive concurrency: additive increase, multiplicative decrease, one limiter per endpoint and process."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What a finished attempt says about the server's load."""

    SUCCESS = "success"
    OVERLOADED = "overloaded"
    NEUTRAL = "neutral"


@dataclass(eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    granted: bool = False

    def grant(self) -> bool:
        """Hand over a slot; False where the waiter's loop is gone and nobody waits any more."""
        try:
            if asyncio._get_running_loop() is self.loop:
                self._set()  # waking a loop from itself through its pipe costs a system call a request
            else:
                self.loop.call_soon_threadsafe(self._set)
        except RuntimeError:
            return False
        self.granted = True
        return True

    def _set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class AdaptiveLimiter:
    """Halves on overload, once per round trip; grows by one after a window of successes.

    Runs in several event loops (page, background thread) may share one, hence the lock.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = ceiling
        self._ceiling = ceiling
        self._clock = clock
        self._active = 0
        self._successes = 0
        self._last_cut = float("-inf")
        self._waiting: deque[_Waiter] = deque()
        self._lock = threading.Lock()

    @property
    def active(self) -> int:
        """Slots in use."""
        return self._active

    def resize(self, ceiling: int) -> None:
        """A new upper bound, from an edited endpoint."""
        with self._lock:
            if ceiling != self._ceiling:
                self._ceiling = self.limit = ceiling
                self._wake()

    async def acquire(self, *, ahead: bool = False) -> float:
        """Wait for a slot; gives the time it was got. Retries go ahead, so that begun items are finished."""
        with self._lock:
            if self._active < self.limit and not self._waiting:
                self._active += 1
                return self._clock()
            loop = asyncio.get_running_loop()
            waiter = _Waiter(loop, loop.create_future())
            (self._waiting.appendleft if ahead else self._waiting.append)(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        return self._clock()

    def release(self, started: float, outcome: Outcome) -> None:
        """Give the slot back that was got at `started`, with what became of the attempt."""
        with self._lock:
            self._active -= 1
            if outcome is Outcome.OVERLOADED:
                self._cut(started)
            elif outcome is Outcome.SUCCESS:
                self._grow()
            self._wake()

    def _cut(self, started: float) -> None:
        # Attempts begun before the last cut saw the old concurrency; only later ones say the new is too high.
        if started >= self._last_cut:
            self.limit = max(1, self.limit // 2)
            self._last_cut = self._clock()
            self._successes = 0

    def _grow(self) -> None:
        self._successes += 1
        if self._successes >= self.limit:
            self.limit = min(self._ceiling, self.limit + 1)
            self._successes = 0

    def _abandon(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.granted:
                self._active -= 1
            else:
                self._waiting.remove(waiter)
            self._wake()

    def _wake(self) -> None:
        while self._waiting and self._active < self.limit:
            waiter = self._waiting.popleft()
            if waiter.grant():
                self._active += 1
