"""`OpenAIClient`: one call from ledger, limiter, budget, transport and retries; nothing else retries."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from backend.core.text import digest
from backend.llm.budget import Budget, estimate_tokens
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.exchange import BillableRequest, CallAccount, RecordedExchange
from backend.llm.fields import response_format
from backend.llm.ledger import Ledger, MemoryLedger
from backend.llm.limiter import CallAttempts, RetryPolicy
from backend.llm.messages import ChatMessage, Completion, Endpoint, LLMClient, SchemaMode, TokenUsage, storable_text
from backend.llm.reply import ServerReply, parse_reply
from backend.llm.transport import CHAT_PATH, RequestRefusal, Transport, chat_reply_limit, endpoint_state_of

__all__ = ["LLMClient", "OpenAIClient", "request_key"]


@dataclass(frozen=True)
class _ChatRequest(BillableRequest):
    schema: Mapping[str, Any] | None = None
    on_piece: Callable[[str], None] | None = None


def request_key(
    endpoint: Endpoint, scope: str, messages: Sequence[ChatMessage], request_shape: Mapping[str, Any]
) -> str:
    """The cache key: everything that shapes the reply, and a rendered prompt by template and values."""
    message_parts = [
        # The identity where there is one: the content holds a nonce that differs from one installation to the
        # next, and the same prompt must find its reply in the ledger of either.
        message_part
        for message in messages
        for message_part in (message.role, message.identity or message.content)
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
        self._account = CallAccount(
            endpoint, scope, MemoryLedger() if ledger is None else ledger, Budget() if budget is None else budget
        )
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
        parameters = _call_parameters(temperature, max_tokens, seed, extra)
        chat_request = self._build_request(messages, schema, parameters, variant)
        # A loop: a cancelled request is asked again by one of those who waited, and the others then wait for
        # that one. From here to the announcement nothing is awaited, so no two equal requests can both find
        # neither reply nor request.
        while (running_request := self._running_requests.get(chat_request.request_hash)) is not None:
            # Not awaited itself: cancelling one of those who wait would cancel the request of all.
            await asyncio.wait([running_request])
            if not running_request.cancelled():
                # Whoever asked has paid; the sum over all answers must be what the server bills.
                return replace(running_request.result(), cached=True, cost=0.0)
        known_completion = self._account.ledger.lookup(chat_request.request_hash)
        if known_completion is not None:
            return replace(known_completion, parsed=_parse_json_object(known_completion.text, schema))
        with self._announce_request(chat_request.request_hash) as announced_request, self._noting_failure():
            async for attempt in self._new_attempts():
                with attempt:
                    completion = await self._attempt(chat_request, attempt.number, attempt.timeout_s)
                    announced_request.set_result(completion)
                    return completion
        raise AssertionError("unreachable: the last attempt returns or raises")

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
        """As `complete`, and `on_piece` is called with every new piece of the reply as it comes.

        Once a piece has passed nothing is retried: a reply that breaks off raises LLMError, and its pieces
        stay with the caller. `on_piece` may end it by raising LLMError(LLMErrorKind.STOPPED). A reply that
        the ledger knows comes in one piece.
        """
        parameters = _call_parameters(temperature, max_tokens, seed, extra)
        chat_request = self._build_request(messages, None, parameters, variant)
        # Equal streams at once are not shared as whole replies are: who only waited would see no piece until
        # the end.
        known_completion = self._account.ledger.lookup(chat_request.request_hash)
        if known_completion is not None:
            on_piece(known_completion.text)
            return known_completion
        with self._noting_failure():
            async for attempt in self._new_attempts():
                with attempt:
                    streamed_request = replace(chat_request, on_piece=on_piece)
                    return await self._attempt(streamed_request, attempt.number, attempt.timeout_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _build_request(
        self,
        messages: Sequence[ChatMessage],
        schema: Mapping[str, Any] | None,
        parameters: dict[str, Any],
        variant: str,
    ) -> _ChatRequest:
        request_shape = {"params": parameters, "schema": schema, "variant": variant}
        # A lone surrogate can neither be encoded for the request nor stored in the ledger afterwards.
        sent_messages = [{"role": message.role, "content": storable_text(message.content)} for message in messages]
        tokens_in = sum(estimate_tokens(message["content"]) for message in sent_messages)
        return _ChatRequest(
            request_hash=request_key(self.endpoint, self._account.scope, messages, request_shape),
            messages=sent_messages,
            parameters=parameters,
            # The most it can be billed: all of the limit written, whatever the reply turns out to be.
            maximum_usage=TokenUsage(tokens_in, int(parameters["max_tokens"]), estimated=True),
            character_count=sum(len(message["content"]) for message in sent_messages),
            schema=schema,
        )

    @contextmanager
    def _announce_request(self, request_hash: str) -> Iterator[asyncio.Future[Completion]]:
        """While this runs, equal requests wait for its result instead of asking again; a cancelled one they repeat."""
        running_request: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._running_requests[request_hash] = running_request
        try:
            yield running_request
        except LLMError as error:
            running_request.set_exception(error)
            running_request.exception()  # looked at once, so that asyncio does not complain where nobody waits
            raise
        finally:
            running_request.cancel()  # of no effect on one that has its result
            del self._running_requests[request_hash]

    def _new_attempts(self) -> CallAttempts:
        return CallAttempts(self._retry_policy, self._endpoint_state.limiter, self.endpoint.timeout_s)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Around all attempts at a call: an error that ends the run ends every further call, too."""
        try:
            yield
        except LLMError as failure:
            if failure.kind is LLMErrorKind.BAD_REQUEST and self._has_succeeded:
                # The same form of request was taken before: it is this one text the server dislikes.
                failure.fatal = False
            # The first one stays: it names the cause, and later ones are its consequences.
            if failure.ends_run:
                self._ending_error = self._ending_error or failure
            raise

    async def _attempt(self, chat_request: _ChatRequest, attempt_number: int, timeout_s: float) -> Completion:
        """The reply in whatever dialect the server takes: each thing it refuses is left out once for all.

        Every request sent is counted and recorded. Raises LLMError.
        """
        dialect = self._endpoint_state.dialect
        while True:
            request_body: dict[str, Any] = {
                "model": self.endpoint.model,
                "messages": chat_request.messages,
                **chat_request.parameters,
            }
            if chat_request.schema is not None and dialect.wants_schema():
                request_body["response_format"] = response_format(chat_request.schema)
            # Adapted last: the dialect may have learnt that this server takes no stream_options either.
            sent_body = dialect.adapted_body({**request_body, **_stream_options(chat_request)})
            schema_accepted: bool | None = None
            try:
                # Within the try, since wants_schema() may have begun the trial, which only the `finally`
                # below ends.
                if self._ending_error is not None:
                    # Without its traceback, which would grow with every call that ends here.
                    raise self._ending_error.with_traceback(None)
                async with RecordedExchange(self._account, chat_request, attempt_number) as exchange:
                    if chat_request.on_piece is None:
                        byte_limit = chat_reply_limit(sent_body)
                        document = await self._transport.exchange(
                            CHAT_PATH, timeout_s, byte_limit, request_body=sent_body
                        )
                        server_reply = parse_reply(self.endpoint, document)
                    else:
                        server_reply = await self._transport.stream(sent_body, timeout_s, chat_request.on_piece)
                    exchange.note_reply(server_reply)
                self._has_succeeded = schema_accepted = True
                return _completion_of(server_reply, exchange, chat_request.schema)
            except RequestRefusal as refusal:
                complaint, failure = refusal.complaint, refusal.error
            finally:
                dialect.settle_schema_trial(request_body, schema_accepted=schema_accepted)
            schema_required = self.endpoint.supports_schema is SchemaMode.YES
            # What was sent and not what was meant: a refusal of what it lacks already teaches nothing.
            if not dialect.learn_from_refusal(complaint, sent_body, schema_required=schema_required):
                raise failure


def _call_parameters(
    temperature: float, max_tokens: int, seed: int | None, extra: Mapping[str, Any] | None
) -> dict[str, Any]:
    seed_parameter = {} if seed is None else {"seed": seed}
    return {"temperature": temperature, "max_tokens": max_tokens, **(extra or {}), **seed_parameter}


def _completion_of(
    server_reply: ServerReply, exchange: RecordedExchange, schema: Mapping[str, Any] | None
) -> Completion:
    return Completion(
        text=server_reply.text,
        call_id=exchange.call_id,
        usage=exchange.actual_usage or TokenUsage(),
        cost=exchange.actual_cost,
        latency_s=exchange.elapsed_s,
        finish_reason=server_reply.finish_reason,
        parsed=_parse_json_object(server_reply.text, schema),
    )


def _stream_options(chat_request: _ChatRequest) -> dict[str, Any]:
    return {"stream": True, "stream_options": {"include_usage": True}} if chat_request.on_piece else {}


def _parse_json_object(reply_text: str, schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    try:
        parsed_value = json.loads(reply_text)
    # A few kilobytes of opening brackets are enough for a RecursionError.
    except (ValueError, RecursionError):
        return None
    return parsed_value if isinstance(parsed_value, dict) else None
