"""A value said in one clause, and in nothing but that clause: "不是很好", "not good", "２分", "一".

The grammar is small on purpose. A clause that it does not cover from the first character to the last says
nothing: unscored is better than a guess.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backend.llm.comparisons import compared
from backend.llm.fields import Field, FieldKind

LONGEST = 80
"""Characters of a clause that may still be a value."""
_PREFIX = (
    r"(?:我(?:的)?(?:认为|觉得|判断|判定|认定|选择?|投)?|最终的?|最后|(?:总体|整体)(?:上|来说|来看|而言)?|综合(?:来看|判断)?|"
    r"综上(?:所述)?|总之|总的来说|所以|因此|故|但是?+|不过|然而|其实|实际上?|更正为?|修正为?|改为|改成|改判为?|"
    r"这(?:一)?(?:条|段|则|个|是|篇)?(?:祝福语?)?|(?:该|本|此)(?:条|段|则)?(?:祝福语?)?|祝福语?|"
    r"更好的(?:一条|那条)?(?:是|为)?|结论|答案|判定|判断|结果|评价|应?为|应该?(?:是|为|判)|应当(?:是|为|判)|"
    r"it'?s |it is |(?:it|this|(?:this|the) greeting) (?=is not|isn|was)|this (?:greeting |one |"
    r"message )?is |the (?:final )?(?:greeting|verdict|answer|result|message) is |"
    r"i (?:would |'d )?(?:say|think) (?:that )?|overall |so |but |however |therefore |actually |final |"
    r"and |[:=,])\s*"
)
_NEGATION = (
    r"(?:不够|不太|不怎么|不算是?|不是|不属于|不能算是?|并不是?|并非|绝不|没有?达到|没有?|未达到?|未能?|"
    r"谈不上|称不上|算不上|说不上|够不上|达不到|欠缺?|不|非|"
    r"far from |nowhere near |anything but |is not |isn'?t |was not |wasn'?t |not |never |hardly |"
    r"scarcely |no )\s*"
)
_PLAIN_NEGATION = frozenset({"不", "并不", "不是", "并不是", "not", "is not", "isn't", "isnt"})
_NEARLY = r"(?:差一?点儿?就)\s*"
_DEGREE = (
    r"(?:很|非常|十分|比较|挺|相当|特别|太|真|极其?|算是?|属于|达到|是|为|"
    r"at all |exactly |very |really |quite |truly |extremely |so |an? |is )\s*"
)
_SUFFIX = r"(?:的|了|水平|标准|等级|级|祝福语?|分| ?更好| greeting| message| points?)*"
_UNABLE = r"(?:不了|不上|不起来)"
_GIVEN = r"(?:应?判|得分?|打|给|是)?\s*"
_NUMBER = r"(?P<number>(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?)(?P<percent> ?%)?(?: ?分| ?points?)?"
_QUESTION = re.compile(r"是不是|好不好|是否|能否|对不对|算不算|有没有|行不行")
_OUT_OF = re.compile(
    r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?) ?分? ?(?:/|out of|of) ?(?P<high>[0-9]{1,9}) ?分?"
)
_NO_VALUES = frozenset({"好了", "is", "a"})
_YES_OR_NO = frozenset({"是", "否", "yes", "no", "true", "false"})
_LEAD_OF_NUMERAL = re.compile(r"(?:(?:判定|评定|结论|应|改|得|给)?(?:为|是)?|[:=,])\s*")
_SHORT_LEADS = {"是": re.compile(r"不?|[:=,]\s*"), **dict.fromkeys("一二零〇", _LEAD_OF_NUMERAL)}
"""What may stand before words that are a part of too many others ("我认为是", "这一")."""
_DECORATION = " \n*_`"
_NUMERALS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5}
_NUMERALS |= {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


@dataclass(frozen=True)
class Invalid:
    """A value was given, and it cannot be used; `reason` is a key for counting."""

    reason: str


@dataclass(frozen=True)
class Denied:
    """A clause that says what the value is not, where that leaves more than one other ("不是甲")."""

    value: Any


def phrase(clause: str, field: Field) -> Any | Invalid | Denied | None:
    """The value that the clause (plain width, lower case) is; None where it is none or says more."""
    text = _undecorated(clause)
    if not text or len(text) > LONGEST or text in _NO_VALUES - set(field.words) or _QUESTION.search(text):
        return None
    if not may_be_a_value(text, field):
        return None
    if field.tie is not None and (side := compared(text, field)) is not None:
        return side
    number = _number(text, field)
    return _word(text, field) if number is None else number


def may_be_a_value(text: str, field: Field) -> bool:
    """Whether the text holds what a value must hold at least; most clauses do not, which is quickly seen."""
    return _hint(tuple(field.words), field.tie is not None).search(text) is not None


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


def _undecorated(clause: str) -> str:
    text = clause.strip(_DECORATION)
    text = re.sub(r"^(?:[-•] +(?=[^0-9])|#{1,6} +)", "", text)
    text = re.sub(r"(?<=[^0-9])~+$", "", text)
    return re.sub(r"\s+", " ", text).strip(_DECORATION)


def _number(text: str, field: Field) -> Any | Invalid | None:
    out_of = _OUT_OF.fullmatch(text)
    if out_of and field.kind is not FieldKind.CHOICE:
        same_scale = float(out_of["high"]) == field.high
        return on_scale(float(out_of["number"]), field) if same_scale else Invalid("out_of_range")
    given = _number_grammar().fullmatch(text)
    if given is None:
        return None
    return Invalid("out_of_range") if given["percent"] else on_scale(float(given["number"]), field)


def _word(text: str, field: Field) -> Any | Denied | None:
    words = _words(field)
    match = _word_grammar(tuple(words)).fullmatch(text)
    if match is None:
        return None
    value = words[match["word"]]
    lead = _SHORT_LEADS.get(match["word"])
    if lead is not None and not lead.fullmatch(text[: match.start("word")]):
        return None
    if match["nearly"] or match["unable"]:
        return field.opposite.get(value) if field.praises(value) and not match["negation"] else None
    return _negated(match, value, field) if match["negation"] else value


def _negated(match: re.Match[str], value: Any, field: Field) -> Any | Denied | None:
    """What "not" makes of a value: two negations, and "not bad" in any but its plain form, say nothing."""
    if not field.opposite:
        return Denied(value)
    word, plain = match["word"], match["negation"].strip() in _PLAIN_NEGATION
    if word[0] in "不否" or (word in _YES_OR_NO and not plain) or word in ("no", "fail", "false", "零", "〇"):
        return None
    return field.opposite.get(value) if plain or field.praises(value) else None


def _words(field: Field) -> Mapping[str, Any]:
    if field.kind is FieldKind.CHOICE:
        return {word: value for word, value in field.words.items() if not word.isdigit()}
    return {word: value for word, value in _NUMERALS.items() if field.low <= value <= field.high}


@lru_cache(maxsize=256)
def _hint(words: tuple[str, ...], sides: bool) -> re.Pattern[str]:
    known = [word for word in (*words, *_NUMERALS) if word] + (
        ["both", "neither", "两", "平", "不", "难"] if sides else []
    )
    return re.compile("[0-9]|" + "|".join(map(re.escape, known)))


@lru_cache(maxsize=1)
def _number_grammar() -> re.Pattern[str]:
    return re.compile(rf"(?:{_PREFIX}){{0,5}}{_GIVEN}{_NUMBER}")


@lru_cache(maxsize=256)
def _word_grammar(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) or r"(?!)"
    return re.compile(
        rf"(?:{_PREFIX}){{0,5}}(?P<nearly>{_NEARLY})?(?P<negation>{_NEGATION})?(?:{_DEGREE}){{0,3}}"
        rf"(?P<word>{longest_first})(?P<unable>{_UNABLE})?{_SUFFIX}"
    )
