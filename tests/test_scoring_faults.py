"""Two thousand greetings, a third of the calls failing in mixed ways, and a run killed in the middle."""

import os
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import func, select

from backend.core.enums import RaterKind
from backend.core.settings import PROJECT_ROOT
from backend.db.llm_tables import LLMCall
from backend.db.tables import Rater, Verdict
from backend.judges.scoring.records import ScoringRunState
from backend.judges.scoring.service import ScoringService
from backend.llm.database_ledger import BATCH_CALLS
from backend.llm.errors import LLMErrorKind
from backend.llm.limiter import RetryPolicy
from tests.fake_llm import quality
from tests.llm_fixtures import FakeLLM
from tests.scoring_helpers import greeting, house, request, verdicts

ITEMS = 2_000
MIXED = {"rate_limit": 0.03, "server_error": 0.08, "hang": 0.01, "cut": 0.06, "bad_json": 0.06, "drop": 0.06}
BROKEN = (LLMErrorKind.TIMEOUT, LLMErrorKind.UNREACHABLE, LLMErrorKind.REFUSED, LLMErrorKind.CUT_OFF)
"""How a call ends whose connection broke, whether the server saw it or not."""
CONCURRENCY = 32


def test_two_thousand_items_with_thirty_percent_faults(home: Path, fake_llm: FakeLLM):
    assert abs(sum(MIXED.values()) - 0.3) < 1e-9
    fake_llm.script(faults=MIXED, seed=7)
    policy = RetryPolicy(attempts=4, base_pause_s=0.01, max_pause_s=0.05)
    with house(fake_llm, ITEMS, concurrency=CONCURRENCY, timeout_s=1) as services:
        scoring = ScoringService(services.database, services.endpoints, retry_policy=policy)
        began = time.monotonic()
        final = scoring.run(request(services))
        seconds = time.monotonic() - began
        stored = verdicts(services)
        again = scoring.run(request(services))
        with services.database.read() as session:
            sent = session.scalar(select(func.count(LLMCall.id)))
            broken = session.scalar(select(func.count(LLMCall.id)).where(LLMCall.error.in_(BROKEN)))
    assert final.state is ScoringRunState.DONE and final.scored + final.unscored == ITEMS
    assert set(stored) == {greeting(n) for n in range(ITEMS)}
    assert all(len(rows) == 1 for rows in stored.values()), "none twice"
    for text, (row,) in stored.items():
        assert row.value == quality(text) if row.value is not None else row.reason
    # Four attempts at 30 % leave 0.8 % of the items.
    assert 0 < final.unscored <= ITEMS * 0.03
    state = fake_llm.state()
    assert max(state["asked"].values()) <= 4
    assert len(state["asked"]) == ITEMS and sum(state["faults"].values()) > ITEMS * 0.3
    # Every call sent is in the ledger. On a busy machine one can time out before the server reads it, or even
    # accepts the connection: what the server never saw is among the breaks that it did not cause itself.
    assert final.calls == sent and again.calls == 0
    assert broken is not None
    slow = broken - sum(state["faults"][name] for name in ("hang", "cut", "drop"))
    assert 0 <= final.calls - sum(state["asked"].values()) <= slow
    # An answer is paid for twice only where the first came after the client had given up.
    assert sum(count - 1 for count in state["answered"].values()) <= slow
    print(f"{ITEMS} items, {final.calls} calls, {final.unscored} unscored, {seconds:.1f} s")
    assert seconds < 60


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "backend", "score", "--judge", "principle", *arguments, "--json"]
    return subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_after_a_kill_the_next_run_repeats_at_most_one_batch(home: Path, fake_llm: FakeLLM):
    fake_llm.script(latency_s=0.04)
    items, concurrency = 800, 16
    with house(fake_llm, items, concurrency=concurrency) as services:
        first = start("--dataset", "data")
        end = time.monotonic() + 60
        while sum(fake_llm.state()["answered"].values()) < 250 and time.monotonic() < end:
            time.sleep(0.02)
        first.kill()
        first.communicate()
        time.sleep(0.2)
        answered = sum(fake_llm.state()["answered"].values())
        with services.database.read() as session:
            kept = session.scalar(select(func.count(LLMCall.id)).where(LLMCall.error.is_(None)))
            judged = session.scalar(select(func.count(Verdict.id)).join(Rater).where(Rater.kind == RaterKind.JUDGE))
        assert 250 <= answered < items and kept is not None and judged is not None
        fake_llm.script()
        final = services.scoring.run(request(services))
        assert all(len(rows) == 1 for rows in verdicts(services).values())
    assert (final.state, final.scored) == (ScoringRunState.DONE, items)
    again = fake_llm.state()["asked"]
    repeated = sum(again.values()) - (items - answered)
    print(f"answered {answered}, in the ledger {kept}, verdicts {judged}, repeated {repeated}")
    assert max(again.values()) == 1 and 0 <= repeated <= BATCH_CALLS + concurrency
