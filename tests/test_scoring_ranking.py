"""Scoring runs of a judge that ranks: whole requests at a time; the board shows its pairs within requests."""

import json
from pathlib import Path

import pytest

from backend.agreement.within import RANKS_WITHIN
from backend.cli import app
from backend.core.errors import UserError
from backend.judges.base import JudgeKind, JudgeSpec, PairJudgment, PairOutcome, PairSample, Sample
from backend.judges.ranking import ONLY_ONE
from backend.judges.scoring.records import ScoreRequest
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.preferences.plan import CandidatePlan
from backend.preferences.records import PairRequest, PromptSource, SourceKind
from backend.services import Services
from tests.fake_llm import quality
from tests.llm_fixtures import FakeLLM
from tests.ranking_replies import merit
from tests.scoring_helpers import greeting, house, request, verdicts
from ui.components.board import board_table
from ui.components.language import Translator
from ui.judges.editor import _judge_spec, _setting_values

ITEMS = 60


def values(services: Services) -> dict[str, float | None]:
    """The current value of each greeting."""
    return {text: rows[-1].value for text, rows in verdicts(services, "ranking").items()}


def expected(numbers: range) -> dict[str, float]:
    """What a judge without error gives to the greetings of one request."""
    texts = [greeting(number) for number in numbers]
    return {text: sum(merit(other) < merit(text) for other in texts) / (len(texts) - 1) for text in texts}


def import_rows(services: Services, rows: list[tuple[str, str]], dataset: str) -> None:
    path = services.settings.home / f"{dataset}.jsonl"
    lines = [json.dumps({"query": prompt, "response": text, "label": 1}, ensure_ascii=False) for prompt, text in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    services.corpus.import_file(path, dataset=dataset)


def test_each_request_is_ranked_in_one_call_and_asked_once(home: Path, fake_llm: FakeLLM) -> None:
    fake_llm.script(reply="tests.ranking_replies:by_merit")
    with house(fake_llm, ITEMS) as services:
        estimate = services.scoring.estimate(request(services, "ranking"))
        first = services.scoring.run(request(services, "ranking"))
        second = services.scoring.run(request(services, "ranking"))
        stored = values(services)
    assert (estimate.missing, estimate.calls) == (ITEMS, 12)
    assert (first.state, first.scored, first.unscored, first.calls) == ("done", ITEMS, 0, 12)
    assert (second.scored, second.calls, second.cached) == (ITEMS, 0, ITEMS)
    for start in range(0, ITEMS, 5):
        wanted = expected(range(start, start + 5))
        assert {text: stored[text] for text in wanted} == pytest.approx(wanted)


def test_what_comes_later_is_ranked_together_with_what_was_there(home: Path, fake_llm: FakeLLM) -> None:
    fake_llm.script(reply="tests.ranking_replies:by_merit")
    prompt = "给第0位朋友的生日祝福"
    with house(fake_llm, 10) as services:
        services.scoring.run(request(services, "ranking"))
        import_rows(services, [(prompt, greeting(number)) for number in (3, 4, 100)], "later")
        spec = services.scoring.catalog.resolve("ranking")
        progress = services.scoring.run(ScoreRequest(spec, ScoringTarget(TargetKind.DATASET, "later")))
        stored, rows = values(services), verdicts(services, "ranking")
    assert (progress.items, progress.scored, progress.unscored, progress.calls) == (3, 3, 0, 1)
    texts = [greeting(number) for number in (0, 1, 2, 3, 4, 100)]
    assert [stored[text] for text in texts] == pytest.approx(
        [sum(merit(other) < merit(text) for other in texts) / 5 for text in texts]
    )
    assert [len(rows[text]) for text in texts] == [2, 2, 2, 2, 2, 1] and len(rows[greeting(5)]) == 1


def test_a_request_with_one_greeting_is_unscored_with_the_reason(home: Path, fake_llm: FakeLLM) -> None:
    with house(fake_llm, 1) as services:
        progress = services.scoring.run(request(services, "ranking"))
        (verdict,) = verdicts(services, "ranking")[greeting(0)]
    assert (progress.items, progress.unscored, progress.calls) == (1, 1, 0)
    assert (verdict.value, verdict.reason) == (None, ONLY_ONE)


def test_a_run_whose_endpoint_fails_in_between_can_be_asked_again(home: Path, fake_llm: FakeLLM) -> None:
    fake_llm.script(reply="tests.ranking_replies:by_merit", faults={"bad_json": 0.9}, seed=3)
    with house(fake_llm, ITEMS) as services:
        first = services.scoring.run(request(services, "ranking"))
        fake_llm.script(reply="tests.ranking_replies:by_merit")
        again = services.scoring.run(request(services, "ranking", retry_unscored=True))
        stored = values(services)
    assert first.state == "done" and first.unscored % 5 == 0 and first.scored + first.unscored == ITEMS
    # Which calls fail hangs on the key of this home; of twelve groups none or few come through.
    assert first.unscored > 0
    assert (again.scored, again.unscored) == (ITEMS, 0)
    assert {text: stored[text] for text in expected(range(5))} == pytest.approx(expected(range(5)))


def test_the_board_shows_pairs_within_requests_and_nothing_across(
    home: Path, fake_llm: FakeLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_llm.script(reply="tests.ranking_replies:by_quality")
    with house(fake_llm, ITEMS) as services:
        plain = services.board.board()
        services.scoring.run(request(services, "ranking"))
        board = services.board.board()
        pages = [str(board_table(Translator(language), board)) for language in ("zh", "en")]
    assert plain.within == () and "zf-within" not in str(board_table(Translator("en"), plain))
    (row,) = [row for row in board.rows if row.judge == "ranking"]
    assert row.n == ITEMS and row.spearman.value is None and row.spearman.why == RANKS_WITHIN
    assert board.worst["ranking"] == ()
    assert [within.judge for within in board.within] == ["length", "style", "ngram", "ranking"]
    ranking = board.within[-1]
    # Labels of the data set: number % 2; the fake goes by hidden quality.
    pairs = [
        (number, other)
        for start in range(0, ITEMS, 5)
        for number in range(start, start + 5)
        for other in range(start, number)
        if number % 2 != other % 2
    ]
    right = [
        0.5 + 0.5 * (number % 2 - other % 2) * (quality(greeting(number)) - quality(greeting(other)))
        for number, other in pairs
    ]
    assert (ranking.pairs, ranking.unscored) == (len(pairs), 0)
    assert ranking.figure.value == pytest.approx(sum(right) / len(right))
    assert "同一请求内" in pages[0] and "Within requests" in pages[1]
    app(["agreement", "--json"], standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert printed["within_requests"][-1]["pairs"] == len(pairs)
    app(["agreement"], standalone_mode=False)
    assert "within requests, ranking: accuracy" in capsys.readouterr().out


def test_a_ranking_judge_is_made_tried_and_refused_where_it_cannot_work(
    home: Path, fake_llm: FakeLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_llm.script(reply="tests.ranking_replies:by_merit")
    with house(fake_llm) as services:
        spec = JudgeSpec(JudgeKind.RANKING, "ranking", "fake")
        best, worst = sorted((greeting(0), greeting(1)), key=merit, reverse=True)
        compared = services.scoring.judge_sample(spec, PairSample("请求", worst, best))
        assert isinstance(compared, PairJudgment) and compared.outcome is PairOutcome.B
        assert services.scoring.judge_sample(spec, Sample("请求", best)).reason == ONLY_ONE  # type: ignore[union-attr]
        assert len(services.scoring.preview(spec, PairSample("请求", worst, best))) == 1
        assert services.scoring.preview(spec, Sample("请求", best)) == []
        with pytest.raises(UserError, match="“per_call” must be a number from 3 to 26"):
            services.scoring.describe_judge(JudgeSpec(JudgeKind.RANKING, "r", "fake", {"per_call": 2}))
        pairs = PairRequest(PromptSource(SourceKind.DATASET, "seed"), CandidatePlan(("fake",)), spec)
        with pytest.raises(UserError, match="does not say which greetings are excellent"):
            services.pairs.check(pairs)
        # As the form on the page has it, and back from what is stored.
        boxes = {"kind": "ranking", "name": "表单", "endpoint": "fake", "principles": "真诚\n具体", "temperature": 0}
        entered = boxes | {"max_tokens": 512, "both_orders": True, "per_call": 6}
        stored = services.scoring.catalog.save(_judge_spec(entered))
        assert stored.spec and stored.spec.config["principles"] == ["真诚", "具体"]
        assert {name: _setting_values(stored)[name] for name in ("kind", "both_orders", "per_call", "max_tokens")} == {
            "kind": "ranking",
            "both_orders": True,
            "per_call": 6,
            "max_tokens": 512,
        }
    added = ["judges", "add", "名次", "--kind", "ranking", "--endpoint", "fake", "--both-orders", "--per-call", "8"]
    app([*added, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["kind"] == "ranking"
    tried = ["judges", "try", "名次", "--prompt", "请求", "--greeting", best, "--second", worst, "--json"]
    app(tried, standalone_mode=False)
    answer = json.loads(capsys.readouterr().out)
    assert (answer["outcome"], answer["flip"], answer["details"]["flip_pairs"]) == ("a", False, 1)
