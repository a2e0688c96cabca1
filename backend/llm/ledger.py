"""The ledger's protocol: every call is recorded, successful ones are the cache and the resume point."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from backend.llm.messages import Completion, TokenUsage


@dataclass(frozen=True)
class CallRecord:
    """One attempt at one call, with its reply or the kind of its error."""

    request_hash: str
    scope: str
    call_id: str
    endpoint: str
    model: str
    messages: list[dict[str, str]]
    parameters: dict[str, Any]
    created_at: datetime
    attempt: int = 1
    reply: str | None = None
    finish_reason: str | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost: float = 0.0
    latency_s: float = 0.0
    error: str | None = None
    error_detail: str | None = None

    def as_completion(self) -> Completion:
        """The stored reply, as a cached completion that costs nothing now."""
        return Completion(
            text=self.reply or "",
            call_id=self.call_id,
            # The tokens of then are shown beside it; the cost stays 0, for a budget must not be charged
            # twice.
            usage=self.usage,
            latency_s=self.latency_s,
            finish_reason=self.finish_reason or "stop",
            cached=True,
        )


class Ledger(Protocol):
    """Where calls are recorded and looked up by their request hash."""

    def lookup(self, request_hash: str) -> Completion | None:
        """The newest successful reply to this request, None where there is none."""

    def record(self, call_record: CallRecord) -> None:
        """Take note of one attempt; returns at once, storing happens in the background."""

    def flush(self) -> None:
        """Wait until everything recorded so far is stored. Raises UserError where it cannot be."""


class MemoryLedger:
    """A ledger for tests and for one-off calls."""

    def __init__(self) -> None:
        self.calls: list[CallRecord] = []
        self._successful_calls: dict[str, CallRecord] = {}

    def lookup(self, request_hash: str) -> Completion | None:
        """The newest successful reply to this request."""
        call_record = self._successful_calls.get(request_hash)
        return call_record.as_completion() if call_record else None

    def record(self, call_record: CallRecord) -> None:
        """Take note of one attempt."""
        self.calls.append(call_record)
        if call_record.error is None:
            self._successful_calls[call_record.request_hash] = call_record

    def flush(self) -> None:
        """Nothing is ever pending."""
