"""Vectors of texts from an OpenAI-compatible endpoint: bounded batches, and each text is asked for once."""

import asyncio
import json
import math
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.llm.budget import Budget, Estimate, Reservation, spent, tokens_in_text
from backend.llm.dialect import shared
from backend.llm.endpoint import Endpoint
from backend.llm.errors import Kind, LLMError
from backend.llm.ledger import CallRecord, Ledger, MemoryLedger
from backend.llm.limiter import Outcome
from backend.llm.messages import Usage, storable
from backend.llm.retry import RetryPolicy
from backend.llm.transport import Refusal, Transport
from backend.llm.usage import counted_in, settled_input
from backend.text import digest

Floats = NDArray[np.float32]

BATCH = 64
WIDEST = 16_384
STORE_WAIT_S = 30.0
LATENCY_S = 0.2
"""Typical time of one call, for estimates."""


@dataclass(frozen=True)
class _Batch:
    """One request, its texts, and the most that it can use."""

    key: str
    texts: tuple[str, ...]
    tokens: int

    @property
    def characters(self) -> int:
        return sum(map(len, self.texts))

    @property
    def params(self) -> dict[str, Any]:
        return {"encoding_format": "float"}


class EmbeddingClient:
    """One endpoint's vectors. `path` is a file that keeps them; whoever shares it asks nothing twice.

    Calls obey the endpoint's limiter, the retries of `policy` and the budget. The ledger gets every attempt
    with its texts, tokens and cost, and of the reply what proves it: how many vectors, how wide, their hash.
    The vectors themselves lie in `path`, which is also where a later run finds them.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        path: Path,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
        ledger: Ledger | None = None,
        scope: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._scope = scope
        self._ledger: Ledger = MemoryLedger() if ledger is None else ledger
        self._budget = budget or Budget()
        self._policy = policy or RetryPolicy()
        self._limiter = shared(endpoint).limiter
        self._running: dict[str, asyncio.Future[None]] = {}
        self._store = _Store(path, digest(endpoint.base_url.rstrip("/"), endpoint.model))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the vectors."""
        return {"base_url": self._endpoint.base_url.rstrip("/"), "model": self._endpoint.model}

    def estimate(self, texts: Sequence[str], singles: Sequence[str] = (), count: int = 0) -> Estimate:
        """What it takes to know these texts, and `count` more like `singles` that are asked one by one."""
        missing = self._store.missing(texts)
        tokens = sum(map(tokens_in_text, missing))
        if singles:
            fresh = self._store.missing(singles)
            share = len(fresh) / len(set(singles))
            mean = sum(map(tokens_in_text, fresh)) / len(fresh) if fresh else 0.0
            count = round(count * share)
            tokens += round(mean * count)
        calls = math.ceil(len(missing) / BATCH) + count
        seconds = calls * LATENCY_S / self._endpoint.concurrency
        return Estimate(calls, tokens, 0, self._endpoint.cost(tokens, 0), seconds)

    async def vectors(self, texts: Sequence[str]) -> Floats:
        """One row a text. What comes is kept at once, so a failure costs nothing twice. Raises LLMError."""
        known = self._store.get(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        awaited = {self._running[text] for text in missing if text in self._running}
        if mine := [text for text in missing if text not in self._running]:
            known |= await self._fetched_once(mine)
        if awaited:
            await asyncio.wait(awaited)
            return await self.vectors(texts)
        rows = [known[text] for text in texts]
        if len({len(row) for row in rows}) > 1:
            raise LLMError(Kind.NOT_JSON, self._endpoint.where, "vectors of different sizes")
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    async def _fetched_once(self, texts: Sequence[str]) -> dict[str, Floats]:
        """As `_fetched`; whoever wants one of them meanwhile waits instead of asking again."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running |= dict.fromkeys(texts, done)
        try:
            return await self._fetched(texts)
        finally:
            for text in texts:
                del self._running[text]
            done.set_result(None)

    async def _fetched(self, texts: Sequence[str]) -> dict[str, Floats]:
        batches = iter([texts[start : start + BATCH] for start in range(0, len(texts), BATCH)])
        found: dict[str, Floats] = {}
        transport = Transport(self._endpoint)

        async def lane() -> None:
            for batch in batches:
                rows = await self._asked(transport, batch)
                fresh = dict(zip(batch, rows, strict=True))
                self._store.put(fresh)
                found.update(fresh)

        lanes = [asyncio.create_task(lane()) for _ in range(min(self._endpoint.concurrency, len(texts)))]
        try:
            await asyncio.gather(*lanes)
        finally:
            for task in lanes:
                task.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            await transport.close()
        return found

    async def _asked(self, transport: Transport, texts: Sequence[str]) -> list[Floats]:
        asked = self._batch(texts)
        left = self._policy.deadline(self._endpoint.timeout_s)
        for attempt in range(1, self._policy.attempts + 1):
            started = await self._limiter.acquire(ahead=attempt > 1)
            began, outcome = time.monotonic(), Outcome.NEUTRAL
            try:
                rows = await self._once(transport, asked, attempt, min(left, self._endpoint.timeout_s))
                outcome = Outcome.SUCCESS
                return rows
            except LLMError as error:
                failure = error
                outcome = Outcome.OVERLOADED if error.kind is Kind.RATE_LIMITED else Outcome.NEUTRAL
            finally:
                self._limiter.release(started, outcome)
            left -= time.monotonic() - began
            pause = self._policy.pause(attempt, failure)
            if not failure.retryable or attempt == self._policy.attempts or pause >= left:
                break
            await asyncio.sleep(pause)
            left -= pause
        raise failure

    def _batch(self, texts: Sequence[str]) -> _Batch:
        key = digest("embeddings", self._endpoint.base_url.rstrip("/"), self._endpoint.model, *texts)
        return _Batch(key, tuple(texts), sum(map(tokens_in_text, texts)))

    async def _once(
        self, transport: Transport, asked: _Batch, attempt: int, timeout_s: float
    ) -> list[Floats]:
        most = Usage(asked.tokens, 0, estimated=True)
        reservation = Reservation(asked.tokens, self._endpoint.cost(asked.tokens, 0))
        await self._budget.reserve(reservation)
        began = time.perf_counter()
        rows: list[Floats] = []
        # Until the server says more: nobody knows whether it bills what was cancelled.
        usage, failure = most, LLMError(Kind.STOPPED)
        document: dict[str, Any] = {}
        try:
            document = await transport.embeddings(self._body(asked), timeout_s, WIDEST)
            usage = settled_input(counted_in(document), most, asked.characters)
            rows = _rows(document, len(asked.texts), self._endpoint.where)
            return rows
        except (LLMError, Refusal) as error:
            failure = error.error if isinstance(error, Refusal) else error
            if not document:
                usage = spent(failure, most, asked.characters)
        finally:
            cost = self._endpoint.cost(usage.tokens_in, usage.tokens_out)
            self._budget.settle(reservation, usage, cost)
            self._record(asked, attempt, began, rows, usage, cost, None if rows else failure)
        raise failure

    def _body(self, asked: _Batch) -> dict[str, Any]:
        return {"model": self._endpoint.model, "input": list(asked.texts), **asked.params}

    def _record(
        self,
        asked: _Batch,
        attempt: int,
        began: float,
        rows: Sequence[Floats],
        usage: Usage,
        cost: float,
        failure: LLMError | None,
    ) -> None:
        self._ledger.record(
            CallRecord(
                key=asked.key,
                scope=self._scope,
                call_id=uuid.uuid4().hex,
                endpoint=self._endpoint.name,
                model=self._endpoint.model,
                messages=[{"role": "input", "content": storable(text)} for text in asked.texts],
                params=asked.params,
                created_at=datetime.now(UTC),
                attempt=attempt,
                reply=_proof(rows) if failure is None else None,
                finish_reason="stop" if failure is None else None,
                usage=usage,
                cost=cost,
                latency_s=time.perf_counter() - began,
                error=failure.kind if failure else None,
                error_detail=failure.detail if failure else None,
            )
        )


def _proof(rows: Sequence[Floats]) -> str:
    """What the ledger keeps of vectors: enough to tell whether those in the file are the ones that came."""
    hash_ = digest(*(row.astype("<f4").tobytes().hex() for row in rows))
    return json.dumps({"vectors": len(rows), "width": len(rows[0]), "sha256": hash_})


def _rows(document: Mapping[str, Any], count: int, where: str) -> list[Floats]:
    """The vectors in the order of the input. Raises LLMError where they are not all there."""
    data = document.get("data")
    found: dict[int, Floats] = {}
    for place, one in enumerate(data if isinstance(data, list) else ()):
        values = one.get("embedding") if isinstance(one, dict) else None
        index = one.get("index", place) if isinstance(one, dict) else place
        if isinstance(values, list) and 0 < len(values) <= WIDEST and isinstance(index, int):
            try:
                row = np.asarray(values, dtype=np.float32)
            except (TypeError, ValueError):
                continue
            if row.ndim == 1 and bool(np.isfinite(row).all()):
                found[index] = row
    if sorted(found) != list(range(count)):
        raise LLMError(Kind.NOT_JSON, where, f"{len(found)} usable vectors for {count} texts")
    return [found[index] for index in range(count)]


class _Store:
    """Vectors by model and text in one SQLite file; several processes may share it."""

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as file:
            file.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL)")

    def get(self, texts: Sequence[str]) -> dict[str, Floats]:
        """The vectors that are known."""
        found: dict[str, Floats] = {}
        with self._open() as file:
            for text in dict.fromkeys(texts):
                row = file.execute("SELECT vector FROM vectors WHERE key = ?", [self._key(text)]).fetchone()
                if row is not None:
                    found[text] = np.frombuffer(row[0], dtype="<f4").astype(np.float32)
        return found

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Those that are not known, each once."""
        wanted = {self._key(text): text for text in texts}
        with self._open() as file:
            for key in list(wanted):
                if file.execute("SELECT 1 FROM vectors WHERE key = ?", [key]).fetchone():
                    del wanted[key]
        return list(wanted.values())

    def put(self, vectors: Mapping[str, Floats]) -> None:
        """Keep them."""
        rows = [(self._key(text), vector.astype("<f4").tobytes()) for text, vector in vectors.items()]
        with self._open() as file:
            file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def _key(self, text: str) -> str:
        return digest(self._model, text)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=STORE_WAIT_S)) as file, file:
            yield file
