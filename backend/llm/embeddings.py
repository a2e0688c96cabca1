"""Vectors of texts from an OpenAI-compatible endpoint: bounded batches, and each text is asked for once."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.llm.budget import Budget, Reservation, tokens_in_text
from backend.llm.dialect import shared
from backend.llm.endpoint import Endpoint
from backend.llm.errors import Kind, LLMError
from backend.llm.limiter import Outcome
from backend.llm.messages import Usage
from backend.llm.retry import RetryPolicy
from backend.llm.transport import Refusal, Transport
from backend.text import digest

Floats = NDArray[np.float32]

BATCH = 64
WIDEST = 16_384
STORE_WAIT_S = 30.0


class EmbeddingClient:
    """One endpoint's vectors. `path` is a file that keeps them; whoever shares it asks nothing twice.

    Calls obey the endpoint's limiter, the retries of `policy` and the budget; they are not in the ledger.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        path: Path,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._budget = budget or Budget()
        self._policy = policy or RetryPolicy()
        self._limiter = shared(endpoint).limiter
        self._store = _Store(path, digest(endpoint.base_url.rstrip("/"), endpoint.model))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the vectors."""
        return {"base_url": self._endpoint.base_url.rstrip("/"), "model": self._endpoint.model}

    async def vectors(self, texts: Sequence[str]) -> Floats:
        """One row a text. What comes is kept at once, so a failure costs nothing twice. Raises LLMError."""
        known = self._store.get(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known |= await self._fetched(missing)
        rows = [known[text] for text in texts]
        if len({len(row) for row in rows}) > 1:
            raise LLMError(Kind.NOT_JSON, self._endpoint.where, "vectors of different sizes")
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

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

    async def _asked(self, transport: Transport, batch: Sequence[str]) -> list[Floats]:
        body = {"model": self._endpoint.model, "input": list(batch), "encoding_format": "float"}
        tokens = sum(map(tokens_in_text, batch))
        left = self._policy.deadline(self._endpoint.timeout_s)
        for attempt in range(1, self._policy.attempts + 1):
            started = await self._limiter.acquire(ahead=attempt > 1)
            began, outcome = time.monotonic(), Outcome.NEUTRAL
            try:
                rows = await self._once(transport, body, tokens, min(left, self._endpoint.timeout_s))
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

    async def _once(
        self, transport: Transport, body: Mapping[str, Any], tokens: int, timeout_s: float
    ) -> list[Floats]:
        cost = self._endpoint.cost(tokens, 0)
        reservation = Reservation(tokens, cost)
        await self._budget.reserve(reservation)
        try:
            document = await transport.embeddings(body, timeout_s)
        except Refusal as refusal:
            raise refusal.error from None
        finally:
            self._budget.settle(reservation, Usage(tokens, 0, estimated=True), cost)
        return _rows(document, len(body["input"]), self._endpoint.where)


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
