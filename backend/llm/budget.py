"""A cap on calls, tokens and money that ends a run cleanly, and an estimate before it starts."""

import asyncio
import fcntl
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.llm.errors import BudgetReached, LLMError
from backend.llm.messages import Endpoint, TokenUsage
from backend.llm.usage import settled_usage

# An estimate for Chinese; tokenizers differ by a factor of two either way.
CHARACTERS_PER_TOKEN = 1.5


def estimate_tokens(input_text: str) -> int:
    """Roughly how many tokens the text has."""
    return math.ceil(len(input_text) / CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Reservation:
    """The most that one attempt can use."""

    maximum_tokens: int
    maximum_cost: float


def usage_of_failure(failure: LLMError, maximum_usage: TokenUsage, sent_characters: int) -> TokenUsage:
    """What a failed call counts as: what the server counted, else the most or nothing.

    The most wherever a model may have written: a timeout, a cut connection, a broken or empty reply.
    """
    if failure.reported_usage is not None:
        return settled_usage(failure.reported_usage, maximum_usage if failure.billed else TokenUsage(), sent_characters)
    return maximum_usage if failure.billed else TokenUsage()


class Budget:
    """A cap for one run; None means no cap. Counts every request sent, since each may be billed.

    An attempt is allowed only if it fits even in the worst case beside those in flight. If it does not,
    it waits for them to end, so the cap is neither overrun nor left half unused.
    """

    def __init__(
        self,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
    ) -> None:
        self._usage_caps = (
            _cap_or_infinity(max_calls),
            _cap_or_infinity(max_tokens),
            _cap_or_infinity(max_cost),
        )
        self.call_count = 0
        self.token_count = 0
        self.total_cost = 0.0
        self._open_reservations: list[Reservation] = []
        self._waiting_calls: list[asyncio.Future[None]] = []

    async def reserve(self, reservation: Reservation) -> None:
        """Set aside what an attempt may use. Raises BudgetReached where it cannot fit any more."""
        # Looked at again after every wake-up: another of those who waited may have taken the room.
        while not self._fits_within_caps(reservation):
            # With calls in flight there may be room yet, since each has set aside the most and will use less.
            if not self._open_reservations:
                raise BudgetReached(self.usage_summary)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting_calls.append(waiter)
            await waiter
        self._open_reservations.append(reservation)

    def settle(self, reservation: Reservation, actual_usage: TokenUsage, actual_cost: float) -> None:
        """Replace what was set aside by what was used."""
        # Equal reservations are interchangeable, so it does not matter whose is removed.
        self._open_reservations.remove(reservation)
        self.call_count += 1
        self.token_count += actual_usage.tokens_in + actual_usage.tokens_out
        self.total_cost += actual_cost
        # All are woken: the first in line may be the one that does not fit.
        waiters, self._waiting_calls = self._waiting_calls, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def usage_summary(self) -> str:
        """What was used, for people."""
        return f"{self.call_count} calls, {self.token_count} tokens, cost {self.total_cost:.4f}"

    def _fits_within_caps(self, candidate: Reservation) -> bool:
        planned_reservations = [*self._open_reservations, candidate]
        planned_totals = (
            self.call_count + len(planned_reservations),
            self.token_count + sum(reservation.maximum_tokens for reservation in planned_reservations),
            self.total_cost + sum(reservation.maximum_cost for reservation in planned_reservations),
        )
        # Sums of prices are no exact numbers: a call that just fits must not fail by the last bit.
        return all(
            planned_amount <= cap * (1 + 1e-9)
            for planned_amount, cap in zip(planned_totals, self._usage_caps, strict=True)
        )


class JobCallBudget(Budget):
    """A cap on the calls of one job, over all its processes and attempts; tokens and money have none.

    `count_path` is a file in the job's folder that grows by a byte with every call, before it is sent: a process that
    is killed has counted what it asked, and one that goes on later counts on. Processes on several machines share the
    cap where they share the folder.
    """

    def __init__(self, count_path: Path, max_calls: int) -> None:
        super().__init__()
        self._count_path, self._max_calls = count_path, max_calls

    async def reserve(self, reservation: Reservation) -> None:
        """Set aside one call. Raises BudgetReached where the job has none left."""
        self._count_call()
        await super().reserve(reservation)

    def _count_call(self) -> None:
        with self._count_path.open("ab") as count_file:
            # Held for microseconds: two processes that looked at the same last call would both send it.
            fcntl.flock(count_file, fcntl.LOCK_EX)
            counted_calls = os.fstat(count_file.fileno()).st_size
            if counted_calls >= self._max_calls:
                raise BudgetReached(f"{counted_calls} calls of this job, max_calls = {self._max_calls}")
            count_file.write(b".")


def _cap_or_infinity(limit: float | None) -> float:
    return math.inf if limit is None else limit


@dataclass(frozen=True)
class Estimate:
    """What a run will roughly take. Tokens are guessed from characters, seconds from a typical latency."""

    calls: int
    tokens_in: int
    tokens_out: int
    cost: float
    seconds: float

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.tokens_in + self.tokens_out

    def __add__(self, following: "Estimate") -> "Estimate":
        """One after the other."""
        return Estimate(
            self.calls + following.calls,
            self.tokens_in + following.tokens_in,
            self.tokens_out + following.tokens_out,
            self.cost + following.cost,
            self.seconds + following.seconds,
        )


def estimate_usage(
    sample_prompts: Sequence[str],
    item_count: int,
    endpoint: Endpoint,
    *,
    tokens_out: int = 150,
    latency_s: float = 2.0,
    calls_per_item: int = 1,
) -> Estimate:
    """What `item_count` items take, judged by a sample of their prompts. An estimate, to be shown as one.

    `tokens_out` and `latency_s` are of one call; `calls_per_item` is how many calls an item takes.
    """
    mean_tokens = sum(map(estimate_tokens, sample_prompts)) / len(sample_prompts) if sample_prompts else 0.0
    call_count = item_count * calls_per_item
    total_tokens_in, total_tokens_out = round(mean_tokens * call_count), tokens_out * call_count
    total_seconds = call_count * latency_s / endpoint.concurrency
    return Estimate(
        call_count,
        total_tokens_in,
        total_tokens_out,
        endpoint.cost_of_tokens(total_tokens_in, total_tokens_out),
        total_seconds,
    )
