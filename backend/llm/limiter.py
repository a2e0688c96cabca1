"""How fast and how often to ask: adaptive concurrency per endpoint, bounded retries with jitter and Retry-After."""

import asyncio
import email.utils
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Self

from backend.llm.errors import LLMError, LLMErrorKind


class AttemptOutcome(Enum):
    """What a finished attempt says about the server's load."""

    SUCCESS = "success"
    OVERLOADED = "overloaded"
    NEUTRAL = "neutral"


@dataclass(eq=False)
class _SlotWaiter:
    event_loop: asyncio.AbstractEventLoop
    slot_future: asyncio.Future[None]
    granted: bool = False

    def grant_slot(self) -> bool:
        """Hand over a slot; False where the waiter's loop is gone and nobody waits any more."""
        try:
            # Not get_running_loop(), which raises where this thread runs no loop, and an exception a call
            # would be dear.
            if asyncio._get_running_loop() is self.event_loop:
                self._resolve()  # waking a loop from itself through its pipe costs a system call a request
            else:
                self.event_loop.call_soon_threadsafe(self._resolve)
        except RuntimeError:
            return False
        self.granted = True
        return True

    def _resolve(self) -> None:
        if not self.slot_future.done():
            self.slot_future.set_result(None)


class AdaptiveLimiter:
    """Halves on overload, once per round trip; grows by one after a window of successes.

    Runs in several event loops (page, background thread) may share one, hence the lock.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.current_limit = ceiling
        self._ceiling = ceiling
        self._clock = clock
        self._active_slots = 0
        self._successes = 0
        # So that the very first overload already cuts.
        self._last_cut_time = float("-inf")
        self._waiting_queue: deque[_SlotWaiter] = deque()
        self._state_lock = threading.Lock()

    @property
    def active_slots(self) -> int:
        """Slots in use."""
        return self._active_slots

    def resize(self, ceiling: int) -> None:
        """A new upper bound, from an edited endpoint."""
        with self._state_lock:
            if ceiling != self._ceiling:
                self._ceiling = self.current_limit = ceiling
                self._wake_waiters()

    async def acquire(self, *, at_front: bool = False) -> float:
        """Wait for a slot; gives the time it was got. Retries go ahead, so that begun items are finished."""
        with self._state_lock:
            # A free slot alone is not enough: whoever comes now must not overtake those who wait.
            if self._active_slots < self.current_limit and not self._waiting_queue:
                self._active_slots += 1
                return self._clock()
            event_loop = asyncio.get_running_loop()
            waiter = _SlotWaiter(event_loop, event_loop.create_future())
            (self._waiting_queue.appendleft if at_front else self._waiting_queue.append)(waiter)
        try:
            await waiter.slot_future
        except asyncio.CancelledError:
            self._abandon_wait(waiter)
            raise
        return self._clock()

    def release(self, acquired_at: float, outcome: AttemptOutcome) -> None:
        """Give back the slot that was got at `acquired_at`, with what became of the attempt."""
        with self._state_lock:
            self._active_slots -= 1
            if outcome is AttemptOutcome.OVERLOADED:
                self._halve_limit(acquired_at)
            elif outcome is AttemptOutcome.SUCCESS:
                self._raise_limit()
            self._wake_waiters()

    def _halve_limit(self, acquired_at: float) -> None:
        # Attempts begun before the last cut saw the old concurrency; only later ones say the new is too high.
        if acquired_at >= self._last_cut_time:
            # Halving and creeping up by one is TCP's congestion control: it comes down fast and finds the
            # server's limit again.
            self.current_limit = max(1, self.current_limit // 2)
            self._last_cut_time = self._clock()
            self._successes = 0

    def _raise_limit(self) -> None:
        self._successes += 1
        # One window: about as many successes as run at once, so the limit grows by one a round trip at any
        # size.
        if self._successes >= self.current_limit:
            self.current_limit = min(self._ceiling, self.current_limit + 1)
            self._successes = 0

    def _abandon_wait(self, waiter: _SlotWaiter) -> None:
        with self._state_lock:
            # The slot was handed over before the waiter could run, so it is the waiter that must give it
            # back.
            if waiter.granted:
                self._active_slots -= 1
            else:
                self._waiting_queue.remove(waiter)
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        while self._waiting_queue and self._active_slots < self.current_limit:
            waiter = self._waiting_queue.popleft()
            # Counted at the handing over, not at the waking: else the same slot would be handed out twice
            # meanwhile.
            if waiter.grant_slot():
                self._active_slots += 1


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long one call is tried. `deadline_s` None means three times the endpoint's timeout.

    The deadline counts attempts and pauses, not the wait for a free slot: a long queue is no failure.
    """

    # Four attempts bring 30 % of failing calls down to 0.8 % of unscored items.
    attempts: int = 4
    base_pause_s: float = 0.5
    max_pause_s: float = 20.0
    # A server may ask for hours, and no item may hang that long: it is asked again earlier, and then unscored.
    max_retry_after_s: float = 60.0
    deadline_s: float | None = None

    def call_deadline(self, timeout_s: float) -> float:
        """Seconds that one call may take in all."""
        return 3 * timeout_s if self.deadline_s is None else self.deadline_s

    def retry_pause(self, attempt_number: int, error: LLMError) -> float:
        """Seconds to wait after the failed attempt (1 is the first)."""
        if error.retry_after is not None:
            requested_wait = min(error.retry_after, self.max_retry_after_s)
            # Never earlier than asked, and never all at once, or the calls that failed together would come
            # back together.
            return requested_wait + random.uniform(0, min(self.base_pause_s, requested_wait / 4))
        # "Full jitter": drawn from the whole span, which spreads calls wider than a fixed pause with some
        # noise on it.
        return random.uniform(0, min(self.max_pause_s, self.base_pause_s * 2.0 ** (attempt_number - 1)))


class CallAttempts:
    """The attempts at one call, each with a slot of the limiter; the last one's error goes through to the caller.

        async for attempt in CallAttempts(policy, limiter, timeout_s):
            with attempt:
                return await send(attempt.timeout_s)

    An iterator that is its own context manager and no generator: a generator that is left early would be closed by the
    event loop in a task of its own, at every single call.
    """

    def __init__(self, policy: RetryPolicy, limiter: AdaptiveLimiter, timeout_s: float) -> None:
        self.number = 0
        self._policy, self._limiter, self._timeout_s = policy, limiter, timeout_s
        self._remaining_s = policy.call_deadline(timeout_s)
        self._pause_s = self._acquired_at = self._begun_at = 0.0

    @property
    def timeout_s(self) -> float:
        """Seconds that this attempt may take."""
        return min(self._remaining_s, self._timeout_s)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Self:
        """Pause where an attempt failed before, then wait for a slot. Enter the attempt at once: it holds the slot."""
        if self.number:
            # Without a slot, so that others are served meanwhile.
            await asyncio.sleep(self._pause_s)
            self._remaining_s -= self._pause_s
        # The wait for the slot is not taken off the deadline: behind a long queue every retry would come too
        # late.
        self._acquired_at = await self._limiter.acquire(at_front=self.number > 0)
        self.number += 1
        return self

    def __enter__(self) -> None:
        self._begun_at = time.monotonic()

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> bool:
        """Give the slot back; True, so that the next attempt begins, where one is worth it and fits the deadline."""
        self._limiter.release(self._acquired_at, _outcome_of(error))
        if not isinstance(error, LLMError):
            return False
        self._remaining_s -= time.monotonic() - self._begun_at
        self._pause_s = self._policy.retry_pause(self.number, error)
        # A pause that would end behind the deadline is not begun: the outcome is known already.
        return error.retryable and self.number < self._policy.attempts and self._pause_s < self._remaining_s


def _outcome_of(error: BaseException | None) -> AttemptOutcome:
    if error is None:
        return AttemptOutcome.SUCCESS
    # Only 429 speaks of load; a broken connection or a bad reply comes at any load, and must not slow the run.
    is_rate_limited = isinstance(error, LLMError) and error.kind is LLMErrorKind.RATE_LIMITED
    return AttemptOutcome.OVERLOADED if is_rate_limited else AttemptOutcome.NEUTRAL


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait: milliseconds, seconds, or an HTTP date. None where it asks nothing."""
    for header_name, units_per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait_seconds = float(headers[header_name]) / units_per_second
        except (KeyError, ValueError):
            continue
        # A header of "inf", "nan" or below 0 asks for nothing that could be honoured.
        return wait_seconds if 0 <= wait_seconds < float("inf") else None
    try:
        retry_time = email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return max(0.0, retry_time - time.time())
