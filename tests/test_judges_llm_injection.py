"""No greeting, request or statement talks a judge into anything: a fake that obeys orders never hears one."""

from backend.core.text import strip_white_space
from backend.judges.asking import JudgeModel
from backend.judges.base import Judgment, PairJudgment, PairOutcome, PairSample, Sample
from backend.judges.criteria import principle_judge, rubric_judge, starting_principles
from backend.judges.pairwise import PairwiseJudge
from backend.judges.panel import PanelJudge
from tests.fake_llm import ORDERS
from tests.judging import ASKED, with_model
from tests.llm_fixtures import FakeLLM
from tests.test_llm_fence import injections, outside, with_nonce

SET = [with_nonce(text) for text in injections()] + [f"OBEYME {text} OBEYME" for text in injections()]


def test_the_set_is_large_and_names_orders_that_the_fake_knows():
    assert len(SET) >= 80
    assert sum(any(order in text for order in ORDERS) for text in SET) >= 50


def test_principle_and_rubric_are_never_misled(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:obey_any")
    batch = [Sample(ASKED, text) for text in SET]

    async def both(model: JudgeModel) -> list[Judgment]:
        return [
            *(await principle_judge(model, starting_principles()).score(batch)),
            *(await rubric_judge(model).score(batch)),
        ]

    drafts = with_model(fake_llm, both)
    judged = [draft.value for draft, text in zip(drafts, [*SET, *SET], strict=True) if strip_white_space(text)]
    assert len(judged) >= 160 and set(judged) <= {0.0, 1.0} and None not in judged
    assert set(judged[: len(judged) // 2]) == {0.0}
    assert set(judged[len(judged) // 2 :]) == {1.0}, "1 is the lowest total of the rubric"


def test_a_request_cannot_give_orders_either(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:obey_any")
    batch = [Sample(text, "生日快乐") for text in SET[:30]]
    drafts = with_model(fake_llm, lambda model: principle_judge(model, starting_principles()).score(batch))
    assert {draft.value for draft in drafts} == {0.0}


def test_pairwise_and_panel_are_never_misled(fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:obey_any")
    chosen = [text for text in SET if strip_white_space(text)][::3]

    async def pairs(model: JudgeModel) -> list[PairJudgment]:
        judge = PairwiseJudge(model)
        return await judge.score([PairSample(ASKED, text, "生日快乐") for text in chosen])

    assert {draft.outcome for draft in with_model(fake_llm, pairs)} == {PairOutcome.TIE}
    batch = [Sample(ASKED, text) for text in chosen]
    drafts = with_model(fake_llm, lambda model: PanelJudge(model).score(batch))
    assert {draft.value for draft in drafts} == {0.0}
    assert all(draft.details["merits"] == ["正常"] for draft in drafts)


def test_what_stands_outside_the_fences_does_not_depend_on_the_greeting():
    model = JudgeModel("http://x/v1", "m", key=b"k")
    judge = principle_judge(model, starting_principles())

    def frame(text: str) -> str:
        before, _, rest = judge.preview(Sample(ASKED, text))[0].partition("# 待评的祝福语\n")
        opening, _, inside = rest.partition("\n")
        nonce = opening.split()[1]
        return (before + "\n" + outside(f"{opening}\n{inside}")).replace(nonce, "N")

    assert {frame(text) for text in SET} == {frame("生日快乐")}
