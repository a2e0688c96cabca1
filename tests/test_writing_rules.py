"""The rules of writing at their edges: numbers, counts, sizes, ages, names, loops, brackets."""

import re
from pathlib import Path
from typing import Any

import pytest

from backend.core.settings import PROJECT_ROOT
from backend.generation.checks import (
    LONGEST_GREETING,
    Fault,
    clean_greeting,
    find_fault,
    find_invented_name,
    numbered_lines,
    other_number,
)
from backend.generation.request import (
    ABOUT_FACTOR,
    LONGEST_REQUEST,
    SEVERAL_COUNT,
    GreetingRequest,
    RefusalReason,
    detect_language,
    for_one_greeting,
    parse_number,
    parse_request,
    requested_count,
    requested_lengths,
)
from backend.generation.rules import compiled_rule, word_pattern


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        (" 12 ", 12),
        ("１２", 12),
        ("零", 0),
        ("〇", 0),
        ("一", 1),
        ("两", 2),
        ("俩", 2),
        ("仨", 3),
        ("九", 9),
        ("十", 10),
        ("十二", 12),
        ("二十", 20),
        ("三百六十五", 365),
        ("一百零五", 105),
        ("两千", 2_000),
        ("千", 1_000),
        ("百二", 102),
        ("七八", 8),
        ("五一四", 4),
        ("one", 1),
        ("An", 1),
        ("a", 1),
        ("TWENTY", 20),
        ("twelve", 12),
        ("thirty", 30),
        ("forty", 40),
        ("fifty", 50),
        ("hundred", 100),
        ("dozen", 12),
        ("", None),
        ("几", None),
        ("十个", None),
        ("ten more", None),
        ("-3", None),
    ],
)
def test_numbers_as_people_write_them(text: str, value: int | None) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("生日祝福", 1),
        ("写一条生日祝福", 1),
        ("写两条生日祝福", 2),
        ("写10条生日祝福", 10),
        ("写几条生日祝福", SEVERAL_COUNT),
        ("来若干条", SEVERAL_COUNT),
        ("给我三句祝福", 3),
        ("写四句祝福", 1),
        ("写八句祝福", 1),
        ("写四句不同的祝福", 4),
        ("写五句祝福", 5),
        ("写五句藏头诗", 1),
        ("五句话以内的祝福", 1),
        ("three birthday greetings", 3),
        ("several warm wishes", SEVERAL_COUNT),
        ("one greeting, then five wishes", 5),
        ("写一条祝福，再写三条贺词", 3),
    ],
)
def test_how_many_are_asked_for(text: str, count: int) -> None:
    assert requested_count(text) == count


@pytest.mark.parametrize(
    ("text", "exact", "most"),
    [
        ("生日祝福", None, None),
        ("二十字以内", None, 20),
        ("不超过30字", None, 30),
        ("10到20字", None, 20),
        ("at most 25 characters", None, 25),
        ("50字左右", None, 60),
        ("大约40字", None, 48),
        ("30多字左右", None, 36),
        ("至少50字", None, None),
        ("50字以上", None, None),
        ("四个字祝福", 4, None),
        ("40字祝福", 40, None),
        ("41字祝福", None, round(41 * ABOUT_FACTOR)),
        ("七八个字的祝福", None, 8),
        ("ten characters", 10, None),
        ("零字", None, None),
    ],
)
def test_how_long_it_should_be(text: str, exact: int | None, most: int | None) -> None:
    assert requested_lengths(text) == (exact, most)


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("写十条生日祝福", "写一条生日祝福"),
        ("写三句祝福", "写一句祝福"),
        ("写四句祝福", "写四句祝福"),
        ("写五句藏头诗", "写五句藏头诗"),
        ("write three birthday wishes", "write one birthday wishes"),
        ("两条给爸爸，两条给妈妈", "一条给爸爸，一条给妈妈"),
        ("生日祝福", "生日祝福"),
    ],
)
def test_a_request_for_many_becomes_one_for_one(text: str, one: str) -> None:
    assert for_one_greeting(text) == one


@pytest.mark.parametrize(
    ("request_text", "text", "found"),
    [
        ("奶奶八十大寿", "祝您八十大寿快乐", None),
        ("奶奶八十大寿", "祝您八十一大寿快乐", "八十一大寿"),
        ("奶奶八十大寿", "奶奶八十岁生日快乐", None),
        ("奶奶大寿", "祝您八十大寿快乐", None),
        ("66大寿", "六六大寿", None),
        ("66大寿", "六七大寿", "六七大寿"),
        ("67大寿", "六六大寿", "六六大寿"),
        ("八十大寿", "愿您百岁华诞再聚", None),
        ("三十岁生日", "三十周年快乐", None),
        ("三十周年", "二十周年快乐，愿你们四十岁生日快乐", "二十周年"),
        ("三十周年", "满四十岁", None),
        ("三十岁和二十周年", "三十岁生日快乐，二十周年快乐", None),
        ("三十岁和二十周年", "二十岁生日快乐", "二十岁生日"),
        ("6岁生日", "恭喜满六岁", None),
        ("6岁生日", "恭喜满七周岁", "满七周岁"),
        ("6岁生日", "又满七岁，永远七岁生日", None),
    ],
)
def test_another_age_than_the_one_named(request_text: str, text: str, found: str | None) -> None:
    assert other_number(request_text, text) == found


@pytest.mark.parametrize(
    ("request_text", "text", "name"),
    [
        ("给老板拜年", "王总，新年好", "王总"),
        ("给王总拜年", "王总，新年好", None),
        ("给姓王的老板拜年", "王总，新年好", None),
        ("给王姓老板拜年", "王总，新年好", None),
        ("给李总拜年", "王总，新年好", "王总"),
        ("给朋友的生日祝福", "亲爱的小明，生日快乐", "小明"),
        ("生日祝福 for lily", "亲爱的Lily，生日快乐", None),
        ("生日祝福", "亲爱的Lily，生日快乐", "Lily"),
        ("生日祝福", "张老师好，李阿姨好", "张老师"),
        ("给张老师", "张老师好，李阿姨好", "李阿姨"),
        ("生日祝福", "生日快乐", None),
    ],
)
def test_names_that_nobody_told(request_text: str, text: str, name: str | None) -> None:
    assert find_invented_name(request_text, text) == name


# Faults -----------------------------------------------------------------------------------------------


def fault(text: str, asked: str = "生日祝福", **wish: Any) -> Fault | None:
    return find_fault(GreetingRequest(asked, **wish), text)


def han(count: int, start: int = 0x4E00) -> str:
    """`count` different Chinese characters without sense."""
    return "".join(chr(start + n) for n in range(count))


def kana(count: int) -> str:
    return "".join(chr(0x3041 + n) for n in range(count))


def test_a_text_of_marks_is_garbage_from_one_half_on() -> None:
    assert fault("平安#") is None and fault("平安##") is None and fault("平安###") is Fault.GARBAGE
    assert fault("快乐平安🎂🎂🎂🎂🎂🎂") is None, "pictures are no garbage"
    assert fault("🎂") is Fault.EMPTY and fault("_") is Fault.EMPTY and fault("好") is None


def test_foreign_letters_and_words_up_to_their_share() -> None:
    assert fault(f"{han(8)}ひら") is None and fault(f"{han(7)}ひら") is Fault.WRONG_LANGUAGE
    assert fault(f"{han(4)} my dear") is None and fault(f"{han(3)} my dear") is Fault.WRONG_LANGUAGE
    english = "Happy birthday to you"
    assert fault(english, language="en") is None and fault(english) is Fault.WRONG_LANGUAGE
    assert fault(f"{english} {kana(10)}", language="en") is None
    assert fault(f"{english} {kana(11)}", language="en") is Fault.WRONG_LANGUAGE
    mixed = f"{han(11)} {kana(11)}"
    assert fault(mixed, language="en") is None, "no more foreign letters than Chinese ones"


def test_who_says_only_the_request_repeats_it() -> None:
    assert fault("祝你生日快乐！", "祝你生日快乐") is Fault.REPEATS_PROMPT
    assert fault("生日快乐", "祝你生日快乐") is Fault.REPEATS_PROMPT
    assert fault("生日快乐", "生日快乐四字", exact_chars=4) is None
    asking = "给外婆的祝福语"
    assert fault(f"{asking}：外婆好", asking) is Fault.REPEATS_PROMPT
    assert fault("祝福语：外婆好", "祝福语") is None, "too short to be told from an answer"
    assert fault("祝外婆长命百岁，福寿安康", "祝外婆长命百岁") is None, "no request to write"
    assert fault("给外婆祝福语：外婆好", "给外婆祝福语") is Fault.REPEATS_PROMPT, "six characters"
    assert fault("外婆祝福语：外婆好", "外婆祝福语") is None, "five"


def test_several_texts_where_one_was_asked_for() -> None:
    for text in (
        "1. 快乐\n2. 平安",
        "版本一：快乐 版本二：平安",
        "1、快乐。2、平安。3、健康",
        "- 快乐\n- 平安",
    ):
        assert fault(text) is Fault.SEVERAL and fault(text, count=2) is None
    for text in (
        "1. 快乐\n平安",
        "版本一：快乐 版本一：平安",
        "2、快乐。3、平安",
        "1、快乐。3、平安",
        "1、快乐",
    ):
        assert fault(text) is None


def test_what_is_left_to_be_filled_in() -> None:
    assert fault("亲爱的[名字]，生日快乐") is Fault.PLACEHOLDER
    assert fault("亲爱的[名字]，生日快乐", "给[名字]的祝福") is None
    assert fault("[名字]和[昵称]，生日快乐", "给[名字]的祝福") is Fault.PLACEHOLDER


def test_loops_begin_where_the_rule_says() -> None:
    a, b, c = han(4), han(4, 0x5E00), han(4, 0x6E00)
    assert fault(f"{a}，{b}，{a}，{c}") is None, "a clause said twice"
    assert fault(f"{a}，{a}，{han(60, 0x7000)}，{a}") is Fault.REPETITIVE, "three times"
    assert fault(f"{a[:3]}，{a[:3]}，{han(60, 0x7000)}，{a[:3]}") is None, "three characters are no clause"
    assert fault(f"{han(8)}。{han(8)}。{han(60, 0x7000)}") is Fault.REPETITIVE, "a sentence said twice"
    assert fault(f"{han(7)}。{han(7)}。{han(60, 0x7000)}") is None, "seven characters"
    # Four times a stretch of four is 16 characters: a loop in a text of 39, none in one of 40.
    inside = "，".join(f"{chr(0x6000 + n)}{a}{chr(0x6100 + n)}" for n in range(4))
    assert fault(f"{inside}{han(15, 0x7000)}") is Fault.REPETITIVE
    assert fault(f"{inside}{han(16, 0x7000)}") is None
    three = "，".join(f"{chr(0x6000 + n)}{a}{chr(0x6100 + n)}" for n in range(3))
    assert fault(three) is None, "three times are no loop"


def test_lengths_to_the_character() -> None:
    assert fault(han(LONGEST_GREETING)) is None and fault(han(LONGEST_GREETING + 1)) is Fault.TOO_LONG
    for size, wrong in ((7, True), (8, False), (9, True)):
        assert (fault(han(size), exact_chars=8) is Fault.WRONG_LENGTH) is wrong
    assert fault(f"{han(4)}，{han(4, 0x5E00)}！", exact_chars=8) is None, "marks do not count"
    assert fault(han(8), max_chars=8) is None and fault(han(9), max_chars=8) is Fault.WRONG_LENGTH


def test_four_characters_may_be_several_phrases() -> None:
    two = "福星高照，万事顺遂"
    assert fault(two, "四字祝福", exact_chars=4) is None
    assert fault(two, "四个字祝福", exact_chars=4) is Fault.WRONG_LENGTH
    assert fault(two, "四字祝福", exact_chars=5) is Fault.WRONG_LENGTH
    assert fault(f"妈妈，{two}", "4字祝福", exact_chars=4) is None, "after an address"
    assert fault("妈妈，福星高照", "四字祝福", exact_chars=4) is Fault.WRONG_LENGTH, "of one phrase none"
    assert fault(f"愿妈妈，{two}", "四字祝福", exact_chars=4) is Fault.WRONG_LENGTH
    assert fault("福星高照，平安", "四字祝福", exact_chars=4) is Fault.WRONG_LENGTH


@pytest.mark.parametrize("pair", ["“”", "（）", "《》", "「」", "『』", "()"])
def test_what_is_opened_is_closed(pair: str) -> None:
    assert fault(f"愿{pair[0]}你{pair[1]}平安") is None
    assert fault(f"愿{pair[0]}你平安") is Fault.CUT
    assert fault(f"愿你{pair[1]}平安") is None


def test_a_text_that_goes_on_is_cut() -> None:
    for text in ("愿你平安，", "愿你平安、 ", "愿你平安：", "愿你健康以及", "愿你平安，因为", "愿我与"):
        assert fault(text) is Fault.CUT
    assert fault("愿你善始善终与") is None or fault("愿你善终与") is None


def test_the_first_fault_is_the_one_that_is_told() -> None:
    assert fault("") is Fault.EMPTY
    assert fault("王总，祝您", "给老板拜年", exact_chars=9) is Fault.WRONG_LENGTH
    assert fault("王总，新年好", "给老板拜年") is Fault.INVENTED_NAME
    assert fault("满八岁啦", "侄子6岁生日") is Fault.WRONG_NUMBER


# What is taken off, and what is read ----------------------------------------------------------------------


def test_lines_with_a_number_or_a_bullet() -> None:
    text = "1. 甲\n 2、乙\n（三）丙\n- 丁\n• 戊\n3.5 己\n庚\n10) 辛"
    assert numbered_lines(text) == ["1. 甲", " 2、乙", "（三）丙", "- 丁", "• 戊", "10) 辛"]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("「生日快乐」", "生日快乐"),
        ("“”", "“”"),
        ("“好”", "好"),
        ("**“”**", "“”"),
        ("“甲”和“乙”", "“甲”和“乙”"),
        ("“生日快乐", "“生日快乐"),
        ("1. “生日快乐”", "生日快乐"),
        ("```text\n生日快乐\n```", "生日快乐"),
        ("**生日**快乐", "生日快乐"),
        ("生日快乐</s><|im_end|>", "生日快乐"),
        ("好的，以下是祝福：\n生日快乐\n\n希望您能喜欢", "生日快乐"),
        ("祝福语：文案：生日快乐", "生日快乐"),
        ("祝福语：", "祝福语："),
        ("\u200b生日\ufeff快乐", "生日快乐"),
        ("要温馨</think>生日快乐", "生日快乐"),
    ],
)
def test_cleaning_by_hand(text: str, cleaned: str) -> None:
    assert clean_greeting(text) == cleaned


def test_a_request_is_read_as_a_whole() -> None:
    assert parse_request(" 写三条\u200b  生日祝福，二十字以内 ") == GreetingRequest(
        "写三条 生日祝福，二十字以内", "zh", 3, None, 20, None
    )
    assert parse_request("八字春节祝福") == GreetingRequest("八字春节祝福", "zh", 1, 8, None, None)
    long = parse_request("祝" * (LONGEST_REQUEST + 1))
    assert long == GreetingRequest("祝" * LONGEST_REQUEST, "zh", refusal=RefusalReason.TOO_LONG)
    assert parse_request("happy " * LONGEST_REQUEST).language == "en"
    assert parse_request("生日祝福" + "好" * (LONGEST_REQUEST - 4)).refusal is not RefusalReason.TOO_LONG
    for text, refusal in (
        ("", RefusalReason.EMPTY),
        ("123", RefusalReason.NO_WORDS),
        ("写一份年终总结", RefusalReason.NOT_A_GREETING),
        ("write a poem about the sea", RefusalReason.NOT_A_GREETING),
        ("用PYTHON写生日祝福", RefusalReason.NOT_A_GREETING),
        ("a birthday wish for my mother", None),
    ):
        assert parse_request(text).refusal is refusal


def test_the_language_of_a_request() -> None:
    assert detect_language("happy birthday 生日") == "zh" and detect_language("happy birthday dear 生日") == "en"
    assert detect_language("") == "zh" and detect_language("x 生") == "zh"


@pytest.mark.parametrize(
    "file", sorted((PROJECT_ROOT / "backend/generation/rule_lists").glob("*.txt")), ids=lambda one: one.stem
)
def test_a_word_list_is_its_lines_without_comments(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("# ")]
    made = word_pattern(file.stem)
    assert all(line in made for line in wanted if "{" not in line) and made.startswith("(?:")
    assert not any(line in made for line in lines if line.startswith("# "))
    assert "{name}" not in made and compiled_rule(file.stem) is compiled_rule(file.stem)
    assert compiled_rule(file.stem).flags & re.IGNORECASE
