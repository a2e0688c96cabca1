"""Rubric, pairwise and panel: what is asked, what is combined, what is kept."""

import pytest

from backend.core.enums import RUBRIC_EXCELLENT, Scale
from backend.core.errors import UserError
from backend.judges.asking import JudgeModel
from backend.judges.base import EMPTY_GREETING, JudgeKind, JudgeSpec, PairJudgment, PairOutcome, PairSample, Sample
from backend.judges.criteria import rubric_judge, weighted_mean
from backend.judges.pairwise import PairwiseJudge
from backend.judges.panel import PanelAgents, PanelJudge
from backend.judges.registry import build_judge, describe_judge
from backend.judges.scoring.run import run_blocking
from tests.fake_llm import quality
from tests.judging import ASKED, KEY, context_at, score, with_model
from tests.llm_fixtures import FakeLLM

GOOD, BAD, GOOD_TOO = "第1条祝福", "第2条祝福", "第4条祝福"
MODEL = JudgeModel("http://x/v1", "m", key=KEY)


def test_the_greetings_of_these_tests_are_what_their_names_say():
    assert (quality(GOOD), quality(BAD), quality(GOOD_TOO)) == (1, 0, 1)


# --- rubric ----------------------------------------------------------------------------------------


def test_rubric_is_the_weighted_mean_with_its_dimensions(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:rubric")
    drafts = score(fake_llm, [GOOD, BAD, ""], rubric_judge)
    assert [draft.value for draft in drafts] == [3.0, 1.0, None]
    assert drafts[0].details["excellent"] and not drafts[1].details["excellent"]
    assert drafts[0].details["dimensions"]["richness"] == 3 and drafts[2] == EMPTY_GREETING
    assert rubric_judge(MODEL).scale is Scale.RUBRIC


def test_a_total_of_exactly_two_is_excellent(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:uneven")
    draft = score(fake_llm, [GOOD], rubric_judge)[0]
    assert draft.value == RUBRIC_EXCELLENT and draft.details["excellent"]
    assert weighted_mean({"language": 3, "creativity": 1, "emotion": 2, "culture": 2, "richness": 2}) == 2.0


def test_a_dimension_outside_the_scale_is_unscored_and_never_clipped(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:outside_scale")
    draft = score(fake_llm, [GOOD], rubric_judge)[0]
    assert draft.value is None and "范围" in draft.reason
    fake_llm.script(text='{"language": 3, "creativity": 2, "emotion": 2, "culture": 2}')
    assert score(fake_llm, [GOOD], rubric_judge)[0].value is None


# --- pairwise --------------------------------------------------------------------------------------


def compared(fake: FakeLLM, first: str, second: str) -> PairJudgment:
    return with_model(fake, lambda model: PairwiseJudge(model).score([PairSample(ASKED, first, second)]))[0]


def test_the_better_one_wins_in_both_places(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:better", latency_s=0.1)
    assert compared(fake_llm, GOOD, BAD).outcome is PairOutcome.A
    assert compared(fake_llm, BAD, GOOD).outcome is PairOutcome.B
    draft = compared(fake_llm, GOOD, GOOD_TOO)
    assert (draft.outcome, draft.flip) == (PairOutcome.TIE, False)
    assert fake_llm.state()["most_active"] == 2


def test_a_judge_that_likes_the_first_place_is_a_flip_and_a_tie(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:first_place")
    draft = compared(fake_llm, GOOD, BAD)
    assert (draft.outcome, draft.flip) == (PairOutcome.TIE, True)
    assert draft.details["votes"] == ["a", "b"] and "相反" in draft.reasons[0]


def test_a_win_beside_a_tie_is_a_tie_but_no_flip(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:hesitant")
    draft = compared(fake_llm, GOOD, BAD)
    assert (draft.outcome, draft.flip) == (PairOutcome.TIE, False)


def test_one_unusable_order_makes_the_pair_unscored(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:half_broken")
    draft = compared(fake_llm, GOOD, BAD)
    assert draft.outcome is None and draft.reasons and draft.details["failure"]


def test_pairs_that_need_no_call(fake_llm: FakeLLM):
    assert compared(fake_llm, GOOD, " ").outcome is None
    assert compared(fake_llm, GOOD, GOOD + "\n").outcome is PairOutcome.TIE
    assert fake_llm.state()["asked"] == {}


# --- panel -----------------------------------------------------------------------------------------


def test_the_panel_asks_four_times_and_keeps_every_statement(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:panel")
    good, bad = score(fake_llm, [GOOD, BAD], PanelJudge)
    assert (good.value, bad.value) == (1.0, 0.0)
    assert good.details["merits"] == ["merits 一", "merits 二"]
    assert good.details["faults"] == ["faults 一", "faults 二"]
    assert good.details["first"] == {"verdict": 1, "explanation": "judge 的理由"}
    assert good.details["final"]["verdict"] == 1 and not good.details["overturned"]
    assert len(good.details["calls"]) == 4 and good.reason == "reflect 的理由"
    assert fake_llm.state()["asked"] == {GOOD: 4, BAD: 4}


def test_judge_and_reviewer_read_what_was_said_before_them(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:panel")
    score(fake_llm, [GOOD], PanelJudge)
    last = fake_llm.state()["bodies"][-1]["messages"][-1]["content"]
    assert "褒方：\n- merits 一" in last and "贬方：\n- faults 一" in last and "结论：1" in last


def test_the_reviewer_overturns_with_a_reason(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:overturning")
    draft = score(fake_llm, [GOOD], PanelJudge)[0]
    assert draft.value == 0.0 and draft.details["overturned"]
    assert draft.details["first"]["verdict"] == 1 and draft.reason == "推翻初判：初判误读原文"


def test_a_reviewer_without_a_reason_is_unscored(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:overturning_silently")
    draft = score(fake_llm, [GOOD], PanelJudge)[0]
    assert draft.value is None and draft.reason.startswith("复核")


def test_one_mute_agent_makes_the_item_unscored_and_says_which(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:mute_negative")
    draft = score(fake_llm, [GOOD], PanelJudge)[0]
    assert draft.value is None and draft.reason.startswith("贬方")
    assert draft.details["merits"] == ["merits 一", "merits 二"]


@pytest.mark.parametrize(
    ("agents", "calls"),
    [
        (PanelAgents(), 4),
        (PanelAgents(reflect=False), 3),
        (PanelAgents(positive=False), 3),
        (PanelAgents(negative=False), 3),
        (PanelAgents(positive=False, negative=False, reflect=False), 1),
    ],
)
def test_every_agent_but_the_judge_can_be_switched_off(fake_llm: FakeLLM, agents: PanelAgents, calls: int):
    fake_llm.script(reply="tests.judge_replies:panel")
    draft = score(fake_llm, [GOOD], lambda model: PanelJudge(model, agents))[0]
    assert draft.value == 1.0 and len(draft.details["calls"]) == calls
    assert ("merits" in draft.details, "faults" in draft.details) == (agents.positive, agents.negative)
    judge = PanelJudge(MODEL, agents)
    assert len(judge.preview(Sample(ASKED, GOOD))) == calls
    assert (judge.version == PanelJudge(MODEL).version) == (agents == PanelAgents())


class Liked:
    """A retriever with one example."""

    version = "liked-1"

    async def examples(self, prompt: str, greeting: str = "") -> list[Sample]:  # noqa: ARG002
        return [Sample(prompt, "范例里的祝福")]


def test_retrieved_examples_reach_every_agent_and_the_version(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:panel")
    score(fake_llm, [GOOD], lambda model: PanelJudge(model, retriever=Liked()))
    bodies = fake_llm.state()["bodies"]
    assert len(bodies) == 4
    assert all("祝福语：范例里的祝福" in body["messages"][-1]["content"] for body in bodies)
    assert PanelJudge(MODEL, retriever=Liked()).version != PanelJudge(MODEL).version


def test_statements_that_give_orders_stay_inside_their_fence(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:broken_statements")
    draft = score(fake_llm, [BAD], PanelJudge)[0]
    assert draft.value == 0.0


def test_an_agent_may_ask_an_endpoint_of_its_own(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:panel", models=["fake", "strong"])
    spec = JudgeSpec(JudgeKind.PANEL, "panel", "fake", {"endpoints": {"reflect": "strong"}})

    async def run() -> list[str]:
        context = context_at(fake_llm)
        judge = build_judge(spec, context)
        assert isinstance(judge, PanelJudge)
        drafts = await judge.score([Sample(ASKED, GOOD)])
        await context.close()
        assert drafts[0].value == 1
        return [body["model"] for body in fake_llm.state()["bodies"]]

    assert sorted(run_blocking(run())) == ["fake", "fake", "fake", "strong"]
    plain = describe_judge(JudgeSpec(JudgeKind.PANEL, "panel", "fake"), context_at(fake_llm))
    assert describe_judge(spec, context_at(fake_llm)).version != plain.version
    with pytest.raises(UserError, match="no agent"):
        describe_judge(
            JudgeSpec(JudgeKind.PANEL, "panel", "fake", {"endpoints": {"boss": "fake"}}),
            context_at(fake_llm),
        )
