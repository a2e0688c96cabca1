"""Values said in words: "不是很好", "not good", "２分", "一". The grammar is small on purpose.

What it does not fully understand it does not read at all: unscored is better than a guess.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backend.llm.fields import Field, FieldKind

_PREFIX = (
    r"(?:我?(?:认为|觉得|判断|判定)|最终|最后|总体(?:上|来说|来看)?|综合(?:来看|判断)?|所以|因此|但是?|更正|修正|"
    r"这(?:条|段|则|个|是)?(?:祝福语?)?|该祝福语?|祝福语?|结论|答案|判定|结果|应?为|"
    r"it'?s |it is |this (?:greeting |one )?is |the (?:greeting|verdict|answer|result) is |"
    r"i (?:would |'d )?(?:say|think) (?:that )?|overall |so |but |final |[:=,])\s*"
)
_NEGATION = (
    r"(?:不够|不太|不怎么|不算是?|不是|不属于|不能算|并不是?|并非|没有?达到|未达到?|未能?|谈不上|称不上|算不上|不|非|"
    r"far from |is not |isn'?t |not |never |hardly |no )\s*"
)
_DEGREE = (
    r"(?:很|非常|十分|比较|挺|相当|特别|太|真|算是?|属于|达到|是|"
    r"at all |exactly |very |really |quite |so |an? |is )\s*"
)
_SUFFIX = r"(?:的|了|水平|标准|祝福语?|分| ?更好| ?胜出?| ?greeting| ?points?| is better| wins)*"
_END = r"(?=$|[\s,.;:!?。，、；：！？()（）\[\]【】{}\"'“”‘’「」*`_…—~])"
_NUMBER = re.compile(rf"(?:{_PREFIX}){{0,4}}([-+]?\d+(?:\.\d+)?)(%?)(?:分|points?)?")
_RANGE = re.compile(r"\s*(?:或者?|or\b|\||到|至|-|~|、|/)\s*\d")
_OUT_OF = re.compile(r"\s*/\s*(\d+)(?!\s*/)")
_NUMERALS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5}
_NUMERALS |= {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


@dataclass(frozen=True)
class Invalid:
    """A value was given, and it is not on the scale."""

    reason: str


def phrase(skeleton: str, field: Field, *, whole: bool) -> Any | Invalid | None:
    """The value that the (folded) text starts with, or consists of where `whole`; None where it says none."""
    given = _NUMBER.match(skeleton)
    if given and (not whole or _finishes(skeleton[given.end() :])):
        return _from_number(given, skeleton[given.end() :], field)
    match = _grammar(tuple(_words(field))).match(skeleton)
    if match is None or (whole and skeleton[match.end() :].strip()):
        return None
    value = _words(field)[match["word"]]
    return field.opposite.get(value) if match["negation"] else value


def on_scale(value: float, field: Field) -> Any | Invalid:
    """The number as the field's value: never clipped, never rounded."""
    if not math.isfinite(value):
        return Invalid("out_of_range")
    whole = int(value) if value == int(value) else value
    if field.kind is FieldKind.CHOICE:
        return field.words.get(str(whole), Invalid("out_of_range"))
    if not field.low <= value <= field.high or (field.kind is FieldKind.INT and whole != int(whole)):
        return Invalid("out_of_range")
    return whole if field.kind is FieldKind.INT else float(value)


def _finishes(rest: str) -> bool:
    return not rest.strip() or _RANGE.fullmatch(rest.strip()) is not None


def _from_number(given: re.Match[str], rest: str, field: Field) -> Any | Invalid | None:
    out_of = _OUT_OF.match(rest)
    if out_of and field.kind is not FieldKind.CHOICE:
        if float(out_of[1]) != field.high:
            return Invalid("out_of_range")
    elif _RANGE.match(rest):
        return None  # "1 或 0", "1-3": the scale repeated, not a verdict
    elif re.match(r"\w", rest):
        return Invalid("not_a_choice")
    if given[2]:
        return Invalid("out_of_range")
    return on_scale(float(given[1]), field)


def _words(field: Field) -> dict[str, Any]:
    if field.kind is FieldKind.CHOICE:
        return {word: value for word, value in field.words.items() if not word.isdigit()}
    return {word: value for word, value in _NUMERALS.items() if field.low <= value <= field.high}


@lru_cache(maxsize=256)
def _grammar(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) or r"(?!)"
    return re.compile(
        rf"(?:{_PREFIX}){{0,4}}(?P<negation>{_NEGATION})?(?:{_DEGREE}){{0,3}}(?P<word>{longest_first}){_SUFFIX}{_END}"
    )
