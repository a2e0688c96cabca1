"""Examples for a request: found by words and meaning, ranked by likes, never what is under judgement."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.judges.retrieval import (
    ExampleIndex,
    FloatArray,
    HybridRetriever,
    LikedGreeting,
    choose_examples,
    rank_largest,
    request_words,
)
from backend.judges.scoring.run import run_blocking
from backend.llm.budget import Budget
from backend.llm.embeddings import BATCH_TEXTS, EmbeddingClient
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.ledger import MemoryLedger
from tests.llm_fixtures import FAST, FakeLLM

GREETINGS = {
    "给妈妈的生日祝福": "妈，厨房今天归我，您只管坐着等长寿面。",
    "祝母亲寿辰": "愿您把操心的事分我一半，把高兴的事都留下。",
    "妈妈生日快乐的祝福语": "您剪的窗花还贴在我租的屋里，妈，生日快乐。",
    "同事升职的祝贺": "从今往后会议室的好位子归您了，恭喜高升。",
    "新婚贺词": "从此遥控器归她，洗碗归你，白头到老。",
    "高考加油的话": "笔袋检查过了，早饭也热着，去吧，我们在门口等你。",
}


def index(**votes: tuple[int, int]) -> ExampleIndex:
    return ExampleIndex.build(
        (prompt, LikedGreeting(text, *votes.get(prompt, (1, 0)))) for prompt, text in GREETINGS.items()
    )


def prompts(found: Sequence[Any]) -> list[str]:
    return [one.prompt for one in found]


def test_requests_that_share_words_come_first() -> None:
    assert prompts(choose_examples(index(), "祝妈妈生日快乐", "", 3))[:2] == [
        "妈妈生日快乐的祝福语",
        "给妈妈的生日祝福",
    ]
    assert prompts(choose_examples(index(), "写段新婚贺词给表哥", "", 3))[0] == "新婚贺词"
    assert choose_examples(index(), "今晚月色真美", "", 3) == []
    assert request_words("请给妈妈的生日写一句祝福语！") == ["妈妈", "生日"]
    assert "祝福语" in request_words("祝福语！")


def test_the_request_itself_gives_no_example_however_it_is_put() -> None:
    for asked in (
        "给妈妈的生日祝福",
        "给妈妈的生日祝福语",
        "请帮我写一条给妈妈的生日祝福吧",
        "给妈妈的 生日祝福！",
    ):
        assert "给妈妈的生日祝福" not in prompts(choose_examples(index(), asked, "", 5))


def test_the_greeting_under_judgement_never_comes_back() -> None:
    text = GREETINGS["妈妈生日快乐的祝福语"]
    for judged in (
        text,
        f"“{text}”",
        text.replace("，妈，", "，"),
        text.replace("生日快乐", "生日 快乐！！"),
    ):
        found = choose_examples(index(), "祝妈妈生日", judged, 5)
        assert found and text not in [one.greeting for one in found]
    several = ExampleIndex.build(
        [
            ("祝妈妈生日快乐", LikedGreeting(text, 9, 0)),
            ("祝妈妈生日快乐", LikedGreeting("妈，面好了。", 1, 0)),
        ]
    )
    assert [one.greeting for one in choose_examples(several, "祝妈妈生日", text, 3)] == ["妈，面好了。"]


def test_no_two_examples_say_the_same_and_none_share_a_request() -> None:
    text = GREETINGS["给妈妈的生日祝福"]
    doubled = ExampleIndex.build(
        [
            (prompt, LikedGreeting(one, 1, 0))
            for prompt in ("妈妈生日", "祝妈妈生日", "母亲生日")
            for one in (text, text + "！")
        ]
    )
    assert len(choose_examples(doubled, "给妈妈过生日", "", 3)) == 1


def test_likes_decide_between_requests_that_are_equally_alike() -> None:
    texts = {"爸爸生日的祝福": "爸，鱼竿给您换新的了。", "妈妈生日的祝福": "妈，面好了。"}

    def first(liked: str) -> str:
        made = ExampleIndex.build(
            (prompt, LikedGreeting(text, 9 if prompt == liked else 1, 0)) for prompt, text in texts.items()
        )
        return choose_examples(made, "奶奶生日的祝福", "", 2)[0].prompt

    assert [first(prompt) for prompt in texts] == list(texts)


def test_only_liked_greetings_are_examples_and_the_most_liked_of_a_request_is_shown() -> None:
    made = ExampleIndex.build(
        [
            ("妈妈生日", LikedGreeting("甲甲甲甲甲", 1, 0)),
            ("妈妈生日", LikedGreeting("乙乙乙乙乙", 9, 1)),
            ("妈妈生日", LikedGreeting("丙丙丙丙丙", 3, 3)),
            ("爸爸生日", LikedGreeting("丁丁丁丁丁", 0, 4)),
        ]
    )
    assert made.prompts == ["妈妈生日"] and [one.greeting[0] for one in made.liked[0]] == ["乙", "甲"]
    assert choose_examples(made, "生日", "", 3)[0].greeting == "乙乙乙乙乙"


def test_an_index_comes_back_from_its_folder_as_it_was(tmp_path: Path) -> None:
    made = index()
    made.save(tmp_path / made.name)
    made.save(tmp_path / made.name)
    again = ExampleIndex.load(tmp_path / made.name)
    for asked in ("祝妈妈生日快乐", "表哥新婚", "高考", "无关"):
        assert choose_examples(again, asked, "", 3) == choose_examples(made, asked, "", 3)
    assert again.name == made.name == index().name and again.greeting_count == len(GREETINGS)
    assert index(新婚贺词=(2, 0)).name != made.name
    with pytest.raises(OSError):
        ExampleIndex.load(tmp_path / "nothing")


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    made = ExampleIndex.build([])
    made.save(tmp_path / made.name)
    assert choose_examples(ExampleIndex.load(tmp_path / made.name), "祝妈妈生日", "", 3) == []
    assert run_blocking(HybridRetriever(made).examples("祝妈妈生日")) == []


def client(fake: FakeLLM, folder: Path, **endpoint: Any) -> EmbeddingClient:
    return EmbeddingClient(fake.endpoint(**endpoint), folder / "vectors.db", policy=FAST)


def test_meaning_finds_what_words_do_not(fake_llm: FakeLLM, tmp_path: Path) -> None:
    words = prompts(run_blocking(HybridRetriever(index(), 3).retrieve("老妈诞辰")))
    retriever = HybridRetriever(index(), 3, client(fake_llm, tmp_path))
    both = run_blocking(retriever.retrieve("老妈诞辰"))
    assert words == [] and "祝母亲寿辰" in prompts(both)
    assert all(one.by_words is None and one.by_meaning for one in both)
    assert retriever.notice is None and retriever.version != HybridRetriever(index(), 3).version


def test_every_text_is_embedded_once_by_whatever_process(fake_llm: FakeLLM, tmp_path: Path) -> None:
    texts = [f"给第{n}位朋友的祝福" for n in range(BATCH_TEXTS + 10)]
    first = run_blocking(client(fake_llm, tmp_path).vectors([*texts, texts[0]]))
    assert first.shape == (len(texts) + 1, 64) and (first[0] == first[-1]).all()
    assert fake_llm.state()["answered"] == {"embeddings": len(texts)}
    again = run_blocking(client(fake_llm, tmp_path).vectors(texts[::-1]))
    assert (again == first[:-1][::-1]).all()
    assert fake_llm.state()["answered"] == {"embeddings": len(texts)}
    fake_llm.script(models=["other"])
    run_blocking(client(fake_llm, tmp_path, model="other").vectors(texts[:1]))
    assert fake_llm.state()["answered"] == {"embeddings": 1}


def test_faults_are_retried(fake_llm: FakeLLM, tmp_path: Path) -> None:
    fake_llm.script(first_faults=["rate_limit", "server_error"])
    assert run_blocking(client(fake_llm, tmp_path).vectors(["祝福"])).shape == (1, 64)


@pytest.mark.parametrize(
    "script",
    [{"models": ["other"]}, {"api_key": "right"}, {"faults": {"html": 1.0}}, {"faults": {"cut": 1.0}}],
)
def test_without_an_embedding_model_words_decide_and_it_is_said(
    fake_llm: FakeLLM, tmp_path: Path, script: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    fake_llm.script(**script)
    retriever = HybridRetriever(index(), 3, client(fake_llm, tmp_path, api_key="wrong"))
    found = run_blocking(retriever.retrieve("祝妈妈生日快乐"))
    assert found == choose_examples(index(), "祝妈妈生日快乐", "", 3)
    assert retriever.notice is not None and "words alone" in retriever.notice.en
    asked = fake_llm.state()["asked"]
    run_blocking(retriever.retrieve("新婚"))
    assert fake_llm.state()["asked"] == asked and len(_warnings(caplog)) == 1


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


class Odd:
    """Gives vectors of another size at the second call."""

    identity: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.calls = 0

    async def vectors(self, texts: Sequence[str]) -> FloatArray:
        self.calls += 1
        return np.ones((len(texts), self.calls), dtype=np.float32)


def test_vectors_of_another_size_are_no_crash() -> None:
    retriever = HybridRetriever(index(), 3, Odd())
    assert run_blocking(retriever.retrieve("祝妈妈生日快乐")) == choose_examples(index(), "祝妈妈生日快乐", "", 3)
    assert retriever.notice is not None


def test_wide_vectors_keep_their_neighbours_when_they_are_reduced(fake_llm: FakeLLM, tmp_path: Path) -> None:
    fake_llm.script(width=600)
    found = run_blocking(HybridRetriever(index(), 3, client(fake_llm, tmp_path)).retrieve("老妈诞辰"))
    assert prompts(found)[0] == "祝母亲寿辰"


def test_bad_vectors_are_refused(fake_llm: FakeLLM, tmp_path: Path) -> None:
    from backend.llm.embeddings import _parse_vectors

    good = {"data": [{"index": 1, "embedding": [1, 0]}, {"index": 0, "embedding": [0, 1]}]}
    assert [row.tolist() for row in _parse_vectors(good, 2, "here")] == [[0, 1], [1, 0]]
    for data in (
        [],
        [{"index": 0, "embedding": [1]}],
        [{"index": 0, "embedding": []}, {"index": 1, "embedding": [1]}],
        [{"index": 0, "embedding": ["x"]}, {"index": 1, "embedding": [1]}],
        [{"index": 0, "embedding": [float("nan")]}, {"index": 1, "embedding": [1]}],
        [1, 2],
        "no list",
    ):
        with pytest.raises(LLMError) as caught:
            _parse_vectors({"data": data}, 2, "here")
        assert caught.value.kind is LLMErrorKind.NOT_JSON


def test_equal_values_share_a_rank() -> None:
    values = np.array([1, 3, 3, 2, 0], dtype=np.float32)
    assert list(rank_largest(values, 9).items()) == [(1, 1), (2, 1), (3, 3), (0, 4), (4, 5)]
    assert rank_largest(values, 3) == {1: 1, 2: 1, 3: 3} and rank_largest(values[:0], 3) == {}


def test_many_searches_at_once_prepare_the_vectors_once(fake_llm: FakeLLM, tmp_path: Path) -> None:
    retriever = HybridRetriever(index(), 3, client(fake_llm, tmp_path))

    async def many() -> None:
        await asyncio.gather(*(retriever.examples("祝妈妈生日快乐") for _ in range(50)))

    run_blocking(many())
    assert fake_llm.state()["answered"] == {"embeddings": len(GREETINGS) + 1}


def test_every_embedding_call_stands_in_the_ledger_and_counts_against_the_budget(
    fake_llm: FakeLLM, tmp_path: Path
) -> None:
    fake_llm.script(first_faults=["server_error"])
    texts, ledger = [f"给第{n}位朋友的祝福" for n in range(BATCH_TEXTS + 6)], MemoryLedger()
    budget = Budget(max_calls=3)
    endpoint = fake_llm.endpoint(price_in=2.0, concurrency=1)
    asking = EmbeddingClient(endpoint, tmp_path / "vectors.db", budget, FAST, ledger, "examples:x")
    rough = asking.estimate(texts, ["祝福"], 5)
    assert (rough.calls, rough.tokens_out) == (2 + 5, 0) and rough.cost > 0
    rows = run_blocking(asking.vectors(texts))
    failed, *good = ledger.calls
    assert [one.attempt for one in ledger.calls] == [1, 2, 1]
    assert (failed.error, failed.usage.tokens_in, failed.cost) == (LLMErrorKind.SERVER_ERROR, 0, 0.0)
    assert [part["content"] for one in good for part in one.messages] == texts
    assert {one.scope for one in ledger.calls} == {"examples:x"}
    assert sum(one.usage.tokens_in for one in good) == budget.token_count == sum(map(len, texts))
    assert budget.total_cost == pytest.approx(2e-6 * budget.token_count) and budget.call_count == 3
    proof = json.loads(good[-1].reply or "")
    assert (proof["vectors"], proof["width"]) == (6, rows.shape[1])
    assert asking.estimate(texts).calls == 0
    with pytest.raises(LLMError) as caught:
        run_blocking(asking.vectors([*texts, "还没问过的一句"]))
    assert caught.value.kind is LLMErrorKind.BUDGET and len(ledger.calls) == 3
    retriever = HybridRetriever(index(), 3, asking)
    with pytest.raises(LLMError, match="budget"):
        run_blocking(retriever.examples("祝妈妈生日快乐"))
    assert retriever.notice is None, "a budget is no failure of the model"


def test_five_thousand_entries_are_searched_in_milliseconds() -> None:
    made = ExampleIndex.build(
        (f"给{n}岁{who}的生日祝福", LikedGreeting(f"第{n}条：{who}，生日快乐", 1, 0))
        for n in range(500)
        for who in "爸妈哥姐弟妹爷奶姑叔"
    )
    used = []
    for n in range(100):
        began = time.process_time()
        assert len(choose_examples(made, f"祝{n}岁的朋友生日快乐", "", 3)) == 3
        used.append(time.process_time() - began)
    assert sorted(used)[50] < 0.01, json.dumps(used)


def test_an_embedding_call_that_is_broken_off_counts_as_the_most_it_can_have_cost(
    fake_llm: FakeLLM, tmp_path: Path
) -> None:
    fake_llm.script(faults={"hang": 1.0})
    ledger, budget = MemoryLedger(), Budget()
    endpoint = fake_llm.endpoint(price_in=2.0, timeout_s=60)
    asking = EmbeddingClient(endpoint, tmp_path / "vectors.db", budget, FAST, ledger)

    async def broken_off() -> None:
        await asyncio.wait_for(asking.vectors(["祝你平安"]), 0.5)

    with pytest.raises(TimeoutError):
        run_blocking(broken_off())
    (call,) = ledger.calls
    assert call.error is LLMErrorKind.STOPPED and call.usage.tokens_in == budget.token_count > 0
    assert call.cost == budget.total_cost > 0
