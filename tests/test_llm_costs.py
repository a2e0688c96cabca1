"""What a call counts as: the server's word where it can be true, otherwise the most it can have been."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from backend.core.enums import RunState as GameState
from backend.core.stored_records import read_record
from backend.db.llm_tables import LLMCall
from backend.judges.scoring.records import ScoringRunState
from backend.llm.budget import Budget
from backend.llm.client import OpenAIClient
from backend.llm.embeddings import EmbeddingClient
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.ledger import MemoryLedger
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import ChatMessage, TokenUsage
from backend.llm.usage import (
    MOST_TOKENS,
    ReportedUsage,
    larger_usage,
    settled_input_usage,
    settled_usage,
    usage_in_document,
)
from backend.principles.algorithm.settings import GameSettings
from backend.principles.records import RunRequest
from backend.services import Services
from tests.hostile_server import answering, whole
from tests.llm_fixtures import FAST, FakeLLM
from tests.pair_helpers import prompts, prompts_file
from tests.pair_helpers import request as pair_request
from tests.principles_helpers import SMALL, world_file
from tests.scoring_helpers import house, request

PROMPT, MAX_TOKENS = "你" * 30, 50
MOST = TokenUsage(20, MAX_TOKENS, estimated=True)
ONCE = RetryPolicy(attempts=1)
BROKEN = ("bad_json", "html", "no_choices", "error_body", "odd_error_body", "cut", "drop", "gateway")
EMPTY = ("empty", "null", "thinking", "filtered", "billed_error")
ABSURD: tuple[Any, ...] = (
    None,
    {},
    [],
    "120",
    {"prompt_tokens": -1, "completion_tokens": 10**30, "total_tokens": None},
    {"prompt_tokens": "100", "completion_tokens": 20.0, "total_tokens": True},
    {"prompt_tokens": {"value": 100}, "completion_tokens": [20]},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
)


@pytest.mark.parametrize(
    ("usage", "written", "expected"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 20}, 9, TokenUsage(100, 20)),
        ({"input_tokens": 100, "output_tokens": 20}, 9, TokenUsage(100, 20)),
        (
            {"input_tokens": 1, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 9}
            | {"output_tokens": 20},
            9,
            TokenUsage(100, 20),
        ),
        ({"prompt_tokens": 100, "completion_tokens": 9_000}, 9, TokenUsage(100, 9_000)),  # above max_tokens
        (
            {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 500},
            9,
            TokenUsage(100, 400),
        ),  # thoughts
        ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 5}, 9, TokenUsage(100, 20)),
        ({"total_tokens": 120}, 9, TokenUsage(70, 50, estimated=True)),
        ({"prompt_tokens": 100, "total_tokens": 120}, 9, TokenUsage(100, 20)),
        ({"completion_tokens": 20, "total_tokens": 120}, 9, TokenUsage(100, 20)),
        ({"prompt_tokens": 100}, 9, TokenUsage(100, 50, estimated=True)),
        ({"completion_tokens": 20}, 9, TokenUsage(20, 20, estimated=True)),
        ({"prompt_tokens": 100, "completion_tokens": 0}, 9, TokenUsage(100, 50, estimated=True)),
        ({"prompt_tokens": 100, "completion_tokens": 1}, 1_000, TokenUsage(100, 50, estimated=True)),
        ({"prompt_tokens": 0, "completion_tokens": 20}, 9, TokenUsage(20, 20, estimated=True)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, 0, TokenUsage()),
        ({"prompt_tokens": 100, "completion_tokens": 0}, 0, TokenUsage(100, 0)),
        ({"prompt_tokens": 100, "completion_tokens": MOST_TOKENS}, 9, TokenUsage(100, 50, estimated=True)),
        *((absurd, 9, MOST) for absurd in ABSURD),
    ],
)
def test_a_count_is_believed_where_it_can_be_true(usage: object, written: int, expected: TokenUsage) -> None:
    assert settled_usage(usage_in_document({"usage": usage}, written), MOST, len(PROMPT)) == expected


@pytest.mark.parametrize(
    "document",
    [
        {"choices": [{"usage": {"prompt_tokens": 3, "completion_tokens": 4}}]},
        {"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}},
        {"error": {"message": "x", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}},
        {"usage": {}, "choices": [{"usage": {"input_tokens": 3, "output_tokens": 4}}]},
    ],
)
def test_a_count_is_found_wherever_servers_put_it(document: dict[str, Any]) -> None:
    assert usage_in_document(document) == ReportedUsage(3, 4)


def test_counts_of_a_stream_grow_and_one_that_broke_off_is_at_least_the_most() -> None:
    grown = larger_usage(larger_usage(ReportedUsage(100, 1), ReportedUsage(100, 7)), ReportedUsage(0, 0))
    assert grown == ReportedUsage(100, 7)
    assert settled_usage(ReportedUsage(100, 7, complete=False), MOST, 30) == TokenUsage(100, 50, estimated=True)
    assert settled_usage(ReportedUsage(100, 70, complete=False), MOST, 30) == TokenUsage(100, 70, estimated=True)


def test_embeddings_have_no_output() -> None:
    most = TokenUsage(20, 0, estimated=True)
    assert settled_input_usage(usage_in_document({"usage": {"total_tokens": 30}}), most, 30) == TokenUsage(30, 0)
    assert settled_input_usage(
        usage_in_document({"usage": {"prompt_tokens": 30, "total_tokens": 30}}), most, 30
    ) == TokenUsage(30, 0)
    for absurd in ABSURD:
        assert settled_input_usage(usage_in_document({"usage": absurd}), most, 30) == most


class Call:
    """One call whose prompt has 20 tokens and whose reply at most 50, at 2 and 10 a million."""

    def __init__(self, fake: FakeLLM, policy: RetryPolicy = ONCE, **endpoint: Any) -> None:
        self.ledger, self.budget, self.policy = MemoryLedger(), Budget(), policy
        self.endpoint = fake.endpoint(price_in=2.0, price_out=10.0, **endpoint)

    def __call__(self, tell: Any = None) -> LLMError | None:
        """The error, if there was one; what was counted stands in ledger and budget alike."""

        async def run() -> None:
            options = {"ledger": self.ledger, "budget": self.budget, "policy": self.policy}
            async with OpenAIClient(self.endpoint, **options) as client:
                messages = [ChatMessage("user", PROMPT)]
                if tell is None:
                    await client.complete(messages, max_tokens=MAX_TOKENS)
                else:
                    await client.stream(messages, tell, max_tokens=MAX_TOKENS)

        error = None
        try:
            asyncio.run(run())
        except LLMError as caught:
            error = caught
        calls = self.ledger.calls
        assert self.budget.call_count == len(calls)
        assert self.budget.token_count == sum(call.usage.tokens_in + call.usage.tokens_out for call in calls)
        assert self.budget.total_cost == pytest.approx(sum(call.cost for call in calls))
        return error

    @property
    def usage(self) -> TokenUsage:
        """What the only attempt counted as."""
        (call,) = self.ledger.calls
        assert call.cost == pytest.approx((2 * call.usage.tokens_in + 10 * call.usage.tokens_out) / 1e6)
        return call.usage


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        *((fault, TokenUsage(100, 20)) for fault in EMPTY),
        *((fault, MOST) for fault in BROKEN),
        *((fault, TokenUsage()) for fault in ("rate_limit", "server_error", "overloaded", "bad_request")),
        *((fault, TokenUsage()) for fault in ("forbidden", "quota", "too_long")),
        ("hang", MOST),
        ("drip", MOST),
    ],
)
def test_every_outcome_of_an_attempt_counts_as_what_it_can_have_cost(
    fake_llm: FakeLLM, fault: str, expected: TokenUsage
) -> None:
    fake_llm.script(faults={fault: 1.0})
    call = Call(fake_llm, timeout_s=0.5 if fault in ("hang", "drip") else 5.0)
    assert call() is not None and call.usage == expected


@pytest.mark.parametrize("usage", [False, *ABSURD])
@pytest.mark.parametrize("fault", ["", "empty", "thinking"])
def test_a_reply_that_says_nothing_true_counts_as_the_most(fake_llm: FakeLLM, usage: object, fault: str) -> None:
    fake_llm.script(usage=usage, faults={fault: 1.0} if fault else {})
    call = Call(fake_llm)
    assert (call() is None) == (not fault)
    believed = fault == "empty" and usage == ABSURD[-1]  # nothing written, nothing billed: it can be true
    assert call.usage == (TokenUsage() if believed else MOST)


@pytest.mark.parametrize(
    ("base_url", "model", "kind"),
    [
        ("http://127.0.0.1:9/v1", "fake", LLMErrorKind.REFUSED),
        ("http://nowhere.invalid/v1", "fake", LLMErrorKind.UNREACHABLE),
        (None, "other", LLMErrorKind.UNKNOWN_MODEL),
    ],
)
def test_what_reaches_no_model_costs_nothing(
    fake_llm: FakeLLM, base_url: str | None, model: str, kind: LLMErrorKind
) -> None:
    call = Call(fake_llm, base_url=base_url or fake_llm.base_url, model=model)
    error = call()
    assert error is not None and error.kind is kind and call.usage == TokenUsage()


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 500, 502, 503])
def test_an_error_that_says_what_it_used_is_believed(fake_llm: FakeLLM, status: int) -> None:
    body = {"error": {"message": "oops"}, "usage": {"prompt_tokens": 100, "completion_tokens": 20}}
    with answering(lambda *_: whole(json.dumps(body).encode(), status)) as url:
        call = Call(fake_llm, base_url=url)
        assert call() is not None and call.usage == TokenUsage(100, 20)


def test_every_retry_counts(fake_llm: FakeLLM) -> None:
    fake_llm.script(first_faults=["empty", "server_error", "cut"])
    call = Call(fake_llm, FAST)
    assert call() is None
    assert [one.usage for one in call.ledger.calls] == [
        TokenUsage(100, 20),
        TokenUsage(),
        MOST,
        TokenUsage(100, 20),
    ]


@pytest.mark.parametrize(
    "fault",
    ["stream_cut", "stream_close", "stream_stall", "stream_garbage", "stream_error", "stream_endless"],
)
def test_a_stream_that_breaks_off_counts_as_the_most(fake_llm: FakeLLM, fault: str) -> None:
    fake_llm.script(text="愿你眼里有光，心里有春。", faults={fault: 1.0})
    call = Call(fake_llm, timeout_s=0.6)
    assert call(lambda _: None) is not None and call.usage == MOST


def test_streams_count_as_whole_replies_do_and_one_stopped_by_its_reader_as_the_most(
    fake_llm: FakeLLM,
) -> None:
    def stop(_: str) -> None:
        raise LLMError(LLMErrorKind.STOPPED)

    for text, usage, tell, expected in (
        ("愿你眼里有光", True, len, TokenUsage(100, 20)),
        ("愿你眼里有光", False, len, MOST),
        (" ", True, len, TokenUsage(100, 20)),
        (" ", False, len, MOST),
        ("愿你眼里有光", True, stop, MOST),
    ):
        fake_llm.script(text=text, usage=usage)
        call = Call(fake_llm)
        call(tell)
        assert call.usage == expected


def test_a_server_that_refuses_for_ever_is_not_asked_for_ever(fake_llm: FakeLLM) -> None:
    body = b'{"error": {"message": "use max_completion_tokens; unsupported: temperature, response_format"}}'
    with answering(lambda *_: whole(body, 400)) as url:
        call = Call(fake_llm, base_url=url)
        error = call()
    assert error is not None and error.kind is LLMErrorKind.BAD_REQUEST
    assert 1 < call.budget.call_count < 8, "each request that was refused counts as a call"


@pytest.mark.parametrize("usage", [True, False])
@pytest.mark.parametrize("fault", ["bad_json", "html", "no_choices", "cut", "error_body", ""])
def test_embeddings_are_counted_alike(fake_llm: FakeLLM, tmp_path: Path, fault: str, usage: bool) -> None:
    fake_llm.script(faults={fault: 1.0} if fault else {}, usage=usage)
    budget, ledger = Budget(max_tokens=300), MemoryLedger()
    client = EmbeddingClient(fake_llm.endpoint(price_in=2.0), tmp_path / "vectors.db", budget, FAST, ledger, "s")

    async def run() -> None:
        for number in range(100):
            try:
                await client.vectors([f"{number:03}" * 10])
            except LLMError as error:
                if error.kind is LLMErrorKind.BUDGET:
                    return

    asyncio.run(run())
    asked = fake_llm.state()["asked"]["embeddings"]
    assert budget.token_count == sum(call.usage.tokens_in for call in ledger.calls) and asked == budget.call_count
    assert (budget.token_count, asked) == ((300, 10) if usage and not fault else (300, 15))
    assert budget.total_cost == pytest.approx(2e-6 * budget.token_count)


BAD: list[tuple[str, Any]] = [
    *((fault, True) for fault in (*EMPTY, *BROKEN)),
    *((fault, False) for fault in EMPTY),
    ("", False),
    ("", {"prompt_tokens": -1, "completion_tokens": "x"}),
    ("", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
]
CAPS = [{"max_tokens": 12_000}, {"max_cost": 0.02}]


def recorded(services: Services) -> tuple[int, int, float]:
    """Calls, tokens and cost of the ledger."""
    services.endpoints.ledger.flush()
    with services.database.read() as session:
        row = session.execute(
            select(func.count(), func.sum(LLMCall.tokens_in + LLMCall.tokens_out), func.sum(LLMCall.cost))
        ).one()
        return int(row[0]), int(row[1] or 0), float(row[2] or 0)


def assert_cap_held(fake: FakeLLM, services: Services, used: Any, cap: dict[str, Any]) -> None:
    """The cap was not overrun, and what was counted is no less than what was billed."""
    billed = fake.state()["billed"]
    calls, tokens, cost = recorded(services)
    assert (calls, tokens) == (used.calls, used.tokens) and cost == pytest.approx(used.cost)
    assert used.tokens >= billed > 0
    assert used.tokens <= cap.get("max_tokens", 1e9) and used.cost <= cap.get("max_cost", 1e9) + 1e-9


@pytest.mark.parametrize("cap", CAPS, ids=["tokens", "cost"])
@pytest.mark.parametrize(("fault", "usage"), BAD)
def test_a_scoring_run_stops_at_its_cap(
    home: Path, fake_llm: FakeLLM, fault: str, usage: Any, cap: dict[str, Any]
) -> None:
    with house(fake_llm, 150) as services:
        fake_llm.script(faults={fault: 1.0} if fault else {}, usage=usage)
        used = services.scoring.run(request(services, **cap))
        assert used.state is ScoringRunState.BUDGET and used.items_left > 0
        assert_cap_held(fake_llm, services, used, cap)


@pytest.mark.parametrize("cap", CAPS, ids=["tokens", "cost"])
@pytest.mark.parametrize("fault", ["empty", "bad_json"])
def test_so_does_a_run_of_pairs(home: Path, fake_llm: FakeLLM, fault: str, cap: dict[str, Any]) -> None:
    with house(fake_llm) as services:
        fake_llm.script(faults={fault: 1.0})
        wish = pair_request(services, prompts_file(services, prompts(60)), judge="principle", **cap)
        used = services.pairs.run(services.pairs.open(wish).id)
        assert used.state.value == "budget"
        assert_cap_held(fake_llm, services, used, cap)


@pytest.mark.parametrize("cap", CAPS, ids=["tokens", "cost"])
@pytest.mark.parametrize("fault", ["empty", "bad_json"])
def test_so_does_the_game(home: Path, fake_llm: FakeLLM, fault: str, cap: dict[str, Any]) -> None:
    with house(fake_llm) as services:
        services.corpus.import_file(world_file(services.settings.home), dataset="world")
        fake_llm.script(faults={fault: 1.0})
        used = services.evolution.play(
            services.evolution.create(RunRequest("world", read_record(GameSettings, {**SMALL}), **cap)).id
        )
        assert used.state is GameState.BUDGET
        assert_cap_held(fake_llm, services, used, cap)
