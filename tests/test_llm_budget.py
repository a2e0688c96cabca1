"""The cap itself: what fits, what waits, what is used up; and what a run will take before it starts."""

import asyncio
from typing import Any

import pytest

from backend.llm.budget import Budget, Estimate, Reservation, estimate, spent, tokens_in_text
from backend.llm.endpoint import Endpoint
from backend.llm.errors import BudgetReached, Kind, LLMError
from backend.llm.messages import Usage
from backend.llm.usage import (
    LONGEST_TOKEN,
    MOST_TOKENS,
    Counted,
    counted_in,
    larger,
    settled,
    settled_input,
)

TEN = Reservation(10, 0.10)
MOST = Usage(20, 50, estimated=True)


def used(budget: Budget) -> tuple[int, int, float]:
    return budget.calls, budget.tokens, pytest.approx(budget.cost)  # type: ignore[return-value]


async def spend(budget: Budget, reservation: Reservation = TEN, usage: Usage | None = None) -> None:
    """One attempt that uses what it set aside, half in and half out, unless told otherwise."""
    await budget.reserve(reservation)
    half = reservation.tokens // 2
    budget.settle(reservation, usage or Usage(half, reservation.tokens - half), reservation.cost)


@pytest.mark.parametrize(
    "caps", [{"max_calls": 3}, {"max_tokens": 30}, {"max_tokens": 39}, {"max_cost": 0.30}, {"max_cost": 0.39}]
)
def test_exactly_what_the_cap_has_room_for_is_spent(caps: dict[str, Any]) -> None:
    async def run() -> Budget:
        budget = Budget(**caps)
        for _ in range(3):
            await spend(budget)
        with pytest.raises(BudgetReached):
            await spend(budget)
        return budget

    budget = asyncio.run(run())
    assert (budget.calls, budget.tokens) == (3, 30) and budget.cost == pytest.approx(0.3)


def test_without_a_cap_nothing_ends_and_all_is_counted() -> None:
    async def run() -> Budget:
        budget = Budget()
        assert (budget.calls, budget.tokens, budget.cost) == (0, 0, 0.0)
        for _ in range(100):
            await spend(budget, Reservation(10**9, 1e6), Usage(3, 4))
        return budget

    budget = asyncio.run(run())
    assert (budget.calls, budget.tokens, budget.cost) == (100, 700, pytest.approx(1e8))
    assert Budget().said == "0 calls, 0 tokens, cost 0.0000"
    assert budget.said == "100 calls, 700 tokens, cost 100000000.0000"


def test_a_cap_of_nothing_lets_nothing_out() -> None:
    for caps in ({"max_calls": 0}, {"max_tokens": 0}, {"max_cost": 0.0}):
        with pytest.raises(BudgetReached):
            asyncio.run(spend(Budget(**caps)))
    asyncio.run(spend(Budget(max_cost=0.0), Reservation(10, 0.0)))
    asyncio.run(spend(Budget(max_tokens=0), Reservation(0, 1.0)))


def test_rounding_of_money_closes_no_door() -> None:
    async def run() -> int:
        budget = Budget(max_cost=0.3)
        for _ in range(3):
            await spend(budget)  # 0.1 + 0.1 + 0.1 is 0.30000000000000004
        return budget.calls

    assert asyncio.run(run()) == 3


@pytest.mark.parametrize("caps", [{"max_calls": 2}, {"max_tokens": 20}, {"max_cost": 0.2}])
def test_who_does_not_fit_beside_those_in_flight_waits_for_them(caps: dict[str, Any]) -> None:
    async def run() -> list[str]:
        budget, log = Budget(**caps), []
        await budget.reserve(TEN)
        await budget.reserve(TEN)

        async def third() -> None:
            try:
                await spend(budget)
                log.append("went")
            except BudgetReached:
                log.append("refused")

        waiting = asyncio.create_task(third())
        await asyncio.sleep(0.01)
        log.append("waits" if not waiting.done() else "did not wait")
        budget.settle(TEN, Usage(5, 5), 0.1)  # as much as was set aside: still no room
        await asyncio.sleep(0.01)
        log.append("waits" if not waiting.done() else "did not wait")
        budget.settle(TEN, Usage(5, 5), 0.1)
        await waiting
        return log

    assert asyncio.run(run()) == ["waits", "waits", "refused"]


def test_what_was_set_aside_and_not_used_is_free_again() -> None:
    async def run() -> tuple[int, int]:
        budget = Budget(max_tokens=20)
        await budget.reserve(TEN)
        await budget.reserve(TEN)
        waiting = [asyncio.create_task(spend(budget)) for _ in range(2)]
        gone = asyncio.create_task(spend(budget))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0)
        budget.settle(TEN, Usage(), 0.0)
        budget.settle(TEN, Usage(), 0.0)
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        return budget.calls, budget.tokens

    assert asyncio.run(run()) == (4, 20)


def test_a_text_has_two_tokens_for_three_characters() -> None:
    assert [tokens_in_text("字" * n) for n in (0, 1, 2, 3, 4, 6, 7)] == [0, 1, 2, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("kind", "counted", "expected"),
    [
        (Kind.TIMEOUT, None, MOST),
        (Kind.RATE_LIMITED, None, Usage()),
        (Kind.TIMEOUT, Counted(7, 3, complete=True), Usage(7, 3)),
        (Kind.RATE_LIMITED, Counted(7, 3), Usage(7, 3)),
        (Kind.TIMEOUT, Counted(7, None), Usage(7, 50, estimated=True)),
        (Kind.RATE_LIMITED, Counted(7, None), Usage(7, 0, estimated=True)),
        (Kind.TIMEOUT, Counted(1, 9), Usage(20, 9, estimated=True)),
    ],
)
def test_a_failure_counts_as_what_was_counted_else_as_the_most_or_nothing(
    kind: Kind, counted: Counted | None, expected: Usage
) -> None:
    assert spent(LLMError(kind, counted=counted), MOST, 200) == expected


def endpoint(concurrency: int = 4) -> Endpoint:
    return Endpoint("e", "http://127.0.0.1:9/v1", "m", concurrency=concurrency, price_in=2.0, price_out=10.0)


def test_an_estimate_by_hand() -> None:
    # Prompts of 2 and 6 tokens: 4 a call. Ten items, three calls each: 30 calls, 120 in, 600 out.
    found = estimate(["一二三", "一" * 9], 10, endpoint(), tokens_out=20, latency_s=3.0, calls_each=3)
    assert found == Estimate(30, 120, 600, pytest.approx((120 * 2 + 600 * 10) / 1e6), 30 * 3.0 / 4)
    assert found.tokens == 720
    assert estimate([], 10, endpoint(2)) == Estimate(10, 0, 1_500, pytest.approx(0.015), 10.0)
    third = estimate(["一", "一", "一二三"], 1, endpoint())  # 4/3 of a token in, rounded
    assert (third.calls, third.tokens_in, third.seconds) == (1, 1, 0.5)


def test_estimates_add_up() -> None:
    assert Estimate(1, 2, 3, 4.0, 5.0) + Estimate(10, 20, 30, 40.0, 50.0) == Estimate(11, 22, 33, 44.0, 55.0)


# What a count is believed to be, at its edges --------------------------------------------------------


def test_a_count_can_be_true_up_to_its_bounds() -> None:
    for tokens, believed in ((0, 0), (MOST_TOKENS - 1, MOST_TOKENS - 1), (MOST_TOKENS, None), (-1, None)):
        assert counted_in({"usage": {"total_tokens": tokens}}).total == believed
    for odd in (True, 3.0, "3", None, [3]):
        assert counted_in({"usage": {"prompt_tokens": odd}}).is_unknown
    # As many characters as the longest token may be one token; one character more may not.
    for sent, tokens_in in ((LONGEST_TOKEN, 1), (LONGEST_TOKEN + 1, MOST.tokens_in)):
        assert settled(Counted(1, 5), MOST, sent) == Usage(1 if tokens_in == 1 else 20, 5, tokens_in != 1)
    for written, out in ((LONGEST_TOKEN, 1), (LONGEST_TOKEN + 1, 50)):
        assert settled(Counted(9, 1, written=written), MOST, 9) == Usage(9, out, out != 1)


def test_what_is_known_of_a_count() -> None:
    assert Counted().is_unknown and not Counted().only_total
    assert Counted(total=3).only_total and not Counted(total=3).is_unknown
    for one in (Counted(tokens_in=0), Counted(tokens_out=0)):
        assert not one.is_unknown and not one.only_total
    assert not Counted(1, None, 3).only_total and not Counted(None, 1, 3).only_total


def test_the_larger_of_two_counts_is_taken_figure_by_figure() -> None:
    first, second = Counted(5, None, 9, 3, complete=True), Counted(4, 2, None, 7, complete=False)
    expected = Counted(5, 2, 9, 7, complete=False)
    assert larger(first, second) == larger(second, first) == expected
    assert larger(Counted(), Counted()) == Counted()


def test_where_a_count_stands_and_what_came_with_it() -> None:
    two = {"usage": {"prompt_tokens": 3}, "error": {"usage": {"prompt_tokens": 8}}}
    assert counted_in(two, 6) == Counted(3, written=6), "the first place counts"
    assert counted_in({"choices": [{"usage": {"total_tokens": 7}}]}, 2) == Counted(total=7, written=2)
    assert counted_in({"error": "x", "x_groq": {"usage": {"output_tokens": 7}}}) == Counted(None, 7)
    for nothing in ({}, {"choices": []}, {"choices": ["x"]}, {"choices": "ab"}, {"error": []}, {"usage": 3}):
        assert counted_in(nothing, 4) == Counted(written=4)
    cached = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": "x"}
    assert counted_in({"usage": cached}) == Counted(15)
    assert counted_in({"usage": {**cached, "prompt_tokens": 4}}) == Counted(4), "no cache beside the sum"
    assert counted_in({"usage": {"prompt_tokens": -1, "input_tokens": 6}}) == Counted(6)
    full = {"input_tokens": MOST_TOKENS - 1, "cache_read_input_tokens": 1}
    assert counted_in({"usage": full}) == Counted(), "a sum that cannot be true either"


@pytest.mark.parametrize(
    ("counted", "sent", "expected"),
    [
        (Counted(None, None, 60), 30, Usage(10, 50, estimated=True)),
        (Counted(None, None, 50), 0, Usage(0, 50, estimated=True)),
        (Counted(None, None, 49), 0, Usage(0, 49, estimated=True)),
        (Counted(None, None, 0), 900, Usage(0, 0, estimated=True)),
        (Counted(None, None, 0, written=9), 900, Usage(20, 50, estimated=True)),
        (Counted(0, 0, 0), 900, Usage(0, 0)),
        (Counted(0, 0, 0, written=1), 900, Usage(20, 50, estimated=True)),
        (Counted(0, 3, 3), 900, Usage(20, 3, estimated=True)),
        (Counted(8, 3, 11), 900, Usage(8, 3)),
        (Counted(8, 3, 12), 900, Usage(8, 4)),
        (Counted(8, 3, 10), 900, Usage(8, 3)),
        (Counted(8, None, 10), 900, Usage(8, 2)),
        (Counted(8, None, 8), 900, Usage(8, 0)),
        (Counted(None, 3, 10), 800, Usage(7, 3)),
        (Counted(None, 3, 10), 900, Usage(20, 3, estimated=True)),
        (Counted(8, 3, complete=False), 900, Usage(8, 50, estimated=True)),
        (Counted(8, 60, complete=False), 900, Usage(8, 60, estimated=True)),
        (Counted(), 900, Usage(20, 50, estimated=True)),
    ],
)
def test_sides_are_filled_up_from_the_total(counted: Counted, sent: int, expected: Usage) -> None:
    assert settled(counted, MOST, sent) == expected


def test_an_embedding_call_is_all_input() -> None:
    most = Usage(20, 0, estimated=True)
    for counted, sent, expected in (
        (Counted(3, None, 5), 30, Usage(5, 0)),
        (Counted(5, 9, 3), 30, Usage(5, 0)),
        (Counted(1), LONGEST_TOKEN, Usage(1, 0)),
        (Counted(1), LONGEST_TOKEN + 1, most),
        (Counted(0), 0, most),
        (Counted(), 0, most),
        (Counted(1), 0, Usage(1, 0)),
    ):
        assert settled_input(counted, most, sent) == expected
