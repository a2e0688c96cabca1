"""One request and its reply, set against the budget and written into the ledger whatever comes of it."""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from backend.llm.budget import Budget, Reservation, usage_of_failure
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.ledger import CallRecord, Ledger
from backend.llm.messages import Endpoint, TokenUsage
from backend.llm.reply import ServerReply
from backend.llm.transport import RequestRefusal
from backend.llm.usage import settled_usage


@dataclass(frozen=True)
class BillableRequest:
    """What budget and ledger need to know of a request before it is sent.

    `maximum_usage` is the most that it can use, `character_count` counts the characters it sends.
    """

    request_hash: str
    messages: list[dict[str, str]]
    parameters: dict[str, Any]
    maximum_usage: TokenUsage
    character_count: int


@dataclass(frozen=True)
class CallAccount:
    """On whose behalf requests are made: where they go, in whose name (`scope`), and who pays."""

    endpoint: Endpoint
    scope: str
    ledger: Ledger
    budget: Budget


class RecordedExchange:
    """For `async with` around one request; whoever sends notes the usage and the text of the reply in it.

    Entering waits until the budget has room and raises BudgetReached where it never will. Leaving settles with the
    budget and records the attempt, also where it failed or was cancelled. Raises UserError where the ledger fails.
    """

    def __init__(self, account: CallAccount, request: BillableRequest, attempt_number: int) -> None:
        self._account, self._request, self._attempt_number = account, request, attempt_number
        endpoint, most = account.endpoint, request.maximum_usage
        self._reservation = Reservation(
            most.tokens_in + most.tokens_out, endpoint.cost_of_tokens(most.tokens_in, most.tokens_out)
        )
        self.call_id = uuid.uuid4().hex
        self.actual_usage: TokenUsage | None = None
        """What the server counted; None until it has answered."""
        self.actual_cost = self.elapsed_s = 0.0
        self.reply_text = ""
        self.finish_reason = "stop"

    def note_reply(self, server_reply: ServerReply) -> None:
        """What a chat request got, and what the server says it used."""
        self.reply_text, self.finish_reason = server_reply.text, server_reply.finish_reason
        self.actual_usage = settled_usage(
            server_reply.reported_usage, self._request.maximum_usage, self._request.character_count
        )

    async def __aenter__(self) -> Self:
        await self._account.budget.reserve(self._reservation)
        self._begun_at = time.perf_counter()
        return self

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        failure = _failure_of(error)
        most = self._request.maximum_usage
        # Where nothing was noted and nothing failed, the most: better too much set against the budget than
        # too little.
        usage = self.actual_usage or (
            usage_of_failure(failure, most, self._request.character_count) if failure else most
        )
        self.actual_usage = usage
        self.actual_cost = self._account.endpoint.cost_of_tokens(usage.tokens_in, usage.tokens_out)
        self.elapsed_s = time.perf_counter() - self._begun_at
        # Before the record: that one raises where the ledger fails, and the reservation must not stay open
        # for ever.
        self._account.budget.settle(self._reservation, usage, self.actual_cost)
        self._record(usage, failure)

    def _record(self, usage: TokenUsage, failure: LLMError | None) -> None:
        endpoint = self._account.endpoint
        self._account.ledger.record(
            CallRecord(
                request_hash=self._request.request_hash,
                scope=self._account.scope,
                call_id=self.call_id,
                endpoint=endpoint.name,
                model=endpoint.model,
                messages=self._request.messages,
                parameters=self._request.parameters,
                created_at=datetime.now(UTC),
                attempt=self._attempt_number,
                reply=None if failure else self.reply_text,
                finish_reason=None if failure else self.finish_reason,
                usage=usage,
                cost=self.actual_cost,
                latency_s=self.elapsed_s,
                error=failure.kind if failure else None,
                error_detail=failure.detail if failure else None,
            )
        )


def _failure_of(error: BaseException | None) -> LLMError | None:
    """The failure as the ledger names it.

    Whatever is no error of a call ended it from outside. Nobody knows whether the server bills that, so STOPPED counts
    as billed: too much is set against the budget rather than too little.
    """
    if error is None or isinstance(error, LLMError):
        return error
    return error.error if isinstance(error, RequestRefusal) else LLMError(LLMErrorKind.STOPPED)
