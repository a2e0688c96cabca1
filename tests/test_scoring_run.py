"""A scoring run: complete, repeatable without a call, within its budget, able to stop and to go on."""

import time

import pytest

from backend.core.errors import NotFound, UserError
from backend.core.stored_records import read_record, stored_json
from backend.judges.base import JudgeKind, JudgeSpec, Judgment, Sample
from backend.judges.scoring.records import ScoreProgress, ScoreRequest, ScoringRunState, format_duration
from backend.judges.scoring.run import WorkStream, run_blocking
from backend.judges.scoring.service import ScoringService
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from tests.fake_llm import quality
from tests.llm_fixtures import FAST, FakeLLM
from tests.scoring_helpers import DATA, greeting, house, request, verdicts

ITEMS = 300


def test_every_greeting_gets_its_verdict_and_a_second_run_asks_nothing(home, fake_llm: FakeLLM):
    with house(fake_llm, ITEMS) as services:
        first = services.scoring.run(request(services))
        stored = verdicts(services)
        second = services.scoring.run(request(services))
        info = services.scoring.catalog.judges()[0]
    assert (first.state, first.items, first.scored, first.unscored, first.cached) == (
        "done",
        ITEMS,
        ITEMS,
        0,
        0,
    )
    assert first.calls == ITEMS and first.cost == pytest.approx(ITEMS * 140e-6) and first.tokens == ITEMS * 120
    assert {text: rows[0].value for text, rows in stored.items()} == {
        greeting(n): float(quality(greeting(n))) for n in range(ITEMS)
    }
    assert (second.state, second.scored, second.cached, second.calls, second.cost) == (
        "done",
        ITEMS,
        ITEMS,
        0,
        0,
    )
    assert set(fake_llm.state()["asked"].values()) == {1}
    assert (info.name, info.scored, info.unscored) == ("principle", ITEMS, 0)
    assert info.cost == pytest.approx(first.cost)


def test_another_version_is_another_judge_and_the_ledger_is_shared_within_one(home, fake_llm: FakeLLM):
    with house(fake_llm, 20) as services:
        spec = services.scoring.catalog.resolve("principle", principles=["真诚", "具体"])
        first = services.scoring.run(request(services))
        other = services.scoring.run(ScoreRequest(spec, DATA))
        renamed = services.scoring.run(ScoreRequest(spec.with_name("温和的评委"), DATA))
        names = [(info.name, info.newest) for info in services.scoring.catalog.judges()]
    assert first.version != other.version == renamed.version
    assert (other.calls, renamed.calls, renamed.cached) == (20, 0, 20)
    assert names == [("温和的评委", True), ("principle", True), ("principle", False)]


def test_partial_results_are_there_while_the_run_goes_on(home, fake_llm: FakeLLM):
    fake_llm.script(latency_s=0.05)
    seen: list[tuple[int, int]] = []
    with house(fake_llm, 200, concurrency=4) as services:

        def report(progress: ScoreProgress) -> None:
            seen.append((progress.scored, len(verdicts(services))))

        services.scoring.run(request(services), report)
    assert len(seen) >= 3
    assert any(0 < told < 200 and stored == told for told, stored in seen)


def test_the_progress_line_has_rate_time_to_go_and_cost():
    shown = ScoreProgress("j", "v", ScoringRunState.RUNNING, 1_000, 200, 50, 10, 260, 9, 0.5, 10.0, 25.0)
    assert (shown.items_left, shown.share, shown.eta_seconds) == (750, 0.25, 30.0)
    assert shown.summary_line() == (
        "250 / 1,000 · 25.0/s · ETA 0:30 · calls 260 · cost 0.5000 · unscored 50 · cached 10"
    )
    assert (format_duration(59.6), format_duration(3_661)) == ("1:00", "1:01:01")


def test_a_budget_of_calls_ends_the_run_cleanly_and_a_second_run_goes_on(home, fake_llm: FakeLLM):
    with house(fake_llm, 100) as services:
        first = services.scoring.run(request(services, max_calls=30))
        second = services.scoring.run(request(services))
    assert (first.state, first.calls, first.scored, first.items_left) == (ScoringRunState.BUDGET, 30, 30, 70)
    assert first.error is not None and "预算" in first.error.zh
    assert (second.state, second.calls, second.cached) == (ScoringRunState.DONE, 70, 30)


def test_a_budget_of_money_or_tokens_is_never_overrun(home, fake_llm: FakeLLM):
    with house(fake_llm, 100) as services:
        money = services.scoring.run(request(services, max_cost=0.01))
        tokens = services.scoring.run(request(services, max_tokens=5_000))
        nothing = services.scoring.run(request(services, "rubric", max_calls=0))
    assert money.state is ScoringRunState.BUDGET and 0 < money.cost <= 0.01
    assert tokens.state is ScoringRunState.BUDGET and 0 < tokens.tokens <= 5_000
    assert (nothing.state, nothing.calls, nothing.scored) == (ScoringRunState.BUDGET, 0, 0)


def test_an_estimate_calls_nobody_and_stores_nothing(home, fake_llm: FakeLLM):
    with house(fake_llm, 40) as services:
        rough = services.scoring.estimate(request(services))
        panel = services.scoring.estimate(request(services, "panel"))
        free = services.scoring.estimate(request(services, "length"))
        assert services.scoring.catalog.judges() == []
    assert (rough.items, rough.missing, rough.calls, panel.calls, free.calls) == (40, 40, 40, 160, 0)
    assert rough.tokens > 40 * 500 and rough.cost > 0 and rough.seconds > 0
    assert fake_llm.state()["asked"] == {}


def test_a_stopped_run_keeps_what_it_has_and_the_next_one_goes_on(home, fake_llm: FakeLLM):
    fake_llm.script(latency_s=0.05)
    with house(fake_llm, 200, concurrency=4) as services:
        began = time.monotonic()
        first = services.scoring.run(request(services), is_stopped=lambda: time.monotonic() - began > 0.8)
        kept = len(verdicts(services))
        fake_llm.script()
        second = services.scoring.run(request(services))
    assert first.state is ScoringRunState.STOPPED and 0 < first.scored == kept < 200
    assert second.state is ScoringRunState.DONE and second.calls == 200 - kept


def test_a_stop_does_not_wait_for_a_server_that_hangs(home, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backend.judges.scoring.run.STOP_GRACE_S", 0.5)
    fake_llm.script(faults={"hang": 1.0})
    with house(fake_llm, 20, timeout_s=60) as services:
        began = time.monotonic()
        final = services.scoring.run(request(services), is_stopped=lambda: True)
    assert final.state is ScoringRunState.STOPPED and time.monotonic() - began < 6


def test_an_error_that_nothing_cures_ends_the_run_with_its_sentence(home, fake_llm: FakeLLM):
    fake_llm.script(api_key="right")
    with house(fake_llm, 500) as services:
        final = services.scoring.run(request(services))
        assert verdicts(services) == {}
    assert final.state is ScoringRunState.FAILED and final.error is not None
    assert "401" in final.error.en and final.items_left == 500
    assert sum(fake_llm.state()["asked"].values()) <= 64


def test_unscored_ones_are_left_alone_unless_asked_for(home, fake_llm: FakeLLM):
    fake_llm.script(reply="chatter")
    with house(fake_llm, 10) as services:
        first = services.scoring.run(request(services))
        again = services.scoring.run(request(services))
        fake_llm.script()
        retried = services.scoring.run(request(services, retry_unscored=True))
        once_more = services.scoring.run(request(services, retry_unscored=True))
        stored = verdicts(services)
    assert (first.scored, first.unscored, first.calls) == (0, 10, 20)
    assert (again.unscored, again.calls, again.cached) == (10, 0, 10)
    assert (retried.scored, retried.unscored, retried.calls) == (10, 0, 10)
    assert (once_more.scored, once_more.calls) == (10, 0)
    for old, new in stored.values():
        assert (old.value, old.revision, new.revision, new.supersedes_id) == (None, 0, 1, old.id)
        assert old.reason and old.dimensions and old.dimensions["raw"]


def test_a_retry_that_fails_again_leaves_a_second_reason(home, fake_llm: FakeLLM):
    fake_llm.script(reply="chatter")
    with house(fake_llm, 3) as services:
        services.scoring.run(request(services))
        final = services.scoring.run(request(services, retry_unscored=True))
        rows = verdicts(services).values()
    assert (final.unscored, final.calls) == (3, 6)
    assert [[row.value for row in pair] for pair in rows] == [[None, None]] * 3


def test_baselines_run_the_same_way(home, fake_llm: FakeLLM):
    with house(fake_llm, 60) as services:
        final = services.scoring.run(request(services, "length"))
        assert (final.state, final.scored, final.calls) == ("done", 60, 0)
        names = {row.judge for row in services.board.board("data").rows}
        services.scoring.run(request(services))
        assert {row.judge for row in services.board.board("data").rows} == names | {"principle"}


def test_what_cannot_work_is_refused_before_anything_is_asked(home, fake_llm: FakeLLM):
    with house(fake_llm, 3) as services:
        for target in (
            ScoringTarget(TargetKind.DATASET, "nothing"),
            ScoringTarget(TargetKind.CAMPAIGN, "nothing"),
        ):
            with pytest.raises(NotFound):
                services.scoring.run(request(services, target=target))
        with pytest.raises(UserError, match="compares two"):
            services.scoring.run(request(services, "pairwise"))
        with pytest.raises(NotFound, match="nobody"):
            services.scoring.catalog.resolve("nobody")
        with pytest.raises(NotFound, match="elsewhere"):
            services.scoring.run(ScoreRequest(services.scoring.catalog.resolve("rubric", "elsewhere"), DATA))
        with pytest.raises(UserError, match="folder"):
            services.scoring.run(request(services, "reward_model"))
        bare = ScoringService(services.database, retry_policy=FAST)
        with pytest.raises(UserError, match="No endpoint"):
            bare.run(request(services))
    assert fake_llm.state()["asked"] == {}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("principle", {"principles": ["规则"] * 11}),
        ("principle", {"principles": []}),
        ("principle", {"principles": "真诚"}),
        ("principle", {"colour": "red"}),
        ("rubric", {"temperature": 9}),
        ("rubric", {"max_tokens": True}),
        ("pairwise", {"seed": "x"}),
        ("length", {"principles": ["真诚"]}),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(home, fake_llm: FakeLLM, kind: str, config: dict[str, object]):
    with house(fake_llm) as services, pytest.raises(UserError) as caught:
        services.scoring.catalog.save(JudgeSpec(JudgeKind(kind), kind, config=config))
    assert caught.value.text("zh") and caught.value.text("en")


def test_a_baseline_s_name_is_its_own():
    for name in ("length", "", " ", "长" * 61, "a\nb"):
        with pytest.raises(UserError):
            JudgeSpec(JudgeKind.PRINCIPLE, name)


def test_a_spec_survives_the_way_through_json():
    spec = JudgeSpec(JudgeKind.PANEL, "评议会", "fake", {"reflect": False, "temperature": 0.3})
    asked = ScoreRequest(spec, DATA, max_calls=5, max_cost=0.5, retry_unscored=True)
    assert read_record(ScoreRequest, stored_json(asked)) == asked
    for broken in (
        {},
        {"judge": {"kind": "oracle", "name": "x"}, "target": stored_json(DATA)},
        {"judge": {}, "target": 1},
    ):
        with pytest.raises(UserError):
            read_record(ScoreRequest, broken)


def test_one_try_is_shown_and_not_stored(home, fake_llm: FakeLLM):
    with house(fake_llm) as services:
        spec = services.scoring.catalog.resolve("principle")
        draft = services.scoring.judge_sample(spec, Sample("给奶奶", "生日快乐"))
        assert isinstance(draft, Judgment) and draft.value == quality("生日快乐")
        assert services.scoring.catalog.judges() == []
        with pytest.raises(UserError, match="two greetings"):
            services.scoring.judge_sample(services.scoring.catalog.resolve("pairwise"), Sample("给奶奶", "生日快乐"))


def test_memory_stays_the_same_however_long_the_run():
    """The stream holds a page, a queue of twice the lanes, and unwritten results; never all of it."""
    import asyncio

    waiting, most = 0, 0
    pages = iter([list(range(start, start + 500)) for start in range(0, 20_000, 500)] + [[]])

    def fetch() -> list[int]:
        nonlocal waiting, most
        page = next(pages)
        waiting += len(page)
        most = max(most, waiting)
        return page

    async def work(batch):  # type: ignore[no-untyped-def]
        await asyncio.sleep(0)
        return batch

    def store(results: list[tuple[int, int]]) -> None:
        nonlocal waiting
        waiting -= len(results)

    stream: WorkStream[int, int] = WorkStream(fetch, work, store, batch_size=1, lane_count=16)
    run_blocking(stream.run(lambda: None))
    assert waiting == 0 and most <= 500 + 500 + 2 * 16 + 16 + 200
