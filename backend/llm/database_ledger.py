"""The ledger in the database: lookups at once, records in batches from one background thread."""

import threading
import time
from collections import deque
from typing import Any

from sqlalchemy import bindparam, insert, select

from backend.core.errors import Unavailable, UserError
from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.llm.ledger import CallRecord
from backend.llm.messages import Completion, TokenUsage, storable_text

# The most replies that a SIGKILL can cost, which are then asked, and paid for, a second time.
BATCH_CALLS = 64
# Seconds. A commit for each call would take the write lock, for which people's votes wait, thousands of times a run.
FLUSH_INTERVAL_S = 0.1
# For a database that is locked or out of reach for a moment; any other fault ends the run at once.
_STORE_ATTEMPTS = 3
# Built once, since it runs before every call. Failed attempts are on record and never served as a reply.
_LOOKUP_QUERY = (
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
    """Writes at most BATCH_CALLS a transaction, at the latest FLUSH_INTERVAL_S after the first of them.

    So a SIGKILL loses at most one batch of replies, and no call ever waits for the disk. Where the
    database fails for good, the next `record` or `flush` raises: a run must not go on unrecorded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pending_calls: deque[CallRecord] = deque()
        # Successful calls that are not on disk yet: without them an equal request would be paid for twice
        # meanwhile.
        self._unstored_calls: dict[str, CallRecord] = {}
        self._state_changed = threading.Condition()
        self._flush_requested = False
        self._closed = False
        self._storage_failure: UserError | None = None
        self._writer_thread: threading.Thread | None = None

    def lookup(self, request_hash: str) -> Completion | None:
        """The newest successful reply to this request, stored or still on its way to the disk."""
        unstored_call = self._unstored_calls.get(request_hash)
        if unstored_call is not None:
            return unstored_call.as_completion()
        with self._database.faults_as_sentences(), self._database.engine.connect() as connection:
            stored_call = connection.execute(_LOOKUP_QUERY, {"key": request_hash}).first()
        if stored_call is None:
            return None
        return Completion(
            text=stored_call.reply,
            call_id=stored_call.call_id,
            usage=TokenUsage(stored_call.tokens_in, stored_call.tokens_out, stored_call.tokens_estimated),
            latency_s=stored_call.latency_s,
            finish_reason=stored_call.finish_reason or "stop",
            cached=True,
        )

    def record(self, call_record: CallRecord) -> None:
        """Queue one attempt. Raises UserError where earlier ones could not be stored."""
        with self._state_changed:
            self._raise_failure()
            self._pending_calls.append(call_record)
            if call_record.error is None:
                self._unstored_calls[call_record.request_hash] = call_record
            if self._writer_thread is None:
                # A daemon, so that a database that hangs cannot keep the process alive; close() waits for it
                # in every orderly end.
                self._writer_thread = threading.Thread(target=self._write_batches, name="zhufu-ledger", daemon=True)
                self._writer_thread.start()
            # The first call starts the writer's clock, a full batch stops it; to wake the thread for each
            # would cost a switch a call.
            if len(self._pending_calls) in (1, BATCH_CALLS):
                self._state_changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is stored. Raises UserError where it cannot be."""
        with self._state_changed:
            self._flush_requested = True
            self._state_changed.notify_all()
            while self._pending_calls and self._storage_failure is None:
                self._state_changed.wait(0.05)
            self._flush_requested = False
            self._raise_failure()

    def close(self) -> None:
        """Store what is left and end the thread."""
        try:
            self.flush()
        finally:
            with self._state_changed:
                self._closed = True
                self._state_changed.notify_all()
            if self._writer_thread is not None:
                self._writer_thread.join()

    def _raise_failure(self) -> None:
        if self._storage_failure is not None:
            raise self._storage_failure

    def _write_batches(self) -> None:
        while True:
            call_batch = self._next_batch()
            if not call_batch:
                return
            storage_failure = self._store(call_batch)
            with self._state_changed:
                if storage_failure is not None:
                    self._storage_failure = storage_failure
                    self._state_changed.notify_all()
                    return
                for call_record in call_batch:
                    # Taken away only now that they are stored: flush() must see them until then, and lookup()
                    # find them.
                    self._pending_calls.popleft()
                    # By identity: a newer reply to the same request may have come in while this one was
                    # written.
                    if self._unstored_calls.get(call_record.request_hash) is call_record:
                        del self._unstored_calls[call_record.request_hash]
                self._state_changed.notify_all()

    def _next_batch(self) -> list[CallRecord]:
        with self._state_changed:
            while not self._pending_calls and not self._closed:
                self._state_changed.wait()
            batch_deadline = time.monotonic() + FLUSH_INTERVAL_S
            while len(self._pending_calls) < BATCH_CALLS and not (self._flush_requested or self._closed):
                remaining_s = batch_deadline - time.monotonic()
                if remaining_s <= 0 or not self._state_changed.wait(remaining_s):
                    break
            return [self._pending_calls[call_index] for call_index in range(min(BATCH_CALLS, len(self._pending_calls)))]

    def _store(self, call_batch: list[CallRecord]) -> UserError | None:
        call_rows = [_call_columns(call_record) for call_record in call_batch]
        for attempt in range(1, _STORE_ATTEMPTS + 1):
            try:
                with self._database.write() as session:
                    session.execute(insert(LLMCall), call_rows)
                return None
            except Unavailable as error:
                if attempt == _STORE_ATTEMPTS:
                    return error
                time.sleep(0.2 * attempt)
            # The type alone: SQLAlchemy puts the rows, and so whole prompts, into its messages.
            except Exception as error:
                return UserError(
                    f"The database cannot store the calls ({type(error).__name__}); the run was stopped.",
                    f"无法保存调用记录（{type(error).__name__}），运行已停止。",
                )
        return None


def _call_columns(call_record: CallRecord) -> dict[str, Any]:
    return {
        "call_id": call_record.call_id,
        "request_hash": call_record.request_hash,
        # PostgreSQL refuses a text that is longer than its column, SQLite takes it: cut alike for both.
        "scope": call_record.scope[:120],
        "endpoint": call_record.endpoint,
        "model": call_record.model,
        "messages": call_record.messages,
        "params": call_record.parameters,
        "reply": call_record.reply,
        "finish_reason": call_record.finish_reason,
        "tokens_in": call_record.usage.tokens_in,
        "tokens_out": call_record.usage.tokens_out,
        "tokens_estimated": call_record.usage.estimated,
        "cost": call_record.cost,
        "latency_s": call_record.latency_s,
        "attempt": call_record.attempt,
        "error": call_record.error,
        "error_detail": storable_text(call_record.error_detail) if call_record.error_detail else None,
        "created_at": call_record.created_at,
    }
