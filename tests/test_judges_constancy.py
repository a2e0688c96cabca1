"""A judge that gives one value to everything is named, wherever it judges."""

import json
import pickle
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from backend.core.enums import EventLevel, GamePhase, Scale
from backend.db.base import utc_now
from backend.judges.base import JudgeKind, JudgeSpec, PairOutcome
from backend.judges.constancy import ENOUGH_ITEMS, NoticeLog, ValueCounts, constant_notice
from backend.judges.scoring.job import ScoringJob
from backend.judges.scoring.records import ScoreProgress
from backend.principles.records import StepInfo
from backend.principles.rulings import constant_detector
from backend.runs.attempt import run_job
from backend.training.programs.reward_judges import JudgeReward
from backend.training.programs.reward_terms import FormatReward
from backend.training.programs.rewards import MixedReward
from tests import pair_helpers
from tests.llm_fixtures import FakeLLM
from tests.principles_helpers import request as game_request
from tests.principles_helpers import world_house
from tests.scoring_helpers import house, request
from tests.test_rewards import Fixed, FixedContext
from tests.test_scoring_pairs import ROUND, with_campaign
from ui.components.language import Translator
from ui.judges.runs import _runs_table
from ui.preferences.views import funnel_html

SAME = {"reply": "tests.judge_replies:always_good"}


def test_one_value_for_twenty_items_is_said_and_fewer_or_two_values_are_not():
    assert (
        constant_notice({}) is constant_notice({1.0: ENOUGH_ITEMS - 1}) is constant_notice({1.0: 500, 0.0: 1}) is None
    )
    said = constant_notice({1.0: ENOUGH_ITEMS})
    assert said is not None and "gave 1 to all of the first 20 items" in said.en and "前 20 条" in said.zh
    assert "1.85" in constant_notice({1.85: 1234}).en and "1,234" in constant_notice({1.85: 1234}).zh  # type: ignore[union-attr]


def test_pairs_speak_of_ties_and_places():
    tie = constant_notice({PairOutcome.TIE: 30})
    first, second = (constant_notice({place: 30}) for place in (PairOutcome.A, PairOutcome.B))
    assert tie and first and second
    assert "a tie" in tie.en and "平局" in tie.zh
    assert "the first greeting" in first.en and "前一条" in first.zh
    assert "the second greeting" in second.en and "后一条" in second.zh


def test_counting_ends_where_values_differ_and_unscored_ones_are_no_values():
    counts = ValueCounts()
    counts.add_values([None] * 40 + [0.0] * 19)
    assert counts.notice is None
    counts.add_values([0.0, None])
    assert counts.notice is not None and "gave 0 to all of the first 20" in counts.notice.en
    again = ValueCounts(dict(json.loads(json.dumps(counts.as_json_pairs()))))
    again.add_values([0.0])
    assert again.notice is not None and "21" in again.notice.en
    counts.add_values([1.0])
    counts.add_values(float(number) for number in range(100_000))
    assert counts.notice is None and len(counts.as_json_pairs()) == 2


def test_a_log_says_it_once_and_takes_it_back_once():
    log, said = NoticeLog(), constant_notice({1.0: 20})
    lines = [log.next_message(one) for one in (None, said, said, None, None)]
    codes = [line.code if line else None for line in lines]
    assert codes == [None, "constant_judge", None, "warning_withdrawn", None]
    assert all(line.level is EventLevel.WARNING and line.log_line.startswith("警告") for line in lines if line)


def test_a_scoring_run_says_so_from_the_twentieth_item_on(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SAME)
    seen: list[ScoreProgress] = []
    with house(fake_llm, 40) as services:
        first = services.scoring.run(request(services, max_calls=12), seen.append)
        assert first.notice is None, "twelve are too few"
        final = services.scoring.run(request(services), seen.append)
        again = services.scoring.run(request(services))
        varied = services.scoring.run(request(services, "length"))
    assert final.notice is not None and "gave 1 to all of the first 40 items" in final.notice.en
    assert final.notice == again.notice, "what was said before counts"
    assert varied.notice is None
    assert final.plain()["notice"] == final.notice.en and first.plain()["notice"] is None


def test_it_is_withdrawn_where_a_later_value_differs(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SAME)
    with house(fake_llm, 40) as services:
        first = services.scoring.run(request(services, max_calls=25))
        fake_llm.script(text='{"explanation": "套话", "verdict": 0}')
        final = services.scoring.run(request(services))
    assert first.notice is not None and final.notice is None and final.scored == 40


def test_a_pairwise_judge_that_only_sees_ties(home: Path, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.test_scoring_pairs.PAIRS", 24)
    fake_llm.script(reply="tests.judge_replies:always_tie")
    with house(fake_llm, 120) as services:
        with_campaign(services)
        final = services.scoring.run(request(services, "pairwise", ROUND))
        again = services.scoring.run(request(services, "pairwise", ROUND))
    assert final.scored >= ENOUGH_ITEMS and final.notice is not None and "a tie" in final.notice.en
    assert again.notice == final.notice and again.calls == 0


def test_a_job_keeps_it_and_the_page_shows_it_in_the_reader_s_language(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SAME)
    with house(fake_llm, 30) as services:
        job = services.scoring.submit(request(services))
        assert run_job(services.database, job.id, ScoringJob(services.scoring).play) == 0
        stands = services.jobs.job(job.id)
        logged = [event.data.get("text", "") for event in services.jobs.events(job.id)]
        pages = {lang: _runs_table(services, Translator(lang)) for lang in ("zh", "en")}
    assert stands.progress_text.startswith("30 / 30") and "gave 1 to all" in stands.progress_text
    assert stands.progress_message.level is EventLevel.WARNING
    assert any(line.startswith("警告：裁判给已评的前 30 条打的都是 1") for line in logged)
    assert "前 30 条打的都是 1" in pages["zh"] and "gave 1 to all" not in pages["zh"]
    assert "gave 1 to all of the first 30 items" in pages["en"] and "打的都是" not in pages["en"]
    assert all('class="zf-warn"' in page for page in pages.values())


def test_a_run_of_pairs_whose_judge_likes_everything_says_why_there_are_none(home: Path, fake_llm: FakeLLM):
    fake_llm.script(reply="tests.pair_replies:likes_all", models=["fake"])
    with pair_helpers.house(fake_llm) as services:
        source = pair_helpers.prompts_file(services, pair_helpers.prompts(8))
        run, job = services.pairs.submit(pair_helpers.request(services, source, judge="principle"))
        run_job(services.database, job.id, services.pairs.play_job)
        funnel, info = services.pairs.funnel(run.id), services.pairs.find_run(run.id)
        logged = [event.data.get("text", "") for event in services.jobs.events(job.id)]
    assert funnel.pairs == 0 and funnel.judged >= ENOUGH_ITEMS and funnel.notice is not None
    assert "打的都是 1" in funnel_html(Translator("zh"), info, funnel)
    assert any(line.startswith("警告：裁判给已评的前") for line in logged)


@pytest.mark.database
def test_the_game_says_it_of_its_detector(home: Path, fake_llm: FakeLLM):
    with world_house(fake_llm) as services:
        fake_llm.script(reply="tests.principles_world:serve_same")
        evolution = services.evolution
        info = evolution.submit(game_request(rounds=1, labelled=6, attacks=3, gate=24, locked=12))
        assert info.job is not None
        run_job(services.database, info.job, evolution.play_job)
        notice = constant_detector(evolution.steps(info.id))
        logged = [event.data.get("text", "") for event in services.jobs.events(info.job)]
    assert notice is not None and "gave 1 to all of the first 2" in notice.en
    assert any(line.startswith("警告：裁判给已评的前") for line in logged)
    entered = {
        "values": [1.0] * 12 + [0.0] * 12,
        "safety": [],
        "accepted": True,
        "why": "better",
        "facts": {},
        "score": 0.5,
    }
    later = [
        StepInfo(2, 1, GamePhase.GATE_D, entered, 0, 0.0, utc_now()),
        StepInfo(3, 1, GamePhase.DUEL, {"cases": []}, 0, 0.0, utc_now()),
    ]
    first = StepInfo(1, 0, GamePhase.START, {"values": [1.0] * 24, "safety": [], "score": 0.5}, 0, 0.0, utc_now())
    refused = replace(later[0], data={**entered, "accepted": False})
    assert constant_detector([first, *later]) is None and constant_detector([]) is None
    assert constant_detector([first, refused]) is not None


def test_a_judge_as_reward_says_it_and_a_resumed_training_goes_on_counting():
    judge = Fixed([1.0] * 12, Scale.BINARY)
    asked = {"prompts": ["新年祝福"] * 12, "completions": [f"第{n}条：平安喜乐。" for n in range(12)]}
    spec = JudgeSpec(JudgeKind.NGRAM, "ngram")
    with closing(JudgeReward(spec, FixedContext(judge))) as reward:
        mixed = MixedReward([(1, FormatReward()), (1, reward)])
        mixed(**asked)
        assert mixed.notice is None
        kept = json.loads(json.dumps(mixed.state()))
        mixed(**asked)
        assert mixed.notice is not None and "gave 1 to all of the first 24 items" in mixed.notice.en
        assert pickle.loads(pickle.dumps(mixed)).notice == mixed.notice
        judge.values = [0.0] * 12
        mixed(**asked)
        assert mixed.notice is None
    with closing(JudgeReward(spec, FixedContext(Fixed([1.0] * 12, Scale.BINARY)))) as reward:
        again = MixedReward([(1, reward), (1, FormatReward())])
        again.restore(kept)
        again(**asked)
        assert again.notice is not None and "24" in again.notice.en
