"""The ledger in the database: cache, audit and resume, also after SIGKILL."""

import asyncio
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.db.engine import Database
from backend.db.llm_tables import EndpointRow, LLMCall
from backend.llm.client import OpenAIClient
from backend.llm.database_ledger import BATCH_CALLS, DatabaseLedger
from backend.llm.ledger import CallRecord
from backend.llm.messages import ChatMessage, TokenUsage
from tests.llm_fixtures import FAST, FakeLLM

CALL = CallRecord(
    request_hash="k" * 64,
    scope="judge v1",
    call_id="0" * 32,
    endpoint="fake",
    model="m",
    messages=[{"role": "user", "content": "祝福"}],
    parameters={"temperature": 0.0},
    created_at=datetime.now(UTC),
    reply="好",
    finish_reason="stop",
    usage=TokenUsage(3, 1, estimated=True),
    cost=0.5,
    latency_s=0.1,
)


def call(number: int, **changes: Any) -> CallRecord:
    return replace(CALL, request_hash=f"{number:064d}", call_id=f"{number:032d}", **changes)


def stored(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(LLMCall)) or 0


def test_what_is_recorded_can_be_looked_up_before_and_after_it_is_stored(database: Database):
    ledger = DatabaseLedger(database)
    ledger.record(call(1))
    fresh = ledger.lookup(f"{1:064d}")
    ledger.flush()
    kept = ledger.lookup(f"{1:064d}")
    ledger.close()
    assert fresh == kept and kept is not None
    assert (kept.text, kept.cached, kept.cost, kept.usage) == (
        "好",
        True,
        0.0,
        TokenUsage(3, 1, estimated=True),
    )
    assert ledger.lookup("unknown") is None


def test_only_successful_calls_are_served_and_the_newest_of_them(database: Database):
    ledger = DatabaseLedger(database)
    ledger.record(call(1, reply="旧"))
    ledger.record(replace(call(2, reply="新"), request_hash=f"{1:064d}"))
    ledger.record(replace(call(3, reply=None, error="timeout"), request_hash=f"{1:064d}"))
    ledger.record(call(4, reply=None, error="rate_limited", error_detail="busy"))
    ledger.close()
    found = ledger.lookup(f"{1:064d}")
    assert found is not None and found.text == "新"
    assert ledger.lookup(f"{4:064d}") is None
    assert stored(database) == 4


def test_batches_are_bounded_and_written_soon(database: Database, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    original = DatabaseLedger._store

    def counted(self: DatabaseLedger, batch: list[CallRecord]) -> UserError | None:
        sizes.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(DatabaseLedger, "_store", counted)
    ledger = DatabaseLedger(database)
    for number in range(300):
        ledger.record(call(number))
    ledger.flush()
    assert max(sizes) <= BATCH_CALLS and sum(sizes) == 300
    ledger.record(call(1000))
    until = time.monotonic() + 20
    while stored(database) < 301 and time.monotonic() < until:
        time.sleep(0.02)
    assert stored(database) == 301
    ledger.close()


def test_a_locked_database_holds_up_no_call(database: Database):
    ledger = DatabaseLedger(database)
    released = threading.Event()

    def hold() -> None:
        with database.write() as session:
            session.execute(text("SELECT 1"))
            held.set()
            released.wait(30)

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    began = time.monotonic()
    for number in range(200):
        ledger.record(call(number))
        assert ledger.lookup(f"{number:064d}") is not None
    assert time.monotonic() - began < 5
    released.set()
    holder.join()
    ledger.close()
    assert stored(database) == 200


def test_a_database_that_fails_for_good_stops_the_run_with_a_sentence(database: Database):
    ledger = DatabaseLedger(database)
    with database.write() as session:
        session.execute(text("DROP TABLE llm_calls"))
    ledger.record(call(1))
    with pytest.raises(UserError, match="database"):
        ledger.flush()
    with pytest.raises(UserError, match="database"):
        ledger.record(call(2))
    with pytest.raises(UserError):
        ledger.close()


def test_failed_attempts_and_costs_are_on_record(database: Database, fake_llm: FakeLLM):
    fake_llm.script(first_faults=["server_error"])
    ledger = DatabaseLedger(database)

    async def run() -> str:
        endpoint = fake_llm.endpoint(price_in=1.0)
        async with OpenAIClient(endpoint, scope="judge v1", ledger=ledger, policy=FAST) as client:
            return (await client.complete([ChatMessage("user", "你好\ud800")])).call_id

    call_id = asyncio.run(run())
    ledger.close()
    with database.read() as session:
        first, second = session.scalars(select(LLMCall).order_by(LLMCall.id)).all()
    assert (first.error, first.attempt, first.reply, first.error_detail) == (
        "server_error",
        1,
        None,
        "internal error fake",
    )
    assert (second.error, second.attempt, second.call_id) == (None, 2, call_id)
    assert first.request_hash == second.request_hash and first.scope == "judge v1"
    assert second.cost == pytest.approx(1e-4) and second.tokens_in == 100
    assert second.messages == [{"role": "user", "content": "你好\ufffd"}]


def test_after_a_sigkill_at_most_one_batch_is_asked_again(database: Database, fake_llm: FakeLLM):
    fake_llm.script(latency_s=0.02)
    url, items = database.engine.url.render_as_string(), 700
    command = [sys.executable, "-m", "tests.llm_run", fake_llm.base_url, url, str(items)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT) as process:
        until = time.monotonic() + 60
        while stored(database) < items // 3 and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
    answered = sum(fake_llm.state()["answered"].values())
    assert items // 3 <= answered < items
    kept = stored(database)
    # At most one batch of replies was not stored yet, and at most `concurrency` were still on their way.
    assert answered - kept <= BATCH_CALLS + 16

    again = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, timeout=120, check=True)
    assert int(again.stdout.split()[-1]) == kept
    asked = fake_llm.state()["asked"]
    assert len(asked) == items and max(asked.values()) <= 2
    assert sum(asked.values()) - items <= BATCH_CALLS + 2 * 16
    with database.read() as session:
        twice = select(LLMCall.request_hash).where(LLMCall.error.is_(None)).group_by(LLMCall.request_hash)
        assert not session.scalars(twice.having(func.count() > 1)).all()
    assert stored(database) == items


def test_the_tables_refuse_what_cannot_be(database: Database):
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(EndpointRow).values(name="x", base_url="http://x", model="m", concurrency=0))
    assert not [column for column in EndpointRow.__table__.columns if "key" in column.name]
