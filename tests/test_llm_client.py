"""One call: retries, deadlines, fatal errors, dialects, cache, budget; against the fake server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
from pydantic import SecretStr

from backend.llm.ask import ask_for_fields
from backend.llm.budget import Budget, estimate_tokens, estimate_usage
from backend.llm.client import OpenAIClient
from backend.llm.errors import BudgetReached, LLMError, LLMErrorKind
from backend.llm.fields import explanation_field, verdict_field
from backend.llm.ledger import MemoryLedger
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import ChatMessage, Endpoint, SchemaMode
from tests.fake_llm import quality
from tests.llm_fixtures import FAST, FakeLLM

T = TypeVar("T")
FIELDS = [verdict_field(), explanation_field()]
SCHEMA = {"type": "object"}


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage("user", text)]


def with_client(endpoint: Endpoint, work: Callable[[OpenAIClient], Awaitable[T]], **options: Any) -> T:
    async def run() -> T:
        async with OpenAIClient(endpoint, **{"policy": FAST, **options}) as client:
            return await work(client)

    return asyncio.run(run())


def failure(endpoint: Endpoint, **options: Any) -> LLMError:
    async def work(client: OpenAIClient) -> LLMError:
        with pytest.raises(LLMError) as caught:
            await client.complete(user("你好"))
        return caught.value

    return with_client(endpoint, work, **options)


def test_a_reply_with_its_usage_cost_and_latency(fake_llm: FakeLLM):
    endpoint = fake_llm.endpoint(price_in=2.0, price_out=10.0)
    completion = with_client(endpoint, lambda client: client.complete(user("你好"), SCHEMA))
    assert completion.parsed == {"verdict": quality("你好"), "explanation": completion.parsed["explanation"]}
    assert (completion.usage.tokens_in, completion.usage.tokens_out) == (100, 20)
    assert completion.cost == pytest.approx(400e-6)
    assert completion.latency_s > 0 and not completion.cached and completion.finish_reason == "stop"


def test_usage_is_estimated_where_the_server_counts_nothing(fake_llm: FakeLLM):
    fake_llm.script(usage=False)
    completion = with_client(fake_llm.endpoint(), lambda client: client.complete(user("你" * 30)))
    assert completion.usage.estimated and completion.usage.tokens_in == 20


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("rate_limit", LLMErrorKind.RATE_LIMITED),
        ("overloaded", LLMErrorKind.RATE_LIMITED),
        ("server_error", LLMErrorKind.SERVER_ERROR),
        ("drop", LLMErrorKind.CUT_OFF),
        ("cut", LLMErrorKind.CUT_OFF),
        ("bad_json", LLMErrorKind.NOT_JSON),
        ("html", LLMErrorKind.NOT_JSON),
        ("error_body", LLMErrorKind.SERVER_ERROR),
        ("odd_error_body", LLMErrorKind.ERROR_BODY),
        ("no_choices", LLMErrorKind.EMPTY),
        ("empty", LLMErrorKind.EMPTY),
        ("null", LLMErrorKind.EMPTY),
    ],
)
def test_passing_faults_are_tried_again_and_lasting_ones_end_typed(fake_llm: FakeLLM, fault, kind):
    fake_llm.script(first_faults=[fault, fault])
    ledger = MemoryLedger()
    completion = with_client(fake_llm.endpoint(), lambda client: client.complete(user("你好")), ledger=ledger)
    assert completion.text and [call.error for call in ledger.calls] == [kind, kind, None]
    assert [call.attempt for call in ledger.calls] == [1, 2, 3]
    fake_llm.script(faults={fault: 1.0})
    error = failure(fake_llm.endpoint())
    assert error.kind is kind and not error.fatal and not error.ends_run
    assert sum(fake_llm.state()["asked"].values()) == FAST.attempts


@pytest.mark.parametrize("fault", ["too_long", "thinking"])
def test_what_no_retry_cures_for_one_item_is_asked_once(fake_llm: FakeLLM, fault):
    fake_llm.script(faults={fault: 1.0})
    assert not failure(fake_llm.endpoint()).fatal
    assert sum(fake_llm.state()["asked"].values()) == 1


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_server_that_never_ends_its_answer_is_left_at_the_deadline(fake_llm: FakeLLM, fault):
    fake_llm.script(faults={fault: 1.0})
    began = time.monotonic()
    error = failure(fake_llm.endpoint(timeout_s=0.3), policy=RetryPolicy(base_pause_s=0.01, deadline_s=0.7))
    assert error.kind is LLMErrorKind.TIMEOUT and 0.6 < time.monotonic() - began < 10


@pytest.mark.parametrize(("retry_after", "least"), [("0.4", 0.4), ("date", 0.05)])
def test_retry_after_is_honoured(fake_llm: FakeLLM, retry_after, least):
    fake_llm.script(first_faults=["rate_limit"], retry_after=retry_after)
    began = time.monotonic()
    with_client(fake_llm.endpoint(), lambda client: client.complete(user("你好")))
    assert least <= time.monotonic() - began < 20


def test_a_pause_beyond_the_deadline_is_not_waited_for(fake_llm: FakeLLM):
    fake_llm.script(faults={"rate_limit": 1.0}, retry_after="50")
    began = time.monotonic()
    assert failure(fake_llm.endpoint()).kind is LLMErrorKind.RATE_LIMITED
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("script", "changes", "kind"),
    [
        ({"api_key": "right"}, {"api_key": "wrong-key-123"}, LLMErrorKind.UNAUTHORISED),
        ({"faults": {"forbidden": 1.0}}, {}, LLMErrorKind.FORBIDDEN),
        ({"faults": {"quota": 1.0}}, {}, LLMErrorKind.NO_CREDIT),
        ({"models": ["other"]}, {}, LLMErrorKind.UNKNOWN_MODEL),
        ({"faults": {"bad_request": 1.0}}, {}, LLMErrorKind.BAD_REQUEST),
    ],
)
def test_fatal_errors_stop_the_whole_run_at_once(fake_llm: FakeLLM, script, changes, kind):
    fake_llm.script(**script)

    async def work(client: OpenAIClient) -> list[LLMError]:
        asked = [ask_for_fields(client, user(f"第{n}条"), FIELDS) for n in range(200)]
        return list(await asyncio.gather(*asked, return_exceptions=True))  # type: ignore[arg-type]

    errors = with_client(fake_llm.endpoint(concurrency=4, **changes), work)
    assert {error.kind for error in errors} == {kind}
    assert all(error.fatal and error.message.zh and error.message.en for error in errors)
    assert sum(fake_llm.state()["asked"].values()) <= 8


def test_one_malformed_request_among_good_ones_is_one_unscored_item(fake_llm: FakeLLM):
    async def work(client: OpenAIClient) -> LLMError:
        await client.complete(user("好的"))
        fake_llm.script(faults={"bad_request": 1.0})
        with pytest.raises(LLMError) as caught:
            await client.complete(user("怪的"))
        fake_llm.script()
        await client.complete(user("又好了"))
        return caught.value

    assert not with_client(fake_llm.endpoint(), work).fatal


def test_nothing_listens():
    error = failure(Endpoint("off", "http://127.0.0.1:9/v1", "m"))
    assert error.kind is LLMErrorKind.REFUSED and not error.fatal


def test_stop_lets_calls_in_flight_finish_and_refuses_the_rest(fake_llm: FakeLLM):
    fake_llm.script(latency_s=0.1)

    async def work(client: OpenAIClient) -> list[object]:
        tasks = [asyncio.create_task(client.complete(user(str(n)))) for n in range(6)]
        await asyncio.sleep(0.05)
        client.stop()
        return [getattr(done, "kind", "fine") for done in await asyncio.gather(*tasks, return_exceptions=True)]

    kinds = with_client(fake_llm.endpoint(concurrency=2), work)
    assert kinds == ["fine"] * 2 + [LLMErrorKind.CANCELLED] * 4


def test_a_cancelled_call_counts_as_the_most_it_can_have_cost(fake_llm: FakeLLM):
    fake_llm.script(faults={"hang": 1.0})
    ledger, budget = MemoryLedger(), Budget()

    async def work(client: OpenAIClient) -> None:
        task = asyncio.create_task(client.complete(user("你" * 30), max_tokens=50))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_client(fake_llm.endpoint(price_in=2.0, price_out=10.0), work, ledger=ledger, budget=budget)
    (call,) = ledger.calls
    assert (call.error, call.usage.estimated) == (LLMErrorKind.STOPPED, True)
    assert call.cost == budget.total_cost == pytest.approx((20 * 2 + 50 * 10) / 1e6)
    assert (budget.call_count, budget.token_count) == (1, 70)


class TestDialects:
    """Servers that do not take everything are learned once for all."""

    def test_schema_is_sent_where_it_is_taken(self, fake_llm: FakeLLM):
        with_client(fake_llm.endpoint(), lambda client: client.complete(user("你好"), SCHEMA))
        assert fake_llm.state()["bodies"][0]["response_format"]["json_schema"]["schema"] == SCHEMA

    def test_a_refused_schema_is_tried_once_and_remembered(self, fake_llm: FakeLLM):
        fake_llm.script(schema="reject", models=["plain"])

        async def work(client: OpenAIClient) -> list[str]:
            answers = await asyncio.gather(*(ask_for_fields(client, user(str(n)), FIELDS) for n in range(10)))
            return [answer.failure_kind for answer in answers]

        assert with_client(fake_llm.endpoint(model="plain"), work) == [""] * 10
        assert sum("response_format" in body for body in fake_llm.state()["bodies"]) == 1

    def test_a_schema_that_must_be_is_not_dropped(self, fake_llm: FakeLLM):
        fake_llm.script(schema="reject")

        async def work(client: OpenAIClient) -> LLMErrorKind:
            with pytest.raises(LLMError) as caught:
                await client.complete(user("你好"), SCHEMA)
            return caught.value.kind

        assert with_client(fake_llm.endpoint(supports_schema=SchemaMode.YES), work) is LLMErrorKind.BAD_REQUEST

    def test_parameters_that_are_refused_are_left_out(self, fake_llm: FakeLLM):
        fake_llm.script(refuses=["max_tokens", "temperature", "seed"], models=["thinker"])

        async def work(client: OpenAIClient) -> None:
            await client.complete(user("你好"), seed=3, max_tokens=77)
            await client.complete(user("再见"), seed=3, max_tokens=77)

        with_client(fake_llm.endpoint(model="thinker"), work)
        bodies = fake_llm.state()["bodies"]
        assert len(bodies) == 5
        assert set(bodies[-1]) == {"model", "messages", "max_completion_tokens"}


class TestAsk:
    """One re-ask, then unscored with the raw reply."""

    def test_an_unreadable_reply_is_asked_about_once(self, fake_llm: FakeLLM):
        fake_llm.script(reply="learns")
        answer = with_client(fake_llm.endpoint(), lambda client: ask_for_fields(client, user("你好"), FIELDS))
        assert answer.field_values and len(answer.completions) == 2 and answer.failure_message is None
        last = fake_llm.state()["bodies"][-1]["messages"]
        assert [message["role"] for message in last] == ["user", "assistant", "user"]
        assert "上一条回复无法使用" in last[-1]["content"] and '"verdict"' in last[-1]["content"]

    def test_a_second_one_leaves_the_item_unscored(self, fake_llm: FakeLLM):
        fake_llm.script(reply="chatter")
        answer = with_client(fake_llm.endpoint(), lambda client: ask_for_fields(client, user("你好"), FIELDS))
        assert answer.field_values is None and answer.failure_kind == "no_answer" and len(answer.completions) == 2
        assert "见仁见智" in answer.raw_reply and answer.failure_message is not None and answer.failure_message.zh

    @pytest.mark.parametrize("fault", ["server_error", "empty", "truncated", "hang", "too_long"])
    def test_one_item_never_raises(self, fake_llm: FakeLLM, fault):
        fake_llm.script(faults={fault: 1.0})
        answer = with_client(
            fake_llm.endpoint(timeout_s=0.2), lambda client: ask_for_fields(client, user("你好"), FIELDS)
        )
        assert answer.field_values is None and answer.failure_message is not None and answer.failure_kind

    @pytest.mark.parametrize("text", ["", "福" * 10_000, "\x00\ud800 error", '{"error": 1}', "<|im_end|>"])
    def test_odd_texts_get_a_verdict_like_any_other(self, fake_llm: FakeLLM, text):
        answer = with_client(fake_llm.endpoint(), lambda client: ask_for_fields(client, user(text), FIELDS))
        assert answer.field_values is not None


class TestCache:
    """The ledger is the cache."""

    def asked(self, fake: FakeLLM, calls: Sequence[dict[str, Any]], scopes: Sequence[str] = ("s",)) -> int:
        ledger = MemoryLedger()
        for scope in scopes:

            async def work(client: OpenAIClient) -> None:
                for call in calls:
                    await client.complete(**{"messages": user("你好"), **call})

            with_client(fake.endpoint(), work, ledger=ledger, scope=scope)
        return sum(fake.state()["asked"].values())

    def test_equal_requests_are_asked_once(self, fake_llm: FakeLLM):
        assert self.asked(fake_llm, [{}, {}, {}]) == 1

    @pytest.mark.parametrize(
        "other",
        [
            {"messages": user("您好")},
            {"messages": [ChatMessage("system", "你好")]},
            {"temperature": 0.7},
            {"max_tokens": 5},
            {"seed": 1},
            {"variant": "2"},
            {"schema": SCHEMA},
            {"extra": {"top_p": 0.5}},
        ],
    )
    def test_whatever_shapes_the_reply_makes_another_request(self, fake_llm: FakeLLM, other):
        assert self.asked(fake_llm, [{}, other]) == 2

    def test_another_scope_asks_anew(self, fake_llm: FakeLLM):
        assert self.asked(fake_llm, [{}], scopes=("a", "b")) == 2

    def test_equal_requests_at_once_share_one_call(self, fake_llm: FakeLLM):
        fake_llm.script(latency_s=0.05)

        async def work(client: OpenAIClient) -> list[bool]:
            made = await asyncio.gather(*(client.complete(user("你好")) for _ in range(8)))
            return sorted(one.cached for one in made)

        assert with_client(fake_llm.endpoint(), work) == [False] + [True] * 7
        assert sum(fake_llm.state()["asked"].values()) == 1

    def test_failures_are_recorded_and_never_served(self, fake_llm: FakeLLM):
        fake_llm.script(faults={"server_error": 1.0})
        ledger = MemoryLedger()
        assert failure(fake_llm.endpoint(), ledger=ledger).kind is LLMErrorKind.SERVER_ERROR
        fake_llm.script()
        again = with_client(fake_llm.endpoint(), lambda client: client.complete(user("你好")), ledger=ledger)
        assert not again.cached and [call.error for call in ledger.calls] == ["server_error"] * 4 + [None]


class TestBudget:
    """A cap ends the run cleanly and is never overrun."""

    def run(self, fake: FakeLLM, budget: Budget, n: int = 40, **changes: Any) -> tuple[int, set[type]]:
        async def work(client: OpenAIClient) -> list[Any]:
            asked = [client.complete(user(str(number)), max_tokens=150) for number in range(n)]
            return await asyncio.gather(*asked, return_exceptions=True)

        done = with_client(fake.endpoint(concurrency=16, **changes), work, budget=budget)
        failed = [one for one in done if isinstance(one, Exception)]
        return n - len(failed), {type(one) for one in failed}

    def test_calls(self, fake_llm: FakeLLM):
        fake_llm.script(latency_s=0.01)
        assert self.run(fake_llm, Budget(max_calls=13)) == (13, {BudgetReached})
        assert sum(fake_llm.state()["asked"].values()) == 13

    def test_tokens(self, fake_llm: FakeLLM):
        budget = Budget(max_tokens=1000)
        done, errors = self.run(fake_llm, budget)
        assert errors == {BudgetReached} and 6 <= done <= 8 and budget.token_count <= 1000

    def test_money(self, fake_llm: FakeLLM):
        budget = Budget(max_cost=1e-3)
        done, errors = self.run(fake_llm, budget, price_in=1.0, price_out=1.0)
        assert errors == {BudgetReached} and 6 <= done <= 8 and budget.total_cost <= 1e-3

    def test_no_cap(self, fake_llm: FakeLLM):
        assert self.run(fake_llm, Budget()) == (40, set())

    def test_estimate(self):
        endpoint = Endpoint("e", "http://x/v1", "m", SecretStr(""), price_in=1.0, price_out=2.0, concurrency=10)
        made = estimate_usage(["福" * 150, "福" * 300], 1000, endpoint, tokens_out=100, latency_s=1.0)
        assert (made.calls, made.tokens_in, made.tokens_out) == (1000, 150_000, 100_000)
        assert made.cost == pytest.approx(0.35) and made.seconds == pytest.approx(100)
        assert estimate_tokens("") == 0


def test_many_items_with_a_third_of_the_calls_failing(fake_llm: FakeLLM):
    faults = ("rate_limit", "server_error", "cut", "bad_json", "html", "error_body", "empty", "drop")
    fake_llm.script(faults={**dict.fromkeys(faults, 0.035), "hang": 0.003}, latency_s=0.005, seed=1)
    greetings = [f"第{n}条祝福" for n in range(600)]

    async def work(client: OpenAIClient) -> list[tuple[bool, bool, int | None]]:
        answers = await asyncio.gather(
            *(ask_for_fields(client, user(text), FIELDS, add_instruction=False) for text in greetings)
        )
        return [
            (a.field_values is None, a.failure_message is None, a.field_values and a.field_values["verdict"])
            for a in answers
        ]

    ledger = MemoryLedger()
    results = with_client(fake_llm.endpoint(concurrency=32, timeout_s=1.0), work, ledger=ledger)
    unscored = sum(missing for missing, _, __ in results)
    assert all(missing != scored for missing, scored, _ in results)
    assert all(
        value == quality(text) for text, (missing, _, value) in zip(greetings, results, strict=True) if not missing
    )
    assert unscored < 30
    answered = fake_llm.state()["answered"]
    assert max(answered.values()) == 1 and len(answered) == 600 - unscored
    assert sum(call.error is None for call in ledger.calls) == 600 - unscored
