"""A cap on calls, tokens and money that ends a run cleanly, and an estimate before it starts."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.llm.endpoint import Endpoint
from backend.llm.errors import BudgetReached, LLMError
from backend.llm.messages import Usage
from backend.llm.usage import settled

CHARACTERS_PER_TOKEN = 1.5
"""An estimate for Chinese; tokenizers differ by a factor of two either way."""


def tokens_in_text(text: str) -> int:
    """Roughly how many tokens the text has."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Reservation:
    """The most that one attempt can use."""

    tokens: int
    cost: float


def spent(failure: LLMError, most: Usage, sent: int) -> Usage:
    """What a failed call of `sent` characters counts as: what the server counted, else the most or nothing.

    The most wherever a model may have written: a timeout, a cut connection, a broken or empty reply.
    """
    if failure.counted is not None:
        return settled(failure.counted, most if failure.billed else Usage(), sent)
    return most if failure.billed else Usage()


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
        self._caps = (_cap(max_calls), _cap(max_tokens), _cap(max_cost))
        self.calls = 0
        self.tokens = 0
        self.cost = 0.0
        self._flying: list[Reservation] = []
        self._waiters: list[asyncio.Future[None]] = []

    async def reserve(self, reservation: Reservation) -> None:
        """Set aside what an attempt may use. Raises BudgetReached where it cannot fit any more."""
        while not self._fits(reservation):
            if not self._flying:
                raise BudgetReached(self.said)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        self._flying.append(reservation)

    def settle(self, reservation: Reservation, usage: Usage, cost: float) -> None:
        """Replace what was set aside by what was used."""
        self._flying.remove(reservation)
        self.calls += 1
        self.tokens += usage.tokens_in + usage.tokens_out
        self.cost += cost
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def said(self) -> str:
        """What was used, for people."""
        return f"{self.calls} calls, {self.tokens} tokens, cost {self.cost:.4f}"

    def _fits(self, more: Reservation) -> bool:
        planned = [*self._flying, more]
        used = (
            self.calls + len(planned),
            self.tokens + sum(one.tokens for one in planned),
            self.cost + sum(one.cost for one in planned),
        )
        return all(amount <= cap * (1 + 1e-9) for amount, cap in zip(used, self._caps, strict=True))


def _cap(value: float | None) -> float:
    return math.inf if value is None else value


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

    def __add__(self, other: "Estimate") -> "Estimate":
        """One after the other."""
        return Estimate(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.cost + other.cost,
            self.seconds + other.seconds,
        )


def estimate(
    prompts: Sequence[str],
    n: int,
    endpoint: Endpoint,
    *,
    tokens_out: int = 150,
    latency_s: float = 2.0,
    calls_each: int = 1,
) -> Estimate:
    """What `n` items take, judged by a sample of their prompts. An estimate, to be shown as one."""
    mean = sum(map(tokens_in_text, prompts)) / len(prompts) if prompts else 0.0
    calls = n * calls_each
    total_in, total_out = round(mean * calls), tokens_out * calls
    seconds = calls * latency_s / endpoint.concurrency
    return Estimate(calls, total_in, total_out, endpoint.cost(total_in, total_out), seconds)
