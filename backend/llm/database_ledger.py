"""The ledger in the database: lookups at once, records in batches from one background thread."""

import threading
import time
from collections import deque
from typing import Any

from sqlalchemy import bindparam, insert, select

from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.errors import Unavailable, UserError
from backend.llm.ledger import CallRecord
from backend.llm.messages import Completion, Usage, storable

BATCH = 64
EVERY_S = 0.1
_TRIES = 3
_LOOKUP = (
    select(
        LLMCall.reply,
        LLMCall.call_id,
        LLMCall.tokens_in,
        LLMCall.tokens_out,
        LLMCall.tokens_estimated,
        LLMCall.latency_s,
        LLMCall.finish_reason,
    )
    .where(LLMCall.request_hash == bindparam("key"), LLMCall.error.is_(None))
    .order_by(LLMCall.id.desc())
    .limit(1)
)


class DatabaseLedger:
    """Writes at most `BATCH` calls a transaction, at the latest `EVERY_S` after the first of them.

    So a SIGKILL loses at most one batch of replies, and no call ever waits for the disk. Where the
    database fails for good, the next `record` or `flush` says so: a run must not go on unrecorded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pending: deque[CallRecord] = deque()
        self._fresh: dict[str, CallRecord] = {}
        self._changed = threading.Condition()
        self._hurry = False
        self._closed = False
        self._failure: UserError | None = None
        self._thread: threading.Thread | None = None

    def lookup(self, key: str) -> Completion | None:
        """The newest successful reply to this request, stored or still on its way to the disk."""
        fresh = self._fresh.get(key)
        if fresh is not None:
            return fresh.completion()
        with self._database.faults_as_sentences(), self._database.engine.connect() as connection:
            row = connection.execute(_LOOKUP, {"key": key}).first()
        if row is None:
            return None
        return Completion(
            text=row.reply,
            call_id=row.call_id,
            usage=Usage(row.tokens_in, row.tokens_out, row.tokens_estimated),
            latency_s=row.latency_s,
            finish_reason=row.finish_reason or "stop",
            cached=True,
        )

    def record(self, call: CallRecord) -> None:
        """Queue one attempt. Raises UserError where earlier ones could not be stored."""
        with self._changed:
            self._complain()
            self._pending.append(call)
            if call.error is None:
                self._fresh[call.key] = call
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="zhufu-ledger", daemon=True)
                self._thread.start()
            if len(self._pending) in (1, BATCH):
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is stored. Raises UserError where it cannot be."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            while self._pending and self._failure is None:
                self._changed.wait(0.05)
            self._hurry = False
            self._complain()

    def close(self) -> None:
        """Store what is left and end the thread."""
        try:
            self.flush()
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            if self._thread is not None:
                self._thread.join()

    def _complain(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                return
            failure = self._store(batch)
            with self._changed:
                if failure is not None:
                    self._failure = failure
                    self._changed.notify_all()
                    return
                for call in batch:
                    self._pending.popleft()
                    if self._fresh.get(call.key) is call:
                        del self._fresh[call.key]
                self._changed.notify_all()

    def _next_batch(self) -> list[CallRecord]:
        with self._changed:
            while not self._pending and not self._closed:
                self._changed.wait()
            until = time.monotonic() + EVERY_S
            while len(self._pending) < BATCH and not (self._hurry or self._closed):
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return [self._pending[at] for at in range(min(BATCH, len(self._pending)))]

    def _store(self, batch: list[CallRecord]) -> UserError | None:
        rows = [_row(call) for call in batch]
        for tried in range(1, _TRIES + 1):
            try:
                with self._database.write() as session:
                    session.execute(insert(LLMCall), rows)
                return None
            except Unavailable as error:
                if tried == _TRIES:
                    return error
                time.sleep(0.2 * tried)
            except Exception as error:
                return UserError(
                    f"The database cannot store the calls ({type(error).__name__}); the run was stopped.",
                    f"无法保存调用记录（{type(error).__name__}），运行已停止。",
                )
        return None


def _row(call: CallRecord) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "request_hash": call.key,
        "scope": call.scope[:120],
        "endpoint": call.endpoint,
        "model": call.model,
        "messages": call.messages,
        "params": call.params,
        "reply": call.reply,
        "finish_reason": call.finish_reason,
        "tokens_in": call.usage.tokens_in,
        "tokens_out": call.usage.tokens_out,
        "tokens_estimated": call.usage.estimated,
        "cost": call.cost,
        "latency_s": call.latency_s,
        "attempt": call.attempt,
        "error": call.error,
        "error_detail": storable(call.error_detail) if call.error_detail else None,
        "created_at": call.created_at,
    }
