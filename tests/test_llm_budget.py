"""The cap itself: what fits, what waits, what is used up; and what a run will take before it starts."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.core.settings import PROJECT_ROOT
from backend.llm.budget import (
    Budget,
    Estimate,
    JobCallBudget,
    Reservation,
    estimate_tokens,
    estimate_usage,
    usage_of_failure,
)
from backend.llm.errors import BudgetReached, LLMError, LLMErrorKind
from backend.llm.messages import Endpoint, TokenUsage
from backend.llm.usage import (
    LONGEST_TOKEN,
    MOST_TOKENS,
    ReportedUsage,
    larger_usage,
    settled_input_usage,
    settled_usage,
    usage_in_document,
)

TEN = Reservation(10, 0.10)
MOST = TokenUsage(20, 50, estimated=True)


def used(budget: Budget) -> tuple[int, int, float]:
    return budget.call_count, budget.token_count, pytest.approx(budget.total_cost)  # type: ignore[return-value]


async def spend(budget: Budget, reservation: Reservation = TEN, usage: TokenUsage | None = None) -> None:
    """One attempt that uses what it set aside, half in and half out, unless told otherwise."""
    await budget.reserve(reservation)
    half = reservation.maximum_tokens // 2
    budget.settle(reservation, usage or TokenUsage(half, reservation.maximum_tokens - half), reservation.maximum_cost)


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
    assert (budget.call_count, budget.token_count) == (3, 30) and budget.total_cost == pytest.approx(0.3)


def test_without_a_cap_nothing_ends_and_all_is_counted() -> None:
    async def run() -> Budget:
        budget = Budget()
        assert (budget.call_count, budget.token_count, budget.total_cost) == (0, 0, 0.0)
        for _ in range(100):
            await spend(budget, Reservation(10**9, 1e6), TokenUsage(3, 4))
        return budget

    budget = asyncio.run(run())
    assert (budget.call_count, budget.token_count, budget.total_cost) == (100, 700, pytest.approx(1e8))
    assert Budget().usage_summary == "0 calls, 0 tokens, cost 0.0000"
    assert budget.usage_summary == "100 calls, 700 tokens, cost 100000000.0000"


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
        return budget.call_count

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
        budget.settle(TEN, TokenUsage(5, 5), 0.1)  # as much as was set aside: still no room
        await asyncio.sleep(0.01)
        log.append("waits" if not waiting.done() else "did not wait")
        budget.settle(TEN, TokenUsage(5, 5), 0.1)
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
        budget.settle(TEN, TokenUsage(), 0.0)
        budget.settle(TEN, TokenUsage(), 0.0)
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        return budget.call_count, budget.token_count

    assert asyncio.run(run()) == (4, 20)


def test_a_text_has_two_tokens_for_three_characters() -> None:
    assert [estimate_tokens("字" * n) for n in (0, 1, 2, 3, 4, 6, 7)] == [0, 1, 2, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("kind", "counted", "expected"),
    [
        (LLMErrorKind.TIMEOUT, None, MOST),
        (LLMErrorKind.RATE_LIMITED, None, TokenUsage()),
        (LLMErrorKind.TIMEOUT, ReportedUsage(7, 3, complete=True), TokenUsage(7, 3)),
        (LLMErrorKind.RATE_LIMITED, ReportedUsage(7, 3), TokenUsage(7, 3)),
        (LLMErrorKind.TIMEOUT, ReportedUsage(7, None), TokenUsage(7, 50, estimated=True)),
        (LLMErrorKind.RATE_LIMITED, ReportedUsage(7, None), TokenUsage(7, 0, estimated=True)),
        (LLMErrorKind.TIMEOUT, ReportedUsage(1, 9), TokenUsage(20, 9, estimated=True)),
    ],
)
def test_a_failure_counts_as_what_was_counted_else_as_the_most_or_nothing(
    kind: LLMErrorKind, counted: ReportedUsage | None, expected: TokenUsage
) -> None:
    assert usage_of_failure(LLMError(kind, reported_usage=counted), MOST, 200) == expected


def endpoint(concurrency: int = 4) -> Endpoint:
    return Endpoint("e", "http://127.0.0.1:9/v1", "m", concurrency=concurrency, price_in=2.0, price_out=10.0)


def test_an_estimate_by_hand() -> None:
    # Prompts of 2 and 6 tokens: 4 a call. Ten items, three calls each: 30 calls, 120 in, 600 out.
    found = estimate_usage(["一二三", "一" * 9], 10, endpoint(), tokens_out=20, latency_s=3.0, calls_per_item=3)
    assert found == Estimate(30, 120, 600, pytest.approx((120 * 2 + 600 * 10) / 1e6), 30 * 3.0 / 4)
    assert found.tokens == 720
    assert estimate_usage([], 10, endpoint(2)) == Estimate(10, 0, 1_500, pytest.approx(0.015), 10.0)
    third = estimate_usage(["一", "一", "一二三"], 1, endpoint())  # 4/3 of a token in, rounded
    assert (third.calls, third.tokens_in, third.seconds) == (1, 1, 0.5)


def test_estimates_add_up() -> None:
    assert Estimate(1, 2, 3, 4.0, 5.0) + Estimate(10, 20, 30, 40.0, 50.0) == Estimate(11, 22, 33, 44.0, 55.0)


# What a count is believed to be, at its edges --------------------------------------------------------


def test_a_count_can_be_true_up_to_its_bounds() -> None:
    for tokens, believed in ((0, 0), (MOST_TOKENS - 1, MOST_TOKENS - 1), (MOST_TOKENS, None), (-1, None)):
        assert usage_in_document({"usage": {"total_tokens": tokens}}).total_tokens == believed
    for odd in (True, 3.0, "3", None, [3]):
        assert usage_in_document({"usage": {"prompt_tokens": odd}}).is_unknown
    # As many characters as the longest token may be one token; one character more may not.
    for sent, tokens_in in ((LONGEST_TOKEN, 1), (LONGEST_TOKEN + 1, MOST.tokens_in)):
        assert settled_usage(ReportedUsage(1, 5), MOST, sent) == TokenUsage(
            1 if tokens_in == 1 else 20, 5, tokens_in != 1
        )
    for written, out in ((LONGEST_TOKEN, 1), (LONGEST_TOKEN + 1, 50)):
        assert settled_usage(ReportedUsage(9, 1, written=written), MOST, 9) == TokenUsage(9, out, out != 1)


def test_what_is_known_of_a_count() -> None:
    assert ReportedUsage().is_unknown and not ReportedUsage().only_total
    assert ReportedUsage(total_tokens=3).only_total and not ReportedUsage(total_tokens=3).is_unknown
    for one in (ReportedUsage(tokens_in=0), ReportedUsage(tokens_out=0)):
        assert not one.is_unknown and not one.only_total
    assert not ReportedUsage(1, None, 3).only_total and not ReportedUsage(None, 1, 3).only_total


def test_the_larger_of_two_counts_is_taken_figure_by_figure() -> None:
    first, second = ReportedUsage(5, None, 9, 3, complete=True), ReportedUsage(4, 2, None, 7, complete=False)
    expected = ReportedUsage(5, 2, 9, 7, complete=False)
    assert larger_usage(first, second) == larger_usage(second, first) == expected
    assert larger_usage(ReportedUsage(), ReportedUsage()) == ReportedUsage()


def test_where_a_count_stands_and_what_came_with_it() -> None:
    two = {"usage": {"prompt_tokens": 3}, "error": {"usage": {"prompt_tokens": 8}}}
    assert usage_in_document(two, 6) == ReportedUsage(3, written=6), "the first place counts"
    assert usage_in_document({"choices": [{"usage": {"total_tokens": 7}}]}, 2) == ReportedUsage(
        total_tokens=7, written=2
    )
    assert usage_in_document({"error": "x", "x_groq": {"usage": {"output_tokens": 7}}}) == ReportedUsage(None, 7)
    for nothing in ({}, {"choices": []}, {"choices": ["x"]}, {"choices": "ab"}, {"error": []}, {"usage": 3}):
        assert usage_in_document(nothing, 4) == ReportedUsage(written=4)
    cached = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": "x"}
    assert usage_in_document({"usage": cached}) == ReportedUsage(15)
    assert usage_in_document({"usage": {**cached, "prompt_tokens": 4}}) == ReportedUsage(4), "no cache beside the sum"
    assert usage_in_document({"usage": {"prompt_tokens": -1, "input_tokens": 6}}) == ReportedUsage(6)
    full = {"input_tokens": MOST_TOKENS - 1, "cache_read_input_tokens": 1}
    assert usage_in_document({"usage": full}) == ReportedUsage(), "a sum that cannot be true either"


@pytest.mark.parametrize(
    ("counted", "sent", "expected"),
    [
        (ReportedUsage(None, None, 60), 30, TokenUsage(10, 50, estimated=True)),
        (ReportedUsage(None, None, 50), 0, TokenUsage(0, 50, estimated=True)),
        (ReportedUsage(None, None, 49), 0, TokenUsage(0, 49, estimated=True)),
        (ReportedUsage(None, None, 0), 900, TokenUsage(0, 0, estimated=True)),
        (ReportedUsage(None, None, 0, written=9), 900, TokenUsage(20, 50, estimated=True)),
        (ReportedUsage(0, 0, 0), 900, TokenUsage(0, 0)),
        (ReportedUsage(0, 0, 0, written=1), 900, TokenUsage(20, 50, estimated=True)),
        (ReportedUsage(0, 3, 3), 900, TokenUsage(20, 3, estimated=True)),
        (ReportedUsage(8, 3, 11), 900, TokenUsage(8, 3)),
        (ReportedUsage(8, 3, 12), 900, TokenUsage(8, 4)),
        (ReportedUsage(8, 3, 10), 900, TokenUsage(8, 3)),
        (ReportedUsage(8, None, 10), 900, TokenUsage(8, 2)),
        (ReportedUsage(8, None, 8), 900, TokenUsage(8, 0)),
        (ReportedUsage(None, 3, 10), 800, TokenUsage(7, 3)),
        (ReportedUsage(None, 3, 10), 900, TokenUsage(20, 3, estimated=True)),
        (ReportedUsage(8, 3, complete=False), 900, TokenUsage(8, 50, estimated=True)),
        (ReportedUsage(8, 60, complete=False), 900, TokenUsage(8, 60, estimated=True)),
        (ReportedUsage(), 900, TokenUsage(20, 50, estimated=True)),
    ],
)
def test_sides_are_filled_up_from_the_total(counted: ReportedUsage, sent: int, expected: TokenUsage) -> None:
    assert settled_usage(counted, MOST, sent) == expected


def test_an_embedding_call_is_all_input() -> None:
    most = TokenUsage(20, 0, estimated=True)
    for counted, sent, expected in (
        (ReportedUsage(3, None, 5), 30, TokenUsage(5, 0)),
        (ReportedUsage(5, 9, 3), 30, TokenUsage(5, 0)),
        (ReportedUsage(1), LONGEST_TOKEN, TokenUsage(1, 0)),
        (ReportedUsage(1), LONGEST_TOKEN + 1, most),
        (ReportedUsage(0), 0, most),
        (ReportedUsage(), 0, most),
        (ReportedUsage(1), 0, TokenUsage(1, 0)),
    ):
        assert settled_input_usage(counted, most, sent) == expected


TAKE_ALL = """
import asyncio, sys
from pathlib import Path
from backend.llm.budget import JobCallBudget, Reservation
from backend.llm.errors import BudgetReached
from backend.llm.messages import TokenUsage

async def take() -> int:
    budget = JobCallBudget(Path(sys.argv[1]), 300)
    print("ready", flush=True)
    sys.stdin.readline()
    for taken in range(1000):
        try:
            await budget.reserve(Reservation(1, 0.0))
        except BudgetReached:
            return taken
        budget.settle(Reservation(1, 0.0), TokenUsage(1, 1), 0.0)
    return 1000

print(asyncio.run(take()))
"""


def test_the_processes_of_a_job_share_its_cap_and_its_next_attempt_counts_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE_ALL, str(tmp_path / "calls")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": PROJECT_ROOT, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(taken) == 300
    with pytest.raises(BudgetReached, match="300 calls of this job, max_calls = 300"):
        asyncio.run(JobCallBudget(tmp_path / "calls", 300).reserve(TEN))
    more = JobCallBudget(tmp_path / "calls", 301)
    asyncio.run(more.reserve(TEN))
    more.settle(TEN, TokenUsage(1, 1), 0.1)
    assert used(more) == (1, 2, 0.1)
