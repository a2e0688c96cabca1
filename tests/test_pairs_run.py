"""From prompts to pairs against scripted agents with a hidden true quality."""

import math
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from backend.core.enums import PairStage
from backend.core.errors import Conflict, NotFound, UserError
from backend.core.settings import PROJECT_ROOT
from backend.core.stored_records import read_record, stored_json
from backend.db.llm_tables import LLMCall
from backend.db.pair_tables import PairRun
from backend.db.tables import Greeting, Rater, Verdict
from backend.judges.base import JudgeKind, JudgeSpec
from backend.llm.embeddings import BATCH_TEXTS
from backend.llm.limiter import RetryPolicy
from backend.preferences.emit import SECOND_JUDGED_SHARE, emit_pairs, redrawn_judge
from backend.preferences.pairing import PairingMode
from backend.preferences.records import PairFilter, PairRequest, ScoringRunState
from backend.preferences.service import PairService
from backend.services import Services
from tests.fake_llm import quality
from tests.llm_fixtures import FakeLLM
from tests.pair_helpers import SCRIPT, candidates, house, judged_run, prompts, prompts_file, request, stored
from tests.pair_replies import ERRS, REPAIRED, final_verdict, first_verdict

pytestmark = pytest.mark.database
PLAIN = {"balance_length": False, "balance_style": False}
MIXED = {"rate_limit": 0.04, "server_error": 0.08, "cut": 0.06, "bad_json": 0.06, "drop": 0.06}


def pairs_of(services: Services, run: int) -> list[tuple[str, str]]:
    rows = services.pairs.pair_page(run, PairFilter(), 0, 10_000).rows
    return [(row.chosen, row.rejected) for row in rows]


def test_labels_come_back_at_the_rate_that_the_script_implies(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = services.pairs.open(request(services, prompts_file(services, prompts(30)), **PLAIN))
        final = services.pairs.run(run.id)
        funnel = services.pairs.funnel(run.id)
        texts = [one.text for one in candidates(services, run.id)]
        pairs = pairs_of(services, run.id)
        debates = [
            services.pairs.pair_detail(row.id) for row in services.pairs.pair_page(run.id, PairFilter(), 0, 20).rows
        ]
        written = stored(services)
    assert (final.state, final.stage, final.share) == (ScoringRunState.DONE, PairStage.DONE, 1.0)
    assert (funnel.prompts, funnel.kept_prompts, funnel.candidates) == (30, 30, 120)
    assert (
        funnel.judged
        == funnel.debated
        == len(texts) - sum(count for name, count in funnel.dropped.items() if name.startswith("candidate_"))
    )
    # What the script plants is what comes out, text by text and so in every pair.
    assert len(pairs) == len(written) == funnel.pairs > 50
    assert all(final_verdict(a) == 1 and final_verdict(b) == 0 for a, b in pairs)
    right = sum(final_verdict(text) == quality(text) for text in texts) / len(texts)
    assert right == pytest.approx(1 - ERRS * (1 - REPAIRED), abs=0.05)
    for pair in debates:
        for side in (pair.chosen, pair.rejected):
            assert side.details["first"]["verdict"] == first_verdict(side.text)
            assert side.details["final"]["verdict"] == side.value == final_verdict(side.text)
            assert side.details["overturned"] == (first_verdict(side.text) != final_verdict(side.text))
            assert side.reason and side.details["merits"] and len(side.details["calls"]) == 4


def judged(services: Services, run: int) -> dict[str, bool]:
    """Whether the run's judge was right on each text."""
    with services.database.read() as session:
        rater = session.get_one(PairRun, run).judge_id
        rows = session.execute(
            select(Greeting.text, Verdict.value)
            .join(Verdict, Verdict.greeting_id == Greeting.id)
            .where(Verdict.rater_id == rater)
        )
        return {text: value == quality(text) for text, value in rows}


def test_agents_that_are_switched_off_change_what_they_should(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        source = prompts_file(services, prompts(15))
        runs = {
            off: services.pairs.run(services.pairs.open(request(services, source, name=off, off=[off])).id)
            for off in ("none", "positive", "negative", "judge", "reflect")
        }
        funnels = {off: services.pairs.funnel(one.run) for off, one in runs.items()}
        versions = {services.pairs.find_run(one.run).judge_version for one in runs.values()}
        right = {off: accuracy(services, one.run) for off, one in runs.items()}
        debates = {off: debate(services, one.run) for off, one in runs.items()}
    whole, said = funnels["none"], {"positive": "merits", "negative": "faults", "judge": "first"}
    assert len(versions) == 5 and len({funnel.debated for funnel in funnels.values()}) == 1
    for off in ("positive", "negative", "judge", "reflect"):
        assert runs[off].calls == runs["none"].calls - whole.judged, "one call less a candidate"
        assert said.get(off, "final") not in debates[off]
        assert {"merits", "faults", "first", "final"} - {said.get(off, "final")} - debates[off].keys() <= {"final"}
    # Heard from one side only, the judge sways to it; without the reviewer its errors stay.
    assert funnels["positive"].good < whole.good - 0.1 * whole.judged
    assert funnels["negative"].good > whole.good + 0.1 * whole.judged
    assert max(right["positive"], right["negative"], right["reflect"]) < right["none"]
    # And the reviewer repairs the planted share of the judge's errors.
    assert 1 - right["reflect"] == pytest.approx(ERRS, abs=0.08)
    assert 1 - (1 - right["none"]) / (1 - right["reflect"]) == pytest.approx(REPAIRED, abs=0.12)


def accuracy(services: Services, run: int) -> float:
    said = judged(services, run)
    return sum(said.values()) / len(said)


def debate(services: Services, run: int) -> dict[str, object]:
    return dict(services.pairs.pair_detail(services.pairs.pair_page(run, PairFilter()).rows[0].id).chosen.details)


def test_without_judge_and_review_the_lists_are_counted(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        off = ["judge", "reflect"]
        run = services.pairs.open(request(services, prompts_file(services, prompts(10)), off=off))
        services.pairs.run(run.id)
        right = judged(services, run.id)
        wrong = request(services, prompts_file(services, prompts(2)), off=[*off, "positive"])
        with pytest.raises(UserError, match="counted"):
            services.pairs.open(wrong)
    assert right and all(right.values()), "three merits against one fault are the truth here"


def test_no_loss_and_no_duplicate_when_a_third_of_the_calls_fail(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT, faults=MIXED, seed=3)
    with house(fake_llm, concurrency=32, timeout_s=2) as services:
        pairs = faulty(services)
        run = pairs.open(request(services, prompts_file(services, prompts(20)), **PLAIN))
        final = pairs.run(run.id)
        funnel, made = pairs.funnel(run.id), candidates(services, run.id)
        with services.database.read() as session:
            failed = session.scalar(select(func.count(LLMCall.id)).where(LLMCall.error.is_not(None)))
            sent = session.scalar(select(func.count(LLMCall.id)))
        again = pairs_of(services, run.id)
    assert failed is not None and sent is not None and failed / sent > 0.25
    assert final.state is ScoringRunState.DONE and len(made) == 80
    assert len({(one.run_prompt_id, one.slot) for one in made}) == 80
    lost = sum(count for name, count in funnel.dropped.items() if name.startswith("candidate_"))
    assert funnel.candidates - lost == funnel.debated
    assert funnel.debated - funnel.dropped.get("verdict_unscored", 0) == funnel.judged
    assert len(set(again)) == len(again) == funnel.pairs
    assert all(final_verdict(a) == 1 and final_verdict(b) == 0 for a, b in again)


def faulty(services: Services) -> PairService:
    """The service with short pauses between attempts."""
    policy = RetryPolicy(attempts=5, base_pause_s=0.01, max_pause_s=0.05)
    from backend.judges.scoring.service import ScoringService

    scoring = ScoringService(services.database, services.endpoints, retry_policy=policy)
    rest = (services.endpoints, services.generators, scoring, services.corpus, services.jobs)
    return PairService(services.database, *rest, retry_policy=policy)


def test_a_budget_ends_a_run_cleanly_and_a_higher_one_goes_on(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        options = {"judge": "principle", **PLAIN}
        wish = request(services, prompts_file(services, prompts(15)), max_calls=50, **options)
        run = services.pairs.open(wish)
        first = services.pairs.run(run.id)
        services.pairs.update_caps(run.id, max_calls=10_000)
        second = services.pairs.run(run.id)
        with pytest.raises(Conflict, match="done"):
            services.pairs.update_caps(run.id, max_calls=20_000)
        whole = services.pairs.run(services.pairs.open(request(services, wish.source.name, name="b", **options)).id)
        equal = pairs_of(services, run.id) == pairs_of(services, whole.run)
    assert (first.state, first.calls) == (ScoringRunState.BUDGET, 50) and "预算" in (
        first.error.zh if first.error else ""
    )
    assert second.state is ScoringRunState.DONE and second.calls == 120, "calls of both attempts"
    assert equal


def test_a_fatal_error_ends_the_run_with_its_sentence(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT, api_key="right")
    with house(fake_llm) as services:
        run = services.pairs.open(request(services, prompts_file(services, prompts(10))))
        with pytest.raises(UserError, match="401"):
            services.pairs.run(run.id)
        assert services.pairs.find_run(run.id).stage is PairStage.WRITING
        fake_llm.script(**SCRIPT)
        assert services.pairs.run(run.id).state is ScoringRunState.DONE


def test_several_generators_share_the_work(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm, "other") as services:
        run = services.pairs.open(
            request(services, prompts_file(services, prompts(12)), "fake", "other", judge="principle")
        )
        services.pairs.run(run.id)
        made = candidates(services, run.id)
    by = [one.generator for one in made]
    assert by.count("fake") == by.count("other") == 24
    for name in ("fake", "other"):
        settings = {tuple(one.recipe.items()) for one in made if one.generator == name}
        assert len(settings) == 12, "two temperatures, with and without examples, three lengths"


def test_every_way_to_pair(home, fake_llm: FakeLLM):
    with house(fake_llm) as services:
        run = judged_run(services, 20)
        wish, seen = services.pairs.find_run(run).request, {}
        for way in PairingMode:
            emit_pairs(services.database, run, replace(wish, way=way, **PLAIN))
            seen[way] = [row.prompt for row in services.pairs.pair_page(run, PairFilter(), 0, 500).rows]
        one_sided = services.pairs.funnel(run).dropped.get("prompt_one_sided", 0)
    assert len(seen[PairingMode.ALL]) > len(set(seen[PairingMode.ALL]))
    for way in (PairingMode.BEST_WORST, PairingMode.HARDEST):
        assert len(seen[way]) == len(set(seen[way])) == 20 - one_sided


def test_every_pair_leads_back_to_where_it_came_from(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = services.pairs.open(request(services, prompts_file(services, prompts(8)), **PLAIN))
        services.pairs.run(run.id)
        pair = services.pairs.pair_detail(services.pairs.pair_page(run.id, PairFilter()).rows[0].id)
        with services.database.read() as session:
            calls = {call.call_id: call for call in session.scalars(select(LLMCall))}
            rater = session.scalars(select(Rater).where(Rater.version == pair.judge_version)).one()
    assert pair.prompt in prompts(8) and rater.name == pair.judge == "panel"
    assert set(pair.prompts) == {"write", "panel_positive", "panel_negative", "panel_judge", "panel_reflect"}
    for side in (pair.chosen, pair.rejected):
        assert calls[side.call_id].reply == side.text and side.generator == "fake"
        assert {calls[call].scope for call in side.details["calls"]} == {pair.judge_version}


def test_the_estimate_asks_nobody_and_is_near_the_truth(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        wish = request(services, prompts_file(services, [*prompts(6), prompts(1)[0], "红烧肉怎么做"]))
        rough = services.pairs.estimate(wish)
        assert services.pairs.runs() == [] and fake_llm.state()["asked"] == {}
        final = services.pairs.run(services.pairs.open(wish).id)
    assert (rough.prompts, rough.kept, rough.candidates) == (8, 6, 24)
    assert rough.lost == {"duplicate": 1, "not_a_greeting": 1}
    assert final.calls <= rough.calls == 24 * 5
    assert rough.cost > 0 and rough.seconds > 0


def test_a_second_opinion_on_what_goes_against_the_odds(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT | {"reply": "tests.pair_replies:wavering"})
    with house(fake_llm) as services:
        source, options = prompts_file(services, prompts(40)), {"judge": "principle", "balance_style": False}
        once = services.pairs.run(services.pairs.open(request(services, source, name="a", **options)).id)
        wish = request(services, source, name="b", **options)
        wish = replace(wish, second=redrawn_judge(wish.judge))
        assert services.pairs.estimate(wish).calls == 2 * 160 + round(160 * SECOND_JUDGED_SHARE)
        killed = [sys.executable, "-m", "tests.pair_killed", "again", "1", "pairs", "--prompts", source]
        rest = [
            "--generators",
            "fake",
            "--judge",
            "principle",
            "--endpoint",
            "fake",
            "--check",
            "0",
            "--name",
            "b",
        ]
        assert subprocess.run([*killed, *rest], cwd=PROJECT_ROOT, capture_output=True, timeout=120).returncode == -9
        run = services.pairs.find_run("b")
        assert run.stage is PairStage.JUDGING and run.request.second == services.scoring.pin_examples(
            redrawn_judge(wish.judge)
        )
        services.pairs.update_caps(run.id, max_calls=160 + 5)
        capped = services.pairs.run(run.id)
        services.pairs.update_caps(run.id, max_calls=10_000)
        twice = services.pairs.run(run.id)
        asked = [one for one in candidates(services, run.id) if one.twice]
        first, second = (pairs_of(services, each.run) for each in (once, twice))
        funnel = services.pairs.funnel(run.id)
        details = [
            services.pairs.pair_detail(row.id) for row in services.pairs.pair_page(run.id, PairFilter(), 0, 20).rows
        ]
        with pytest.raises(UserError, match="would say the same"):
            services.pairs.open(replace(wish, second=wish.judge))
        with services.database.read() as session:
            calls = {call.call_id: call for call in session.scalars(select(LLMCall))}
    # What the first run's judge said of the same texts is not asked again.
    assert capped.state is ScoringRunState.BUDGET and twice.calls == 160 + len(asked) and len(asked) > 5
    dropped = funnel.dropped
    assert dropped["pair_second"] > 0
    assert funnel.possible == funnel.pairs + dropped["pair_second"] + dropped["pair_length"]
    # Whoever errs once in twenty, by chance, hardly ever errs twice on the same text.
    shorter = [pair for pair in second if len(pair[0]) < len(pair[1])]
    assert shorter and {"1"} == {final_verdict_twice(*pair) for pair in shorter}
    assert right(second) > right(first) + 0.03
    doubted = [pair for pair in details if pair.chosen.again and pair.rejected.again]
    for pair in doubted:
        assert pair.second_judge == "principle again" and pair.second_version != pair.judge_version
        sides = [side.again for side in (pair.chosen, pair.rejected) if side.again]
        assert [side.value for side in sides] == [1.0, 0.0] and all(side.reason for side in sides)
        assert {calls[call].params["seed"] for side in sides for call in side.details["calls"]} == {1}
    assert doubted


def right(pairs: list[tuple[str, str]]) -> float:
    """Share of the pairs that are the hidden truth."""
    return sum(quality(a) == 1 and quality(b) == 0 for a, b in pairs) / len(pairs)


def final_verdict_twice(better: str, worse: str) -> str:
    """Whether both draws see the pair as it is."""
    said = {(final_verdict(better, draw), final_verdict(worse, draw)) for draw in ("", "1")}
    return "1" if said == {(1, 0)} else str(said)


def test_embeddings_are_calls_of_the_run_like_any_other(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        services.corpus.load_seed()
        spec = JudgeSpec(JudgeKind.PANEL, "seeing", "fake", {"examples": 2, "embeddings": "fake"})
        services.scoring.catalog.save(spec)
        source = prompts_file(services, prompts(6))
        wish = request(services, source, judge="seeing", max_calls=4)
        rough = services.pairs.estimate(wish)
        batches = math.ceil(len(services.examples.index()) / BATCH_TEXTS)
        assert rough.calls == 6 * 4 * 5 + batches + 6
        run = services.pairs.open(wish)
        first = services.pairs.run(run.id)
        assert (first.state, first.calls) == (ScoringRunState.BUDGET, 4), "the cap holds embeddings too"
        services.pairs.update_caps(run.id, max_calls=10_000)
        second = services.pairs.run(run.id)
        services.endpoints.ledger.flush()
        with services.database.read() as session:
            calls = list(session.scalars(select(LLMCall)))
    asked = [call for call in calls if call.scope == f"examples:{services.examples.index().name}"]
    assert second.state is ScoringRunState.DONE and second.calls == len(calls) <= rough.calls
    assert len(asked) == batches + 6 and all(call.tokens_in and call.cost for call in asked)
    assert second.cost == pytest.approx(sum(call.cost for call in calls))
    assert len({call.request_hash for call in calls}) == len(calls), "resuming asks nothing twice"


@pytest.mark.parametrize("left", ["", "{", '[["祝妈妈", 1]]'])
def test_an_index_of_examples_that_is_gone_or_old_is_a_sentence(home, fake_llm: FakeLLM, left: str):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = services.pairs.open(request(services, prompts_file(services, prompts(2))))
        folder = services.settings.home / "examples" / run.request.judge.config["index"]
        (folder / "entries.json").write_text(left) if left else shutil.rmtree(folder)
    with house(fake_llm) as services:  # a fresh process has no index in memory
        with pytest.raises(UserError, match="older version"):
            services.pairs.run(run.id)
        assert services.pairs.find_run(run.id).stage is PairStage.WRITING
        services.pairs.update_caps(run.id)
    assert fake_llm.state()["asked"] == {}


def test_what_cannot_work_is_refused_before_anything_is_asked(home, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        source = prompts_file(services, prompts(3))
        empty = prompts_file(services, ["   "], "empty.txt")
        cases = [
            (lambda: request(services, source, "nobody"), "no generator"),
            (lambda: request(services, "no such data"), "no such data"),
            (lambda: request(services, source, judge="length"), "excellent"),
            (lambda: request(services, source, judge="pairwise"), "excellent"),
            (lambda: request(services, source, candidates=1), "candidates"),
            (lambda: request(services, source, name="x" * 51), "50"),
            (lambda: request(services, empty), "empty|no request"),
        ]
        for make, told in cases:
            with pytest.raises((UserError, NotFound), match=told):
                services.pairs.open(make())
        services.pairs.open(request(services, source, name="mine"))
        with pytest.raises(UserError, match="already"):
            services.pairs.open(request(services, source, name="mine"))
        assert [run.name for run in services.pairs.runs()] == ["mine"]
    assert fake_llm.state()["asked"] == {}


def test_a_request_survives_the_way_through_json(home, fake_llm: FakeLLM):
    import json

    with house(fake_llm) as services:
        wish = request(services, prompts_file(services, prompts(2)), way=PairingMode.HARDEST, max_cost=0.5, seed=4)
    assert read_record(PairRequest, json.loads(json.dumps(stored_json(wish)))) == wish
    for broken in ({}, {**stored_json(wish), "way": "sideways"}, {**stored_json(wish), "source": 1}):
        with pytest.raises(UserError):
            read_record(PairRequest, broken)


def test_pairing_streams_and_what_it_stores_is_balanced(home, fake_llm: FakeLLM):
    """What stays in memory of a possible pair is numbers: below 2.5 kB each, however long the texts."""
    import tracemalloc

    with house(fake_llm) as services:
        peaks, reports = [], []
        first = judged_run(services, 20)
        emit_pairs(services.database, first, services.pairs.find_run(first).request)  # imports what is imported late
        for count in (60, 300):
            run = judged_run(services, count)
            wish = services.pairs.find_run(run).request
            tracemalloc.start()
            reports.append(emit_pairs(services.database, run, wish))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        rows = services.pairs.pair_page(run, PairFilter(), 0, 10_000).rows
    small, large = reports
    assert (peaks[1] - peaks[0]) / (large.possible - small.possible) < 2_500
    gaps = [len(row.chosen) - len(row.rejected) for row in rows]
    assert len(rows) == large.after.pairs > 70 and large.after.is_balanced and not large.before.is_balanced
    assert sum(gap > 0 for gap in gaps) == sum(gap < 0 for gap in gaps)
