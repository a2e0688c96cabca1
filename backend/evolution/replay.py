"""A run once more from the ledger alone: the same steps, or the first one that differs. Nothing is asked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.evolution.players import no_baseline
from backend.judges.base import Judge
from backend.llm.budget import Budget
from backend.llm.endpoint import Endpoint
from backend.llm.errors import Kind, LLMError
from backend.llm.ledger import CallRecord
from backend.llm.messages import Completion, Usage
from backend.principles.planting import POLICY
from backend.principles.vocabulary import Agent, Phase
from backend.writing.writer import Writer

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient


@dataclass(frozen=True)
class Replayed:
    """Whether the ledger gives the same run, and where it first does not (round and phase)."""

    steps: int
    same: bool
    differs: str = ""


class ReplayLedger:
    """The ledger as it stood when the run asked, step by step.

    `windows` says between which calls each step lies: what was answered before comes from there, and the
    k-th time that a step asks the same it gets what its k-th asking got, an error again as an error.
    """

    def __init__(self, database: Database, windows: Mapping[tuple[int, Phase], tuple[int, int]]) -> None:
        self._database = database
        self._windows = windows
        self._first = self._last = 0
        self._turns: dict[str, int] = {}

    def enter(self, number: int, phase: Phase) -> None:
        """From here on the calls are those of this step; a step that the run never had has none."""
        self._first, self._last = self._windows.get((number, phase), (0, 0))
        self._turns = {}

    def lookup(self, key: str) -> Completion | None:
        """What was answered then; None where nobody asked. Raises LLMError where it failed then."""
        with self._database.read() as session:
            rows = session.scalars(
                select(LLMCall)
                .where(LLMCall.request_hash == key, LLMCall.id <= self._last)
                .order_by(LLMCall.id)
            ).all()
        known = [row for row in rows if row.error is None and row.id <= self._first]
        if known:
            return _completion(known[-1])
        turns: list[LLMCall] = []
        for row in rows:
            if row.id > self._first:
                # Attempt 1 begins a new asking; what its last attempt gave is what the run saw.
                turns[len(turns) if row.attempt == 1 else -1 :] = [row]
        if not turns:
            return None
        number = self._turns.get(key, 0)
        self._turns[key] = number + 1
        turn = turns[min(number, len(turns) - 1)]
        if turn.error is not None:
            raise LLMError(Kind(turn.error), f"{turn.endpoint} ({turn.model})", fatal=False)
        return _completion(turn)

    def record(self, call: CallRecord) -> None:
        """Nothing is asked, so there is nothing to record."""

    def flush(self) -> None:
        """Nothing is ever pending."""


@dataclass
class ReplayHall:
    """Makes players that only remember."""

    endpoints: Mapping[str, Mapping[str, str]]
    key: bytes
    ledger: ReplayLedger
    clients: "list[OpenAIClient]" = field(default_factory=list)

    def endpoint(self, name: str | None) -> Endpoint:
        """The endpoint as it was when the run began."""
        kept = next(one for one in self.endpoints.values() if one["name"] == name)
        return Endpoint(kept["name"], kept["base_url"], kept["model"])

    def client(self, endpoint: Endpoint, scope: str) -> "OpenAIClient":
        """A client that may not ask: its budget allows no call."""
        from backend.llm.client import OpenAIClient  # the SDK is a slow import, kept off every start

        made = OpenAIClient(endpoint, scope=scope, ledger=self.ledger, budget=Budget(max_calls=0))
        self.clients.append(made)
        return made

    def fence_key(self) -> bytes:
        """The key of the house."""
        return self.key

    def fitted(self, name: str) -> Judge:
        """None."""
        return no_baseline(name)

    async def writer(self, name: str) -> Writer:
        """A policy that only remembers."""
        client = self.client(Endpoint(name, "", name, artifact=name), f"principles:{Agent.GENERATOR}")
        return Writer(name, client, POLICY, self.key, trained=True)

    async def close(self) -> None:
        """Close the clients."""
        for client in self.clients:
            await client.close()


def compare(kept: Mapping[str, Any], again: Mapping[str, Any], numbers: Mapping[int, int]) -> Replayed:
    """Two tellings of a run, step by step; `numbers` maps versions of the second to those of the first."""
    for name, data in kept.items():
        if name not in again or _comparable(data) != _comparable(_renumbered(again[name], numbers)):
            return Replayed(len(kept), same=False, differs=name)
    return Replayed(len(kept), same=True)


def _renumbered(data: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    names = ("version", "detector", "generator", "old", "new", "best")
    return {
        name: numbers.get(value, value) if name in names and isinstance(value, int) else value
        for name, value in data.items()
    }


def _comparable(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, sort_keys=True)


def _completion(row: LLMCall) -> Completion:
    return Completion(
        text=row.reply or "",
        call_id=row.call_id,
        usage=Usage(row.tokens_in, row.tokens_out, row.tokens_estimated),
        latency_s=row.latency_s,
        finish_reason=row.finish_reason or "stop",
        cached=True,
    )
