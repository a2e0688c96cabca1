"""Near-duplicates: the index finds exactly what comparing all pairs finds."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.generation.near_duplicates import (
    GREETING_RULE,
    PROMPT_RULE,
    NearDuplicateIndex,
    SimilarityRule,
    extract_facts,
    jaccard_index,
    normal_greeting,
    normal_prompt,
    text_similarity,
    without_duplicates,
)

TEXTS = st.lists(st.text(alphabet="祝你生日快乐平安12", min_size=0, max_size=14), max_size=40)


def _by_all_pairs(texts: list[str], rule: SimilarityRule) -> list[str | None]:
    kept: list[tuple[str, str]] = []
    found: list[str | None] = []
    for text in texts:
        body = rule.normalise(text)
        grams = _grams(body, rule.ngram_order)
        exact = next((first for first, other in kept if other == body), None)
        near = next(
            (
                first
                for first, other in kept
                if jaccard_index(grams, _grams(other, rule.ngram_order)) >= rule.threshold
                and rule.fixed_facts(other) == rule.fixed_facts(body)
            ),
            None,
        )
        same = exact if exact is not None else near
        found.append(same)
        if same is None:
            kept.append((text, body))
    return found


def _grams(body: str, order: int) -> set[str]:
    padded = f"\x02{body}\x02"
    return {padded[at : at + order] for at in range(max(1, len(padded) - order + 1))}


@settings(max_examples=150)
@given(TEXTS)
def test_nothing_is_missed_and_nothing_invented(texts: list[str]) -> None:
    for rule in (GREETING_RULE, PROMPT_RULE):
        seen = NearDuplicateIndex(rule)
        assert [seen.add_if_new(text) for text in texts] == _by_all_pairs(texts, rule)


def test_nothing_is_missed_after_the_index_learned_anew() -> None:
    draw = random.Random(7)
    clauses = ["".join(draw.choices("愿你岁平安喜乐顺风雨灯花月山海", k=6)) for _ in range(40)]
    texts = ["，".join(draw.choices(clauses, k=4)) for _ in range(900)]
    seen = NearDuplicateIndex()
    assert [seen.add_if_new(text) for text in texts] == _by_all_pairs(texts, GREETING_RULE)
    assert 512 < len(seen) < 900


def test_what_counts_as_the_same() -> None:
    seen = NearDuplicateIndex()
    text = "妈妈，生日快乐！愿您每一天都像今天一样，被爱和笑声包围，身体健康，万事顺心。"
    assert seen.add_if_new(text) is None
    assert seen.add_if_new("妈妈 生日快乐!愿您每一天都像今天一样,被爱和笑声包围,身体健康,万事顺心🎂") == text
    assert seen.add_if_new(text.replace("万事顺心", "万事如意")) == text
    assert seen.find_similar("妈，生日快乐。厨房今天归我，您只管坐着等长寿面。") is None
    assert len(seen) == 1


def test_requests_that_differ_in_a_number_or_a_person_are_different() -> None:
    seen = NearDuplicateIndex(PROMPT_RULE)
    assert seen.add_if_new("22岁生日祝福语") is None
    assert seen.add_if_new("2岁生日祝福语") is None
    assert seen.add_if_new("22岁的生日祝福 大全") == "22岁生日祝福语"
    assert seen.add_if_new("想给正在外地上大学读研究生的儿子写一段简短的生日祝福语") is None
    assert seen.add_if_new("想给正在外地上大学读研究生的女儿写一段简短的生日祝福语") is None
    assert seen.add_if_new("2025年新年祝福语") is None and seen.add_if_new("2025年的祝福语") is None
    assert normal_prompt("请帮我写一条给妈妈的生日祝福语吧") == normal_prompt("给妈妈的生日祝福")


def test_counting_what_came_again() -> None:
    kept, again = without_duplicates(["祝你生日快乐", "祝你生日快乐！", "新年好", "祝你 生日快乐"])
    assert kept == ["祝你生日快乐", "新年好"] and again == {"祝你生日快乐": 2}


def test_how_alike_two_texts_are_by_hand() -> None:
    # 3-grams with edges: ^甲乙 甲乙丙 乙丙丁 丙丁$, and ^甲乙 甲乙丙 乙丙$: two of five.
    assert text_similarity("甲乙丙丁", "甲乙丙") == pytest.approx(2 / 5)
    assert (
        text_similarity("甲乙", "丙丁") == 0.0
        and text_similarity("", "") == 1.0
        and text_similarity("甲", "甲！") == 1.0
    )
    # 2-grams: ^甲 甲乙 乙$ and ^甲 甲$: one of four.
    assert text_similarity("甲乙", "甲", PROMPT_RULE) == pytest.approx(1 / 4)
    assert jaccard_index(set(), set()) == 1.0 and jaccard_index({"a"}, set()) == 0.0
    assert jaccard_index({"a", "b"}, {"b", "c", "d"}) == pytest.approx(1 / 4)
    assert (
        GREETING_RULE.ngram_order,
        GREETING_RULE.threshold,
        PROMPT_RULE.ngram_order,
        PROMPT_RULE.threshold,
    ) == (3, 0.7, 2, 0.8)


def test_texts_at_the_threshold_are_the_same_and_just_below_are_not() -> None:
    def two(shared: int, own: int) -> tuple[str, str]:
        """Texts with `shared` 1-grams in common and `own` more in the second; the edge is shared too."""
        common = "".join(chr(0x4E00 + n) for n in range(shared - 1))
        return common, common + "".join(chr(0x5E00 + n) for n in range(own))

    rule = SimilarityRule(normal_greeting, ngram_order=1, threshold=0.7)
    for shared, own, same in ((7, 3, True), (14, 6, True), (7, 4, False), (13, 6, False)):
        for first, second in (two(shared, own), two(shared, own)[::-1]):
            seen = NearDuplicateIndex(rule)
            assert seen.add_if_new(first) is None
            assert seen.find_similar(second) == (first if same else None) and len(seen) == 1
            assert seen.add_if_new(second) == (first if same else None) and len(seen) == (1 if same else 2)


def test_the_first_of_several_is_named_and_what_is_fixed_must_agree() -> None:
    seen = NearDuplicateIndex(
        SimilarityRule(normal_greeting, ngram_order=1, threshold=0.5, fixed_facts=lambda body: body[-1:])
    )
    for text in ("甲乙丙丁", "甲乙丙戊", "甲乙己丁"):
        assert seen.add_if_new(text) is None or text == "甲乙己丁"
    assert seen.add_if_new("甲乙庚丁") == "甲乙丙丁" and seen.find_similar("甲乙辛戊") == "甲乙丙戊"
    assert seen.add_if_new("甲乙丙壬") is None


def test_the_forms_that_are_compared() -> None:
    assert normal_greeting("祝 ＡＢ_c，１２！🎂") == "祝abc12"
    for text, body in (
        ("请帮我写一条祝福语", "祝福"),
        ("能不能给我来一段贺词吗", "祝福"),
        ("吉祥话大全", "祝福"),
        ("的", "的"),
        ("写作的祝词", "写作祝福"),
    ):
        assert normal_prompt(text) == body
    assert extract_facts("22岁儿子生日") == (Counter({"22": 1, "儿子": 1}), "生日")
    assert extract_facts("三三三") != extract_facts("三") and extract_facts("无") == (Counter(), None)
