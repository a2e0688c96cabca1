"""How many greetings a request asks for, and how long they should be."""

import re

from backend.writing.numbers import (
    ENGLISH_NUMBER_PATTERN,
    HAN_NUMBER_PATTERN,
    NUMBER_PATTERN,
    SEVERAL_COUNT,
    parse_number,
)
from backend.writing.rules import word_pattern

LONGEST_EXACT = 40
"""Nobody counts beyond that: "200字" is a size, not an exact number of characters."""
ABOUT_FACTOR = 1.2
"""How far a text may go beyond a size that was only about right."""

# Counted greetings. 句 counts too ("写三句", "一百句"), but not where it says how to write one ("用三句话"),
# and 几句 or 两句 is simply "a few words". Lines of one verse are no greetings: see `_in_lines`.
_GREETING_UNITS = (
    r"(?:条(?!腿|狗|龙|鱼|命|心)|则|段|篇|首|款|组|份|版(?!本)"
    r"|种(?!类|子|田|树|地|花|菜)|(?:个|种)?(?:不同的?)?版本"
    rf"|个(?!字|汉字|人|月|年|小时|节日|生日|{word_pattern('person')})"
    r"(?=[^,。]{0,6}(?:祝福|贺[词语]|祝[词语愿]|吉祥|吉利|金句|短句|句子|寄语|成语|问候))|个$)"
)
_GREETING_COUNT = re.compile(rf"(?<![第每\d言周])({NUMBER_PATTERN}|几|多|若干|好几)\s*{_GREETING_UNITS}")
_SENTENCE_COUNT = re.compile(
    rf"(?<![第每\d言用以一二三])(?!两|一两|二三)({NUMBER_PATTERN})\s*句(?!(?:话|子)?(?:以内|之内|以下|左右|内))"
)
VERSE_LINES = (4, 8)
"""A verse has so many lines: "四句" and "八句" ask for one text unless they are to be separate."""
_VERSE_WORDS = re.compile(r"吉祥[话语]|吉利话|吉言|诗|对联|藏头|押韵|顺口溜|口诀|四言|[五七][言律]|绝句|一到十")
_SEPARATE_WORDS = re.compile(
    r"分别|各(?:[写来给发要一两]|自)|每(?:人|个人|位)|不同|不重复|互不|任选|备选|挑选|[佳金短]句|独立|单独"
)
_ENGLISH_COUNT = re.compile(
    rf"(\bseveral\b|\bsome\b|\ba few\b|{ENGLISH_NUMBER_PATTERN})(?:\s+[a-z'-]+){{0,3}}?\s+"
    r"(?:greetings|wishes|messages|versions|blessings|options|variants|texts|sentences|lines|examples|cards)\b",
    re.IGNORECASE,
)

_CHARACTERS = r"\s*个?\s*(?:汉|中文|中国)?字(?!开头|结尾|打头|母|符|路|架|绣|经|典|体|号|画|谜)"
_UP_TO_WORDS = r"(?:不超过|不要超过|不能超过|别超过|不多于|少于|最多|至多|控制在|限制?在?|低于|小于|不到)"
_LIMIT_BEFORE_NUMBER = re.compile(rf"{_UP_TO_WORDS}\s*({NUMBER_PATTERN}){_CHARACTERS}")
_LIMIT_AFTER_NUMBER = re.compile(rf"({NUMBER_PATTERN}){_CHARACTERS}\s*(?:以内|之内|以下|内|封顶)")
_LENGTH_RANGE = re.compile(rf"{NUMBER_PATTERN}\s*(?:个?字)?\s*(?:到|至|-|~|—|～)\s*({NUMBER_PATTERN}){_CHARACTERS}")
_ABOUT_LENGTH = re.compile(
    rf"({NUMBER_PATTERN})(?:多|来)?{_CHARACTERS}\s*(?:左右|上下)|(?:大约|大概|约)\s*({NUMBER_PATTERN}){_CHARACTERS}"
)
_AT_LEAST_LENGTH = re.compile(
    rf"(?:超过|至少|不少于|多于|大于)\s*{NUMBER_PATTERN}{_CHARACTERS}|{NUMBER_PATTERN}{_CHARACTERS}\s*(?:以上|起步)"
)
# "几句四字的" and "四字句" name a style, not a length.
_EXACT_LENGTH = re.compile(
    rf"(?<!生辰)(?<!几[句个])(?<![第数\d])({NUMBER_PATTERN}){_CHARACTERS}(?!一[句字顿]|[短]?句|短语)"
)
_NEIGHBOURING_NUMBERS = re.compile(rf"^(?:一二|两三|二三|三四|四五|五六|六七|七八|八九)$|^{HAN_NUMBER_PATTERN}[多来]$")
_ENGLISH_EXACT_LENGTH = re.compile(rf"({ENGLISH_NUMBER_PATTERN})[\s-]+(?:chinese\s+)?characters?\b", re.IGNORECASE)
_ENGLISH_MAX_LENGTH = re.compile(
    rf"(?:under|at most|no more than|up to|within|less than|fewer than|max(?:imum)?(?: of)?)\s+"
    rf"({ENGLISH_NUMBER_PATTERN})\s+(?:chinese\s+)?characters",
    re.IGNORECASE,
)


def requested_count(request_text: str) -> int:
    """How many greetings are asked for; 1 where the text does not say."""
    count_texts = [count_match[1] for count_match in _GREETING_COUNT.finditer(request_text)]
    count_texts += [
        count_match[1]
        for count_match in _SENTENCE_COUNT.finditer(request_text)
        if not _is_one_verse(request_text, count_match[1])
    ]
    count_texts += [count_match[1] for count_match in _ENGLISH_COUNT.finditer(request_text)]
    parsed_counts = (parse_number(count_text) or SEVERAL_COUNT for count_text in count_texts)
    return next((parsed_count for parsed_count in parsed_counts if parsed_count > 1), 1)


def requested_lengths(request_text: str) -> tuple[int | None, int | None]:
    """Exactly how many characters, and at most how many; None where the text does not say.

    Only one of the two is ever given.
    """
    for length_pattern in (_LIMIT_BEFORE_NUMBER, _LIMIT_AFTER_NUMBER, _LENGTH_RANGE, _ENGLISH_MAX_LENGTH):
        if (length_match := length_pattern.search(request_text)) and (max_length := parse_number(length_match[1])):
            return None, max_length
    if (length_match := _ABOUT_LENGTH.search(request_text)) and (
        about_length := parse_number(length_match[1] or length_match[2])
    ):
        return None, round(about_length * ABOUT_FACTOR)
    if _AT_LEAST_LENGTH.search(request_text):
        return None, None
    return _exact_lengths(request_text)


def _exact_lengths(request_text: str) -> tuple[int | None, int | None]:
    length_match = _EXACT_LENGTH.search(request_text) or _ENGLISH_EXACT_LENGTH.search(request_text)
    exact_length = parse_number(length_match[1]) if length_match else None
    if length_match is None or not exact_length:
        return None, None
    if _NEIGHBOURING_NUMBERS.search(length_match[1]):
        return None, exact_length
    return (exact_length, None) if exact_length <= LONGEST_EXACT else (None, round(exact_length * ABOUT_FACTOR))


def _is_one_verse(request_text: str, count_text: str) -> bool:
    """Whether N句 are the lines of one text: a verse's four or eight, or any number of a kind of verse."""
    if _SEPARATE_WORDS.search(request_text):
        return False
    return parse_number(count_text) in VERSE_LINES or bool(_VERSE_WORDS.search(request_text))


def for_one_greeting(request_text: str) -> str:
    """The request with its count made one: "写十条生日祝福" becomes "写一条生日祝福"."""
    request_text = _GREETING_COUNT.sub(lambda match: match[0].replace(match[1], "一", 1), request_text)
    without_counts = request_text
    request_text = _SENTENCE_COUNT.sub(
        lambda match: match[0] if _is_one_verse(without_counts, match[1]) else match[0].replace(match[1], "一", 1),
        request_text,
    )
    return _ENGLISH_COUNT.sub(lambda match: match[0].replace(match[1], "one", 1), request_text)
