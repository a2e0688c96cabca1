"""How many greetings a request asks for, and how long they should be."""

import re

from backend.writing.numbers import ENGLISH_NUMBER, HAN_NUMBER, MANY, NUMBER, number
from backend.writing.rules import words

LONGEST_EXACT = 40
"""Nobody counts beyond that: "200字" is a size, not an exact number of characters."""
ABOUT = 1.2
"""How far a text may go beyond a size that was only about right."""

# Counted greetings. 句 counts too ("写三句", "一百句"), but not where it says how to write one ("用三句话"),
# and 几句 or 两句 is simply "a few words". Lines of one verse are no greetings: see `_in_lines`.
_OF_GREETINGS = (
    r"(?:条(?!腿|狗|龙|鱼|命|心)|则|段|篇|首|款|组|份|版(?!本)"
    r"|种(?!类|子|田|树|地|花|菜)|(?:个|种)?(?:不同的?)?版本"
    rf"|个(?!字|汉字|人|月|年|小时|节日|生日|{words('person')})"
    r"(?=[^,。]{0,6}(?:祝福|贺[词语]|祝[词语愿]|吉祥|吉利|金句|短句|句子|寄语|成语|问候))|个$)"
)
_COUNT = re.compile(rf"(?<![第每\d言周])({NUMBER}|几|多|若干|好几)\s*{_OF_GREETINGS}")
_SENTENCES = re.compile(
    rf"(?<![第每\d言用以一二三])(?!两|一两|二三)({NUMBER})\s*句(?!(?:话|子)?(?:以内|之内|以下|左右|内))"
)
VERSE = (4, 8)
"""A verse has so many lines: "四句" and "八句" ask for one text unless they are to be separate."""
_VERSE = re.compile(r"吉祥[话语]|吉利话|吉言|诗|对联|藏头|押韵|顺口溜|口诀|四言|[五七][言律]|绝句|一到十")
_SEPARATE = re.compile(
    r"分别|各(?:[写来给发要一两]|自)|每(?:人|个人|位)|不同|不重复|互不|任选|备选|挑选|[佳金短]句|独立|单独"
)
_COUNT_EN = re.compile(
    rf"(\bseveral\b|\bsome\b|\ba few\b|{ENGLISH_NUMBER})(?:\s+[a-z'-]+){{0,3}}?\s+"
    r"(?:greetings|wishes|messages|versions|blessings|options|variants|texts|sentences|lines|examples|cards)\b",
    re.IGNORECASE,
)

_CHARS = r"\s*个?\s*(?:汉|中文|中国)?字(?!开头|结尾|打头|母|符|路|架|绣|经|典|体|号|画|谜)"
_UP_TO = r"(?:不超过|不要超过|不能超过|别超过|不多于|少于|最多|至多|控制在|限制?在?|低于|小于|不到)"
_MAX_BEFORE = re.compile(rf"{_UP_TO}\s*({NUMBER}){_CHARS}")
_MAX_AFTER = re.compile(rf"({NUMBER}){_CHARS}\s*(?:以内|之内|以下|内|封顶)")
_RANGE = re.compile(rf"{NUMBER}\s*(?:个?字)?\s*(?:到|至|-|~|—|～)\s*({NUMBER}){_CHARS}")
_ABOUT = re.compile(rf"({NUMBER})(?:多|来)?{_CHARS}\s*(?:左右|上下)|(?:大约|大概|约)\s*({NUMBER}){_CHARS}")
_AT_LEAST = re.compile(rf"(?:超过|至少|不少于|多于|大于)\s*{NUMBER}{_CHARS}|{NUMBER}{_CHARS}\s*(?:以上|起步)")
# "几句四字的" and "四字句" name a style, not a length.
_EXACT = re.compile(rf"(?<!生辰)(?<!几[句个])(?<![第数\d])({NUMBER}){_CHARS}(?!一[句字顿]|[短]?句|短语)")
_NEIGHBOURS = re.compile(rf"^(?:一二|两三|二三|三四|四五|五六|六七|七八|八九)$|^{HAN_NUMBER}[多来]$")
_EXACT_EN = re.compile(rf"({ENGLISH_NUMBER})[\s-]+(?:chinese\s+)?characters?\b", re.IGNORECASE)
_MAX_EN = re.compile(
    rf"(?:under|at most|no more than|up to|within|less than|fewer than|max(?:imum)?(?: of)?)\s+"
    rf"({ENGLISH_NUMBER})\s+(?:chinese\s+)?characters",
    re.IGNORECASE,
)


def count_of(text: str) -> int:
    """How many greetings are asked for; 1 where the text does not say."""
    found = [match[1] for match in _COUNT.finditer(text)]
    found += [match[1] for match in _SENTENCES.finditer(text) if not _in_lines(text, match[1])]
    found += [match[1] for match in _COUNT_EN.finditer(text)]
    counts = (number(one) or MANY for one in found)
    return next((count for count in counts if count > 1), 1)


def lengths_of(text: str) -> tuple[int | None, int | None]:
    """Exactly how many characters, and at most how many; None where the text does not say.

    Only one of the two is ever given.
    """
    for pattern in (_MAX_BEFORE, _MAX_AFTER, _RANGE, _MAX_EN):
        if (match := pattern.search(text)) and (limit := number(match[1])):
            return None, limit
    if (match := _ABOUT.search(text)) and (size := number(match[1] or match[2])):
        return None, round(size * ABOUT)
    if _AT_LEAST.search(text):
        return None, None
    return _exact(text)


def _exact(text: str) -> tuple[int | None, int | None]:
    match = _EXACT.search(text) or _EXACT_EN.search(text)
    size = number(match[1]) if match else None
    if match is None or not size:
        return None, None
    if _NEIGHBOURS.search(match[1]):
        return None, size
    return (size, None) if size <= LONGEST_EXACT else (None, round(size * ABOUT))


def _in_lines(text: str, count: str) -> bool:
    """Whether N句 are the lines of one text: a verse's four or eight, or any number of a kind of verse."""
    if _SEPARATE.search(text):
        return False
    return number(count) in VERSE or bool(_VERSE.search(text))


def for_one(text: str) -> str:
    """The request with its count made one: "写十条生日祝福" becomes "写一条生日祝福"."""
    text = _COUNT.sub(lambda match: match[0].replace(match[1], "一", 1), text)
    whole = text
    text = _SENTENCES.sub(
        lambda match: match[0] if _in_lines(whole, match[1]) else match[0].replace(match[1], "一", 1), text
    )
    return _COUNT_EN.sub(lambda match: match[0].replace(match[1], "one", 1), text)
