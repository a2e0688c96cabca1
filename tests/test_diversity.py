"""Diversity against constants derived by hand, a plain reference of BLEU, and the research data."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.generation.diversity import (
    UNNAMED_CREDIT,
    build_profile,
    distinct_n,
    first_characters,
    prompt_fit,
    repetition_share,
    self_bleu,
)

BODIES = st.lists(st.text("甲乙丙丁", min_size=1, max_size=12), min_size=2, max_size=6)


def bleu(text: str, others: list[str], n: int) -> float:
    """BLEU as Papineni et al. write it, with 0.1 for a count of 0 above unigrams."""
    log = 0.0
    for order in range(1, n + 1):
        own = Counter(text[i : i + order] for i in range(len(text) - order + 1))
        best: Counter[str] = Counter()
        for other in others:
            best |= Counter(other[i : i + order] for i in range(len(other) - order + 1))
        matched: float = sum((own & best).values())
        if not matched and order == 1:
            return 0.0
        log += math.log((matched or 0.1) / max(1, sum(own.values()))) / n
    closest = min((len(other) for other in others), key=lambda size: (abs(size - len(text)), size))
    return math.exp(log) * (1.0 if len(text) > closest else math.exp(1 - closest / len(text)))


@given(BODIES, st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_self_bleu_is_the_mean_bleu_against_all_others(bodies: list[str], n: int) -> None:
    expected = [bleu(body, bodies[:i] + bodies[i + 1 :], n) for i, body in enumerate(bodies)]
    assert self_bleu(bodies, n) == pytest.approx(sum(expected) / len(expected))


def test_self_bleu_by_hand() -> None:
    assert self_bleu(["ABCD", "AB XY"], 2) == pytest.approx(math.sqrt(1 / 2 * 1 / 3))
    assert self_bleu(["AAA", "AB"], 1) == pytest.approx((1 / 3 + 0.5 * math.exp(-0.5)) / 2)
    assert self_bleu(["岁岁平安", "岁岁平安"]) == 1.0
    assert self_bleu(["甲", "乙"]) == 0.0
    assert math.isnan(self_bleu(["只有一条", "", " "]))


def test_distinct_by_hand() -> None:
    assert distinct_n(["ABAB"], 1) == 2 / 4
    assert distinct_n(["AB AB"], 2) == 2 / 3
    assert distinct_n(["AB", "AB", "CD"], 2) == 2 / 3
    assert math.isnan(distinct_n(["A", ""], 2))


def test_repetition_by_hand() -> None:
    assert repetition_share("ABCDEF") == 0.0
    assert repetition_share("ABCABC") == 1.0
    assert repetition_share("AAAA") == 1.0
    assert repetition_share("ABXAB") == 4 / 5
    assert repetition_share("甲") == 0.0
    assert math.isnan(repetition_share(" \n"))


@given(st.text("甲乙", min_size=1, max_size=14))
@settings(max_examples=150, deadline=None)
def test_repetition_finds_the_longest_repeat(body: str) -> None:
    longest = max(size for size in range(len(body)) if size == 0 or _twice(body, size))
    assert repetition_share(body) == pytest.approx(2 * longest / len(body))


def _twice(body: str, size: int) -> bool:
    spans = range(len(body) - size + 1)
    return any(body[i : i + size] == body[j : j + size] for i in spans for j in spans if j - i >= size)


def test_fit_by_hand() -> None:
    assert prompt_fit("送给妈妈的生日祝福语", "妈妈，生日快乐！") == 1.0
    assert prompt_fit("送给妈妈的生日祝福语", "同事，新年快乐！") == 0.0
    # Birthday is named, the mother is not, and of the bigrams 妈妈 and 生日 one is echoed.
    assert prompt_fit("送给妈妈的生日祝福语", "生日快乐！") == pytest.approx((1 + UNNAMED_CREDIT + 0.5) / 3)
    assert prompt_fit("送给妈妈的生日祝福语", " ") == 0.0
    assert math.isnan(prompt_fit("祝福语", "岁岁平安"))


def test_a_text_that_fits_everybody_fits_worse() -> None:
    prompt = "祝爷爷八十大寿"
    good = "爷爷，八十大寿快乐，愿您福如东海！"
    collapsed = "像星辰般璀璨，像星辰般闪耀，像星辰般闪耀"
    wrong = "亲爱的同事，恭喜升职！"
    assert prompt_fit(prompt, good) > prompt_fit(prompt, collapsed) > prompt_fit(prompt, wrong)


def test_profile_names_what_a_collapse_changes() -> None:
    prompts = ["送给妈妈的生日祝福语", "祝同事升职", "新婚祝福"]
    healthy = build_profile(prompts, ["妈妈，生日快乐！", "恭喜升职，同事们为你高兴。", "新婚快乐，白头偕老。"])
    collapsed = build_profile(prompts, ["像星辰般闪耀，像星辰般闪耀，" * 3] * 3)
    assert healthy.n == 3 and healthy.length == pytest.approx((8 + 13 + 10) / 3) and healthy.empty == 0
    assert collapsed.length > healthy.length
    assert collapsed.distinct_2 < healthy.distinct_2 / 2
    assert collapsed.self_bleu_4 == 1.0 and collapsed.repetition > 0.9
    assert collapsed.fit < healthy.fit / 2
    assert build_profile(prompts, ["", "", ""]).empty == 1.0


@pytest.mark.data
@pytest.mark.parametrize(("file", "asked", "said"), [("sft_data.json", "instruction", "output")])
def test_fit_separates_answers_from_answers_to_others(research_data: Path, file: str, asked: str, said: str) -> None:
    rows = json.loads((research_data / file).read_text(encoding="utf-8"))
    random.Random(0).shuffle(rows)
    own = _known(prompt_fit(row[asked], row[said]) for row in rows)
    other = _known(prompt_fit(rows[i - 1][asked], row[said]) for i, row in enumerate(rows))
    assert _auc(own, other) >= 0.85


def _known(values) -> list[float]:  # type: ignore[no-untyped-def]
    return [value for value in values if not math.isnan(value)]


def _auc(high: list[float], low: list[float]) -> float:
    count = Counter(low)
    below = {value: sum(n for other, n in count.items() if other < value) for value in set(high)}
    return sum(below[value] + count[value] / 2 for value in high) / (len(high) * len(low))


def test_the_first_texts_of_so_many_characters() -> None:
    texts = ["甲乙", "丙 丁\n戊", "己"]
    assert first_characters(texts, 5) == texts[:2]
    assert first_characters(texts, 4) == texts[:1]
    assert first_characters(texts, 1) == []
