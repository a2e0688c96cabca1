"""`OpenAIClient`: one call from ledger, limiter, budget, transport and retries; nothing else retries."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from backend.llm.budget import Budget, Reservation, spent, tokens_in_text
from backend.llm.dialect import shared
from backend.llm.endpoint import Endpoint, SchemaMode
from backend.llm.errors import Kind, LLMError
from backend.llm.ledger import CallRecord, Ledger, MemoryLedger
from backend.llm.limiter import Outcome
from backend.llm.messages import ChatMessage, Completion, LLMClient, Usage, storable
from backend.llm.reply import Reply
from backend.llm.retry import RetryPolicy
from backend.llm.schema import response_format
from backend.llm.transport import Refusal, Transport
from backend.llm.usage import settled
from backend.text import digest

__all__ = ["LLMClient", "OpenAIClient", "request_key"]


@dataclass(frozen=True)
class _Request:
    key: str
    messages: list[dict[str, str]]
    params: dict[str, Any]
    schema: Mapping[str, Any] | None
    reservation: Reservation
    most: Usage
    characters: int
    tell: Callable[[str], None] | None = None


def request_key(
    endpoint: Endpoint, scope: str, messages: Sequence[ChatMessage], shape: Mapping[str, Any]
) -> str:
    """The cache key: everything that shapes the reply, and a rendered prompt by template and values."""
    said = [part for message in messages for part in (message.role, message.identity or message.content)]
    return digest(scope, *endpoint.identity, json.dumps(shape, sort_keys=True), *said)


class OpenAIClient:
    """Calls one endpoint on behalf of one run (a `scope`, such as a judge's version).

    After a fatal error every further call raises it at once, so a run of 100,000 items ends with one
    sentence. Use in one event loop, and close it (`async with`).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        scope: str = "",
        ledger: Ledger | None = None,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.scope = scope
        self.ledger: Ledger = MemoryLedger() if ledger is None else ledger
        self.budget = budget or Budget()
        self._policy = policy or RetryPolicy()
        self._shared = shared(endpoint)
        self._transport = Transport(endpoint)
        self._running: dict[str, asyncio.Future[Completion]] = {}
        self._ended: LLMError | None = None
        self._succeeded = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The ledger belongs to its maker."""
        await self._transport.close()

    def stop(self) -> None:
        """Cancel the run: calls in flight finish and are kept, every further one raises CANCELLED."""
        self._ended = self._ended or LLMError(Kind.CANCELLED)

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        schema: Mapping[str, Any] | None = None,
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        variant: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """One reply, from the ledger or from the server. Raises LLMError; see `LLMClient`."""
        params: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, **(extra or {})}
        if seed is not None:
            params["seed"] = seed
        request = self._request(messages, schema, params, variant)
        while (running := self._running.get(request.key)) is not None:
            await asyncio.wait([running])
            if not running.cancelled():
                return replace(running.result(), cached=True, cost=0.0)
        known = self.ledger.lookup(request.key)
        if known is not None:
            return replace(known, parsed=_parsed(known.text, schema))
        return await self._once(request)

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        tell: Callable[[str], None],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        variant: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """As `complete`, and `tell` is called with every new piece of the reply as it comes.

        Once a piece was told nothing is retried: a reply that breaks off raises LLMError, and what was
        told stays with the caller. `tell` may end it by raising LLMError(Kind.STOPPED). A reply that the
        ledger knows comes in one piece.
        """
        params: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, **(extra or {})}
        if seed is not None:
            params["seed"] = seed
        request = self._request(messages, None, params, variant)
        known = self.ledger.lookup(request.key)
        if known is not None:
            tell(known.text)
            return known
        return await self._attempts(replace(request, tell=tell))

    def _request(
        self,
        messages: Sequence[ChatMessage],
        schema: Mapping[str, Any] | None,
        params: dict[str, Any],
        variant: str,
    ) -> _Request:
        shape = {"params": params, "schema": schema, "variant": variant}
        sent = [{"role": message.role, "content": storable(message.content)} for message in messages]
        tokens_in = sum(tokens_in_text(message["content"]) for message in sent)
        tokens_out = int(params["max_tokens"])
        return _Request(
            key=request_key(self.endpoint, self.scope, messages, shape),
            messages=sent,
            params=params,
            schema=schema,
            reservation=Reservation(tokens_in + tokens_out, self.endpoint.cost(tokens_in, tokens_out)),
            most=Usage(tokens_in, tokens_out, estimated=True),
            characters=sum(len(message["content"]) for message in sent),
        )

    async def _once(self, request: _Request) -> Completion:
        # Equal requests that come while this one runs wait for its result instead of asking again.
        result: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._running[request.key] = result
        try:
            completion = await self._attempts(request)
        except LLMError as error:
            result.set_exception(error)
            result.exception()
            raise
        except BaseException:
            result.cancel()
            raise
        finally:
            del self._running[request.key]
        result.set_result(completion)
        return completion

    async def _attempts(self, request: _Request) -> Completion:
        policy = self._policy
        left = policy.deadline(self.endpoint.timeout_s)
        for attempt in range(1, policy.attempts + 1):
            started = await self._shared.limiter.acquire(ahead=attempt > 1)
            began = time.monotonic()
            outcome = Outcome.NEUTRAL
            try:
                completion = await self._attempt(request, attempt, min(left, self.endpoint.timeout_s))
                outcome = Outcome.SUCCESS
                return completion
            except LLMError as error:
                failure = error
                outcome = Outcome.OVERLOADED if error.kind is Kind.RATE_LIMITED else Outcome.NEUTRAL
            finally:
                self._shared.limiter.release(started, outcome)
            left -= time.monotonic() - began
            pause = policy.pause(attempt, failure)
            if not failure.retryable or attempt == policy.attempts or pause >= left:
                break
            await asyncio.sleep(pause)
            left -= pause
        raise self._final(failure)

    def _final(self, failure: LLMError) -> LLMError:
        if failure.kind is Kind.BAD_REQUEST and self._succeeded:
            # The same form of request was taken before: it is this one text the server dislikes.
            failure.fatal = False
        if failure.ends_run:
            self._ended = self._ended or failure
        return failure

    async def _attempt(self, request: _Request, attempt: int, timeout_s: float) -> Completion:
        """The reply in whatever dialect the server takes: each thing it refuses is left out once for all."""
        dialect = self._shared.dialect
        body: dict[str, Any] = {"model": self.endpoint.model, "messages": request.messages, **request.params}
        while True:
            body.pop("response_format", None)
            if request.schema is not None and dialect.wants_schema():
                body["response_format"] = response_format(request.schema)
            sent = dialect.spoken({**body, **_streamed(request)})
            accepted: bool | None = None
            try:
                completion = await self._exchange(request, sent, attempt, timeout_s)
                accepted = True
                return completion
            except Refusal as refusal:
                complaint, failure = refusal.complaint, refusal.error
            finally:
                dialect.settle(body, accepted=accepted)
            required = self.endpoint.supports_schema is SchemaMode.YES
            # What was sent and not what was meant: a refusal of what it lacks already teaches nothing.
            if not dialect.adapt(complaint, sent, required_schema=required):
                raise failure

    async def _exchange(
        self, request: _Request, body: dict[str, Any], attempt: int, timeout_s: float
    ) -> Completion:
        """One request and its reply, counted and recorded whatever comes of it. Raises LLMError, Refusal."""
        if self._ended is not None:
            raise self._ended.with_traceback(None)
        await self.budget.reserve(request.reservation)
        began, call_id, reply = time.perf_counter(), uuid.uuid4().hex, None
        # Until the server says more: nobody knows whether it bills what was cancelled.
        usage, failure = request.most, LLMError(Kind.STOPPED)
        try:
            reply = await self._sent(body, request, timeout_s)
            usage = settled(reply.counted, request.most, request.characters)
        except (LLMError, Refusal) as error:
            failure = error.error if isinstance(error, Refusal) else error
            usage = spent(failure, request.most, request.characters)
            raise
        finally:
            cost = self.endpoint.cost(usage.tokens_in, usage.tokens_out)
            self.budget.settle(request.reservation, usage, cost)
            self._record(request, attempt, call_id, began, reply or failure, usage, cost)
        self._succeeded = True
        return Completion(
            text=reply.text,
            call_id=call_id,
            usage=usage,
            cost=cost,
            latency_s=time.perf_counter() - began,
            finish_reason=reply.finish_reason,
            parsed=_parsed(reply.text, request.schema),
        )

    async def _sent(self, body: dict[str, Any], request: _Request, timeout_s: float) -> Reply:
        if request.tell is None:
            return await self._transport.send(body, timeout_s)
        return await self._transport.stream(body, timeout_s, request.tell)

    def _record(
        self,
        request: _Request,
        attempt: int,
        call_id: str,
        began: float,
        outcome: Reply | LLMError,
        usage: Usage,
        cost: float,
    ) -> None:
        reply, error = (outcome, None) if isinstance(outcome, Reply) else (None, outcome)
        self.ledger.record(
            CallRecord(
                key=request.key,
                scope=self.scope,
                call_id=call_id,
                endpoint=self.endpoint.name,
                model=self.endpoint.model,
                messages=request.messages,
                params=request.params,
                created_at=datetime.now(UTC),
                attempt=attempt,
                reply=reply.text if reply else None,
                finish_reason=reply.finish_reason if reply else None,
                usage=usage,
                cost=cost,
                latency_s=time.perf_counter() - began,
                error=error.kind if error else None,
                error_detail=error.detail if error else None,
            )
        )


def _streamed(request: _Request) -> dict[str, Any]:
    return {"stream": True, "stream_options": {"include_usage": True}} if request.tell else {}


def _parsed(text: str, schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
