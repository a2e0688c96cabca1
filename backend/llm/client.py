"""`OpenAIClient`: one call from ledger, limiter, budget, transport and retries; nothing else retries."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from backend.core.text import digest
from backend.llm.budget import Budget, Reservation, estimate_tokens, usage_of_failure
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.fields import response_format
from backend.llm.ledger import CallRecord, Ledger, MemoryLedger
from backend.llm.limiter import AttemptOutcome, RetryPolicy
from backend.llm.messages import ChatMessage, Completion, Endpoint, LLMClient, SchemaMode, TokenUsage, storable_text
from backend.llm.reply import ServerReply
from backend.llm.transport import RequestRefusal, Transport, endpoint_state_of
from backend.llm.usage import settled_usage

__all__ = ["LLMClient", "OpenAIClient", "request_key"]


@dataclass(frozen=True)
class _ChatRequest:
    request_key: str
    messages: list[dict[str, str]]
    parameters: dict[str, Any]
    schema: Mapping[str, Any] | None
    reservation: Reservation
    maximum_usage: TokenUsage
    character_count: int
    on_piece: Callable[[str], None] | None = None


def request_key(
    endpoint: Endpoint, scope: str, messages: Sequence[ChatMessage], request_shape: Mapping[str, Any]
) -> str:
    """The cache key: everything that shapes the reply, and a rendered prompt by template and values."""
    message_parts = [
        message_part for message in messages for message_part in (message.role, message.identity or message.content)
    ]
    return digest(scope, *endpoint.identity, json.dumps(request_shape, sort_keys=True), *message_parts)


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
        self._retry_policy = policy or RetryPolicy()
        self._endpoint_state = endpoint_state_of(endpoint)
        self._transport = Transport(endpoint)
        self._running_requests: dict[str, asyncio.Future[Completion]] = {}
        self._ending_error: LLMError | None = None
        self._has_succeeded = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The ledger belongs to its maker."""
        await self._transport.close()

    def stop(self) -> None:
        """Cancel the run: calls in flight finish and are kept, every further one raises CANCELLED."""
        self._ending_error = self._ending_error or LLMError(LLMErrorKind.CANCELLED)

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
        parameters: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, **(extra or {})}
        if seed is not None:
            parameters["seed"] = seed
        chat_request = self._build_request(messages, schema, parameters, variant)
        while (running_request := self._running_requests.get(chat_request.request_key)) is not None:
            await asyncio.wait([running_request])
            if not running_request.cancelled():
                return replace(running_request.result(), cached=True, cost=0.0)
        known_completion = self.ledger.lookup(chat_request.request_key)
        if known_completion is not None:
            return replace(known_completion, parsed=_parse_json_object(known_completion.text, schema))
        return await self._complete_once(chat_request)

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        on_piece: Callable[[str], None],
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
        parameters: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, **(extra or {})}
        if seed is not None:
            parameters["seed"] = seed
        chat_request = self._build_request(messages, None, parameters, variant)
        known_completion = self.ledger.lookup(chat_request.request_key)
        if known_completion is not None:
            on_piece(known_completion.text)
            return known_completion
        return await self._attempt_with_retries(replace(chat_request, on_piece=on_piece))

    def _build_request(
        self,
        messages: Sequence[ChatMessage],
        schema: Mapping[str, Any] | None,
        parameters: dict[str, Any],
        variant: str,
    ) -> _ChatRequest:
        request_shape = {"params": parameters, "schema": schema, "variant": variant}
        sent_messages = [{"role": message.role, "content": storable_text(message.content)} for message in messages]
        tokens_in = sum(estimate_tokens(message["content"]) for message in sent_messages)
        tokens_out = int(parameters["max_tokens"])
        return _ChatRequest(
            request_key=request_key(self.endpoint, self.scope, messages, request_shape),
            messages=sent_messages,
            parameters=parameters,
            schema=schema,
            reservation=Reservation(tokens_in + tokens_out, self.endpoint.cost_of_tokens(tokens_in, tokens_out)),
            maximum_usage=TokenUsage(tokens_in, tokens_out, estimated=True),
            character_count=sum(len(message["content"]) for message in sent_messages),
        )

    async def _complete_once(self, chat_request: _ChatRequest) -> Completion:
        # Equal requests that come while this one runs wait for its result instead of asking again.
        pending_completion: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._running_requests[chat_request.request_key] = pending_completion
        try:
            completion = await self._attempt_with_retries(chat_request)
        except LLMError as error:
            pending_completion.set_exception(error)
            pending_completion.exception()
            raise
        except BaseException:
            pending_completion.cancel()
            raise
        finally:
            del self._running_requests[chat_request.request_key]
        pending_completion.set_result(completion)
        return completion

    async def _attempt_with_retries(self, chat_request: _ChatRequest) -> Completion:
        retry_policy = self._retry_policy
        remaining_s = retry_policy.call_deadline(self.endpoint.timeout_s)
        for attempt_number in range(1, retry_policy.attempts + 1):
            acquired_at = await self._endpoint_state.limiter.acquire(at_front=attempt_number > 1)
            attempt_start = time.monotonic()
            attempt_outcome = AttemptOutcome.NEUTRAL
            try:
                completion = await self._attempt_in_dialect(
                    chat_request, attempt_number, min(remaining_s, self.endpoint.timeout_s)
                )
                attempt_outcome = AttemptOutcome.SUCCESS
                return completion
            except LLMError as error:
                last_failure = error
                attempt_outcome = (
                    AttemptOutcome.OVERLOADED if error.kind is LLMErrorKind.RATE_LIMITED else AttemptOutcome.NEUTRAL
                )
            finally:
                self._endpoint_state.limiter.release(acquired_at, attempt_outcome)
            remaining_s -= time.monotonic() - attempt_start
            retry_pause = retry_policy.retry_pause(attempt_number, last_failure)
            if not last_failure.retryable or attempt_number == retry_policy.attempts or retry_pause >= remaining_s:
                break
            await asyncio.sleep(retry_pause)
            remaining_s -= retry_pause
        raise self._final_error(last_failure)

    def _final_error(self, failure: LLMError) -> LLMError:
        if failure.kind is LLMErrorKind.BAD_REQUEST and self._has_succeeded:
            # The same form of request was taken before: it is this one text the server dislikes.
            failure.fatal = False
        if failure.ends_run:
            self._ending_error = self._ending_error or failure
        return failure

    async def _attempt_in_dialect(
        self, chat_request: _ChatRequest, attempt_number: int, timeout_s: float
    ) -> Completion:
        """The reply in whatever dialect the server takes: each thing it refuses is left out once for all."""
        dialect = self._endpoint_state.dialect
        request_body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": chat_request.messages,
            **chat_request.parameters,
        }
        while True:
            request_body.pop("response_format", None)
            if chat_request.schema is not None and dialect.wants_schema():
                request_body["response_format"] = response_format(chat_request.schema)
            sent_body = dialect.adapted_body({**request_body, **_stream_options(chat_request)})
            schema_accepted: bool | None = None
            try:
                completion = await self._exchange_recorded(chat_request, sent_body, attempt_number, timeout_s)
                schema_accepted = True
                return completion
            except RequestRefusal as refusal:
                complaint, failure = refusal.complaint, refusal.error
            finally:
                dialect.settle_schema_trial(request_body, schema_accepted=schema_accepted)
            schema_required = self.endpoint.supports_schema is SchemaMode.YES
            # What was sent and not what was meant: a refusal of what it lacks already teaches nothing.
            if not dialect.learn_from_refusal(complaint, sent_body, schema_required=schema_required):
                raise failure

    async def _exchange_recorded(
        self, chat_request: _ChatRequest, request_body: dict[str, Any], attempt_number: int, timeout_s: float
    ) -> Completion:
        """One request and its reply, counted and recorded whatever comes of it. Raises LLMError, Refusal."""
        if self._ending_error is not None:
            raise self._ending_error.with_traceback(None)
        await self.budget.reserve(chat_request.reservation)
        start_time, call_id, server_reply = time.perf_counter(), uuid.uuid4().hex, None
        # Until the server says more: nobody knows whether it bills what was cancelled.
        actual_usage, failure = chat_request.maximum_usage, LLMError(LLMErrorKind.STOPPED)
        try:
            server_reply = await self._send_request(request_body, chat_request, timeout_s)
            actual_usage = settled_usage(
                server_reply.reported_usage, chat_request.maximum_usage, chat_request.character_count
            )
        except (LLMError, RequestRefusal) as error:
            failure = error.error if isinstance(error, RequestRefusal) else error
            actual_usage = usage_of_failure(failure, chat_request.maximum_usage, chat_request.character_count)
            raise
        finally:
            actual_cost = self.endpoint.cost_of_tokens(actual_usage.tokens_in, actual_usage.tokens_out)
            self.budget.settle(chat_request.reservation, actual_usage, actual_cost)
            self._record_call(
                chat_request,
                attempt_number,
                call_id,
                start_time,
                server_reply or failure,
                actual_usage,
                actual_cost,
            )
        self._has_succeeded = True
        return Completion(
            text=server_reply.text,
            call_id=call_id,
            usage=actual_usage,
            cost=actual_cost,
            latency_s=time.perf_counter() - start_time,
            finish_reason=server_reply.finish_reason,
            parsed=_parse_json_object(server_reply.text, chat_request.schema),
        )

    async def _send_request(
        self, request_body: dict[str, Any], chat_request: _ChatRequest, timeout_s: float
    ) -> ServerReply:
        if chat_request.on_piece is None:
            return await self._transport.send_request(request_body, timeout_s)
        return await self._transport.stream(request_body, timeout_s, chat_request.on_piece)

    def _record_call(
        self,
        chat_request: _ChatRequest,
        attempt_number: int,
        call_id: str,
        start_time: float,
        reply_or_error: ServerReply | LLMError,
        actual_usage: TokenUsage,
        actual_cost: float,
    ) -> None:
        server_reply, call_error = (
            (reply_or_error, None) if isinstance(reply_or_error, ServerReply) else (None, reply_or_error)
        )
        self.ledger.record(
            CallRecord(
                request_hash=chat_request.request_key,
                scope=self.scope,
                call_id=call_id,
                endpoint=self.endpoint.name,
                model=self.endpoint.model,
                messages=chat_request.messages,
                parameters=chat_request.parameters,
                created_at=datetime.now(UTC),
                attempt=attempt_number,
                reply=server_reply.text if server_reply else None,
                finish_reason=server_reply.finish_reason if server_reply else None,
                usage=actual_usage,
                cost=actual_cost,
                latency_s=time.perf_counter() - start_time,
                error=call_error.kind if call_error else None,
                error_detail=call_error.detail if call_error else None,
            )
        )


def _stream_options(chat_request: _ChatRequest) -> dict[str, Any]:
    return {"stream": True, "stream_options": {"include_usage": True}} if chat_request.on_piece else {}


def _parse_json_object(reply_text: str, schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    try:
        parsed_value = json.loads(reply_text)
    except (ValueError, RecursionError):
        return None
    return parsed_value if isinstance(parsed_value, dict) else None
