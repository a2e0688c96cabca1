"""Vectors of texts from an OpenAI-compatible endpoint: bounded batches, and each text is asked for once."""

import asyncio
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.core.text import digest
from backend.llm.budget import Budget, Estimate, estimate_tokens
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.exchange import BillableRequest, CallAccount, RecordedExchange
from backend.llm.ledger import Ledger, MemoryLedger
from backend.llm.limiter import CallAttempts, RetryPolicy
from backend.llm.messages import Endpoint, TokenUsage, storable_text
from backend.llm.transport import RequestRefusal, Transport, endpoint_state_of
from backend.llm.usage import settled_input_usage, usage_in_document

FloatArray = NDArray[np.float32]

BATCH_TEXTS = 64
# No embedding model gives wider ones; it bounds how much of a reply is read.
WIDEST_VECTOR = 16_384
# How long SQLite waits for another process that writes to the shared file.
STORE_WAIT_S = 30.0
# Typical time of one call, for estimates.
LATENCY_S = 0.2
REQUEST_PARAMETERS = {"encoding_format": "float"}


class EmbeddingClient:
    """One endpoint's vectors. The file at `store_path` holds them; whoever shares it asks nothing twice.

    Calls obey the endpoint's limiter, the retries of `policy` and the budget. The ledger gets every attempt
    with its texts, tokens and cost, and of the reply what proves it: how many vectors, how wide, their hash.
    The vectors themselves lie in that file, which is also where a later run finds them.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        store_path: Path,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
        ledger: Ledger | None = None,
        scope: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._account = CallAccount(
            endpoint, scope, MemoryLedger() if ledger is None else ledger, Budget() if budget is None else budget
        )
        self._retry_policy = policy or RetryPolicy()
        self._limiter = endpoint_state_of(endpoint).limiter
        self._running_texts: dict[str, asyncio.Future[None]] = {}
        # Without the slash at the end: the same server entered in two ways must not be paid twice for one
        # text.
        self._vector_store = _VectorStore(store_path, digest(endpoint.base_url.rstrip("/"), endpoint.model))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the vectors."""
        return {"base_url": self._endpoint.base_url.rstrip("/"), "model": self._endpoint.model}

    def estimate(self, texts: Sequence[str], single_texts: Sequence[str] = (), single_count: int = 0) -> Estimate:
        """What it takes to embed these texts, and `single_count` more like `single_texts` that are asked one by one."""
        missing_texts = self._vector_store.missing_texts(texts)
        token_count = sum(map(estimate_tokens, missing_texts))
        if single_texts:
            missing_singles = self._vector_store.missing_texts(single_texts)
            missing_share = len(missing_singles) / len(set(single_texts))
            mean_tokens = sum(map(estimate_tokens, missing_singles)) / len(missing_singles) if missing_singles else 0.0
            single_count = round(single_count * missing_share)
            token_count += round(mean_tokens * single_count)
        call_count = math.ceil(len(missing_texts) / BATCH_TEXTS) + single_count
        total_seconds = call_count * LATENCY_S / self._endpoint.concurrency
        return Estimate(call_count, token_count, 0, self._endpoint.cost_of_tokens(token_count, 0), total_seconds)

    async def vectors(self, texts: Sequence[str]) -> FloatArray:
        """One row a text. What comes is stored at once, so a failure costs nothing twice. Raises LLMError."""
        known_vectors = self._vector_store.load_vectors(texts)
        # Between this and the claim in `_fetch_deduplicated` nothing is awaited, so no text is claimed twice.
        missing_texts = [input_text for input_text in dict.fromkeys(texts) if input_text not in known_vectors]
        awaited_fetches = {
            self._running_texts[input_text] for input_text in missing_texts if input_text in self._running_texts
        }
        if unclaimed_texts := [input_text for input_text in missing_texts if input_text not in self._running_texts]:
            known_vectors |= await self._fetch_deduplicated(unclaimed_texts)
        # Read again from the file and not handed over: where another's fetch failed, its texts are missing
        # there and asked now.
        if awaited_fetches:
            await asyncio.wait(awaited_fetches)
            return await self.vectors(texts)
        vector_rows = [known_vectors[input_text] for input_text in texts]
        # A server may put another model behind the same name; its new vectors cannot be compared with the
        # stored ones.
        if len({len(vector_row) for vector_row in vector_rows}) > 1:
            raise LLMError(LLMErrorKind.NOT_JSON, self._endpoint.display_name, "vectors of different sizes")
        return np.stack(vector_rows) if vector_rows else np.zeros((0, 0), np.float32)

    async def _fetch_deduplicated(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """As `_fetch_vectors`; whoever needs one of the texts meanwhile waits instead of asking again."""
        fetch_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running_texts |= dict.fromkeys(texts, fetch_done)
        try:
            return await self._fetch_vectors(texts)
        finally:
            for input_text in texts:
                del self._running_texts[input_text]
            # Also after a failure: the future only says that the wait is over, never how it ended.
            fetch_done.set_result(None)

    async def _fetch_vectors(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        text_batches = iter(
            [texts[batch_start : batch_start + BATCH_TEXTS] for batch_start in range(0, len(texts), BATCH_TEXTS)]
        )
        fetched_vectors: dict[str, FloatArray] = {}
        transport = Transport(self._endpoint)

        # All lanes draw from one iterator, so none waits for a batch that another has already done.
        async def fetch_lane() -> None:
            for text_batch in text_batches:
                vector_rows = await self._request_with_retries(transport, text_batch)
                fetched_batch = dict(zip(text_batch, vector_rows, strict=True))
                # Batch by batch, so that what an error of a later one leaves behind has not been paid for in
                # vain.
                self._vector_store.store_vectors(fetched_batch)
                fetched_vectors.update(fetched_batch)

        fetch_lanes = [asyncio.create_task(fetch_lane()) for _ in range(min(self._endpoint.concurrency, len(texts)))]
        try:
            await asyncio.gather(*fetch_lanes)
        finally:
            for lane_task in fetch_lanes:
                lane_task.cancel()
            # Cancelled lanes settle with budget and ledger before the connections under them are closed.
            await asyncio.gather(*fetch_lanes, return_exceptions=True)
            await transport.close()
        return fetched_vectors

    async def _request_with_retries(self, transport: Transport, texts: Sequence[str]) -> list[FloatArray]:
        request = self._build_request(texts)
        async for attempt in CallAttempts(self._retry_policy, self._limiter, self._endpoint.timeout_s):
            with attempt:
                return await self._request_once(transport, request, texts, attempt.number, attempt.timeout_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _build_request(self, texts: Sequence[str]) -> BillableRequest:
        return BillableRequest(
            request_hash=digest("embeddings", self._endpoint.base_url.rstrip("/"), self._endpoint.model, *texts),
            messages=[{"role": "input", "content": storable_text(input_text)} for input_text in texts],
            parameters=dict(REQUEST_PARAMETERS),
            maximum_usage=TokenUsage(sum(map(estimate_tokens, texts)), 0, estimated=True),
            character_count=sum(map(len, texts)),
        )

    async def _request_once(
        self,
        transport: Transport,
        request: BillableRequest,
        texts: Sequence[str],
        attempt_number: int,
        timeout_s: float,
    ) -> list[FloatArray]:
        request_body = {"model": self._endpoint.model, "input": list(texts), **REQUEST_PARAMETERS}
        try:
            async with RecordedExchange(self._account, request, attempt_number) as exchange:
                reply_document = await transport.request_embeddings(request_body, timeout_s, WIDEST_VECTOR)
                # Before the vectors are read: what cannot be read has been billed all the same.
                exchange.actual_usage = settled_input_usage(
                    usage_in_document(reply_document), request.maximum_usage, request.character_count
                )
                vector_rows = _parse_vectors(reply_document, len(texts), self._endpoint.display_name)
                exchange.reply_text = _vector_proof(vector_rows)
            return vector_rows
        except RequestRefusal as refusal:
            failure = refusal.error
        raise failure


def _vector_proof(vector_rows: Sequence[FloatArray]) -> str:
    """What the ledger records of vectors: enough to tell whether those in the file are the ones that came."""
    # Little-endian as in the file, so that the proof holds on any machine.
    vectors_hash = digest(*(vector_row.astype("<f4").tobytes().hex() for vector_row in vector_rows))
    return json.dumps({"vectors": len(vector_rows), "width": len(vector_rows[0]), "sha256": vectors_hash})


def _parse_vectors(reply_document: Mapping[str, Any], text_count: int, endpoint_name: str) -> list[FloatArray]:
    """The vectors in the order of the input. Raises LLMError where they are not all there."""
    vector_entries = reply_document.get("data")
    row_by_index: dict[int, FloatArray] = {}
    for entry_number, vector_entry in enumerate(vector_entries if isinstance(vector_entries, list) else ()):
        vector_values = vector_entry.get("embedding") if isinstance(vector_entry, dict) else None
        input_index = vector_entry.get("index", entry_number) if isinstance(vector_entry, dict) else entry_number
        if isinstance(vector_values, list) and 0 < len(vector_values) <= WIDEST_VECTOR and isinstance(input_index, int):
            try:
                vector_row = np.asarray(vector_values, dtype=np.float32)
            except (TypeError, ValueError):
                continue
            # One NaN would make every cosine with this vector NaN, and the ranking arbitrary.
            if vector_row.ndim == 1 and bool(np.isfinite(vector_row).all()):
                row_by_index[input_index] = vector_row
    # Servers may answer in any order, so the index counts; a missing one would give a text its neighbour's
    # vector.
    if sorted(row_by_index) != list(range(text_count)):
        raise LLMError(
            LLMErrorKind.NOT_JSON, endpoint_name, f"{len(row_by_index)} usable vectors for {text_count} texts"
        )
    return [row_by_index[input_index] for input_index in range(text_count)]


class _VectorStore:
    """Vectors by model and text in one SQLite file; several processes may share it."""

    def __init__(self, file_path: Path, model_hash: str) -> None:
        self._file_path, self._model_hash = file_path, model_hash
        file_path.parent.mkdir(parents=True, exist_ok=True)
        with self._open_database() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL)")

    def load_vectors(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """The vectors of those texts that are stored, by text."""
        stored_vectors: dict[str, FloatArray] = {}
        with self._open_database() as connection:
            for input_text in dict.fromkeys(texts):
                stored_row = connection.execute(
                    "SELECT vector FROM vectors WHERE key = ?", [self._vector_key(input_text)]
                ).fetchone()
                if stored_row is not None:
                    stored_vectors[input_text] = np.frombuffer(stored_row[0], dtype="<f4").astype(np.float32)
        return stored_vectors

    def missing_texts(self, texts: Sequence[str]) -> list[str]:
        """Those that are not known, each once."""
        text_by_key = {self._vector_key(input_text): input_text for input_text in texts}
        with self._open_database() as connection:
            for vector_key in list(text_by_key):
                if connection.execute("SELECT 1 FROM vectors WHERE key = ?", [vector_key]).fetchone():
                    del text_by_key[vector_key]
        return list(text_by_key.values())

    def store_vectors(self, vectors: Mapping[str, FloatArray]) -> None:
        """Store the vectors by text; one that is there already is replaced."""
        vector_rows = [
            (self._vector_key(input_text), vector.astype("<f4").tobytes()) for input_text, vector in vectors.items()
        ]
        with self._open_database() as connection:
            # REPLACE: two processes may have asked for the same text at once, and either vector is right.
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", vector_rows)

    def _vector_key(self, input_text: str) -> str:
        return digest(self._model_hash, input_text)

    @contextmanager
    def _open_database(self) -> Iterator[sqlite3.Connection]:
        # The connection as a context manager commits but does not close; closing() does not commit. Both are
        # needed.
        with closing(sqlite3.connect(self._file_path, timeout=STORE_WAIT_S)) as connection, connection:
            yield connection
