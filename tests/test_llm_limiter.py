"""Adaptive concurrency and pauses, on a clock of our own."""

import asyncio
import email.utils
import time

import pytest

from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.limiter import AdaptiveLimiter, AttemptOutcome, RetryPolicy, parse_retry_after


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def _round(limiter: AdaptiveLimiter, clock: Clock, outcomes: list[AttemptOutcome]) -> None:
    started = [await limiter.acquire() for _ in outcomes]
    clock.now += 1
    for begun, outcome in zip(started, outcomes, strict=True):
        limiter.release(begun, outcome)


def test_halves_once_per_round_trip_and_never_below_one():
    async def run() -> list[int]:
        clock = Clock()
        limiter = AdaptiveLimiter(64, clock)
        limits = []
        for _ in range(8):
            await _round(limiter, clock, [AttemptOutcome.OVERLOADED] * limiter.current_limit)
            limits.append(limiter.current_limit)
        return limits

    assert asyncio.run(run()) == [32, 16, 8, 4, 2, 1, 1, 1]


def test_creeps_up_by_one_per_window_and_never_above_the_ceiling():
    async def run() -> list[int]:
        clock = Clock()
        limiter = AdaptiveLimiter(8, clock)
        await _round(limiter, clock, [AttemptOutcome.OVERLOADED] * 8)
        limits = [limiter.current_limit]
        for _ in range(6):
            await _round(limiter, clock, [AttemptOutcome.SUCCESS] * limiter.current_limit)
            limits.append(limiter.current_limit)
        return limits

    assert asyncio.run(run()) == [4, 5, 6, 7, 8, 8, 8]


def test_other_failures_change_nothing():
    async def run() -> int:
        clock = Clock()
        limiter = AdaptiveLimiter(8, clock)
        await _round(limiter, clock, [AttemptOutcome.NEUTRAL] * 8)
        return limiter.current_limit

    assert asyncio.run(run()) == 8


def test_a_simulated_server_with_a_limit_is_driven_near_it():
    async def run() -> float:
        clock, capacity, used = Clock(), 10, []
        limiter = AdaptiveLimiter(64, clock)
        for _ in range(200):
            n = limiter.current_limit
            used.append(min(n, capacity))
            fine = [AttemptOutcome.SUCCESS] * min(n, capacity)
            await _round(limiter, clock, fine + [AttemptOutcome.OVERLOADED] * (n - len(fine)))
        return sum(used[20:]) / len(used[20:]) / capacity

    assert asyncio.run(run()) > 0.7


def test_slots_are_never_exceeded_and_cancelled_waiters_give_theirs_back():
    async def run() -> tuple[int, int]:
        limiter = AdaptiveLimiter(2)
        most = 0

        async def work() -> None:
            nonlocal most
            started = await limiter.acquire()
            most = max(most, limiter.active_slots)
            try:
                await asyncio.sleep(0.002)
            finally:
                limiter.release(started, AttemptOutcome.SUCCESS)

        tasks = [asyncio.create_task(work()) for _ in range(30)]
        await asyncio.sleep(0.003)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return most, limiter.active_slots

    assert asyncio.run(run()) == (2, 0)


def test_retries_go_ahead_of_new_work():
    async def run() -> list[str]:
        limiter = AdaptiveLimiter(1)
        first = await limiter.acquire()
        order: list[str] = []

        async def work(name: str, ahead: bool) -> None:
            started = await limiter.acquire(at_front=ahead)
            order.append(name)
            limiter.release(started, AttemptOutcome.SUCCESS)

        new = asyncio.create_task(work("new", False))
        await asyncio.sleep(0)
        again = asyncio.create_task(work("again", True))
        await asyncio.sleep(0)
        limiter.release(first, AttemptOutcome.SUCCESS)
        await asyncio.gather(new, again)
        return order

    assert asyncio.run(run()) == ["again", "new"]


def test_two_event_loops_share_one_limiter():
    limiter = AdaptiveLimiter(1)
    order: list[str] = []

    async def work(name: str) -> None:
        for _ in range(20):
            started = await limiter.acquire()
            order.append(name)
            await asyncio.sleep(0.0005)
            limiter.release(started, AttemptOutcome.SUCCESS)

    async def both() -> None:
        await asyncio.gather(asyncio.to_thread(asyncio.run, work("thread")), work("here"))

    asyncio.run(asyncio.wait_for(both(), 10))
    assert sorted(order) == ["here"] * 20 + ["thread"] * 20 and limiter.active_slots == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers, seconds):
    assert parse_retry_after(headers) == seconds


def test_retry_after_as_a_date():
    wait = parse_retry_after({"retry-after": email.utils.formatdate(time.time() + 30, usegmt=True)})
    assert wait is not None and 28 <= wait <= 31


def test_pauses_are_jittered_bounded_and_never_shorter_than_asked():
    policy = RetryPolicy(base_pause_s=1, max_pause_s=4, max_retry_after_s=10)
    plain = LLMError(LLMErrorKind.SERVER_ERROR)
    for attempt, most in ((1, 1), (2, 2), (3, 4), (9, 4)):
        pauses = [policy.retry_pause(attempt, plain) for _ in range(300)]
        assert 0 <= min(pauses) < most / 4 and most * 3 / 4 < max(pauses) <= most
    asked = [policy.retry_pause(1, LLMError(LLMErrorKind.RATE_LIMITED, retry_after=2.0)) for _ in range(50)]
    assert min(asked) >= 2 and max(asked) <= 2.5
    assert 10 <= policy.retry_pause(1, LLMError(LLMErrorKind.RATE_LIMITED, retry_after=9_999.0)) <= 11


def test_a_window_is_as_many_successes_as_the_limit_and_begins_anew():
    async def run() -> tuple[list[int], list[int]]:
        clock = Clock()
        limiter = AdaptiveLimiter(8, clock)

        async def one(outcome: AttemptOutcome) -> int:
            limiter.release(await limiter.acquire(), outcome)
            return limiter.current_limit

        limiter.current_limit = 2
        grown = [await one(AttemptOutcome.SUCCESS) for _ in range(9)]
        clock.now += 1
        cut = [await one(outcome) for outcome in (AttemptOutcome.SUCCESS, AttemptOutcome.OVERLOADED)]
        cut += [await one(AttemptOutcome.SUCCESS) for _ in range(3)]
        return grown, cut

    # Two successes for the third slot, three for the fourth, four for the fifth; a cut forgets the count.
    assert asyncio.run(run()) == ([2, 3, 3, 3, 4, 4, 4, 4, 5], [5, 2, 2, 3, 3])


def test_only_attempts_begun_after_a_cut_cut_again():
    async def run() -> list[int]:
        clock = Clock()
        limiter = AdaptiveLimiter(16, clock)
        early = [await limiter.acquire() for _ in range(3)]
        clock.now = 5.0
        limits = []
        for started in early:
            limiter.release(started, AttemptOutcome.OVERLOADED)
            limits.append(limiter.current_limit)
        limiter.release(await limiter.acquire(), AttemptOutcome.OVERLOADED)  # begun at the moment of the cut
        return [*limits, limiter.current_limit]

    assert asyncio.run(run()) == [8, 8, 8, 4]


def test_a_new_ceiling_is_a_new_limit_and_wakes_who_waits():
    async def run() -> tuple[list[int], int]:
        limiter = AdaptiveLimiter(2)
        started = [await limiter.acquire() for _ in range(2)]
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0.01)
        seen = [limiter.active_slots]
        limiter.resize(4)
        await asyncio.sleep(0.01)
        seen += [limiter.active_slots, limiter.current_limit, sum(task.done() for task in waiting)]
        limiter.current_limit = 3
        limiter.resize(4)
        seen.append(limiter.current_limit)
        limiter.resize(1)
        for begun in (*started, *(task.result() for task in waiting if task.done())):
            limiter.release(begun, AttemptOutcome.NEUTRAL)
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        return seen, limiter.active_slots

    assert asyncio.run(run()) == ([2, 4, 4, 2, 3], 1), "an unchanged ceiling leaves the limit as it was"
