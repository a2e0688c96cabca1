"""The value that one clause states by itself: a verdict, digits in any script, a comparison of two greetings."""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backend.llm.fields import FieldKind, FieldSpec


@lru_cache(maxsize=4096)
def _plain_character(character: str) -> str:
    folded_character = unicodedata.normalize("NFKC", character).lower()
    # "½" or "㎏" would become several characters, and every position behind it would be wrong.
    return folded_character if len(folded_character) == 1 else character


def text_skeleton(source_text: str) -> str:
    """The text folded character by character, so that a position means the same in both."""
    return "".join(map(_plain_character, source_text))


@lru_cache(maxsize=4096)
def _narrow_character(character: str) -> str:
    if unicodedata.decomposition(character)[:6] in ("<wide>", "<narro"):
        return unicodedata.normalize("NFKC", character)[:1]
    # Every other line end and space of Unicode becomes a plain one, so that the patterns need to know only
    # these.
    return "\n" if character in "\r\v\f\x85\u2028\u2029" else " " if character in "\u3000\xa0\t" else character


def to_plain_width(source_text: str) -> str:
    """The text with full-width forms plain and every space a plain one, of the same length.

    Unlike the skeleton it keeps what else looks like a figure ("①", "²", "½") as it stands.
    """
    return "".join(map(_narrow_character, source_text))


@lru_cache(maxsize=4096)
def _lower_character(character: str) -> str:
    lowered = _narrow_character(character).lower()
    return lowered if len(lowered) == 1 else character


def fold_text(source_text: str) -> str:
    """The text in plain width and lower case, of the same length."""
    return "".join(map(_lower_character, source_text))


_COMPARISON_LEADS = (
    r"(?:我(?:认为|觉得|会)?|因此|所以|综上(?:所述)?|总体(?:上|来说|来看|而言)?|整体(?:上|来说|来看)?|最终|最后|相比之下|但是?|不过|"
    r"其实|实际上?|更正为?|改为|改成|结论|答案|判定|应?为|应该?(?:是|为|选)|是|而是|更好的(?:一条|那条|祝福语?)?(?:是|为)|"
    r"胜者(?:是|为)|优胜者(?:是|为)|选择?|投给?|overall |so |but |therefore |actually |the (?:winner|"
    r"better one) is |"
    r"it'?s |it is |i (?:would )?(?:say|think|prefer|choose|pick) |choose |prefer |the |greeting |[:=,])\s*"
)
_COMPARED_DEGREES = r"(?:明显|显然|确实|略微?|稍微?|更|更加|还|要|远|都|均|各|同样|也|很|挺|清楚地)*"
_COMPARISON_TRAILS = r"(?:一些|一点|一筹|许多|很多|不少|得多|了|的)*"
_DEGREE_WORDS_EN = r"(?:(?:slightly|somewhat|clearly|much|far|significantly|a bit|a little|the|marginally) )*"
_BETTER_THAN = r"(?:优于|好于|胜于|强于|高于|胜过|好过|强过|赢过|战胜|击败)"
_WORSE_THAN = r"(?:不如|不及|逊于|逊色于|劣于|差于|弱于|低于|输给|比不上|不敌)"
_EVENLY_MATCHED = (
    r"(?:相当|平手|平局|打平|持平|平|差不多|不相上下|不分上下|不分高下|难分高下|难分上下|不分伯仲|难分伯仲|难分伯仲|旗鼓相当|"
    r"势均力敌|半斤八两|各有千秋|平分秋色|一样(?:好|差)?|同样(?:好|差)|都(?:很|挺)?(?:好|不错|优秀)|都(?:很|挺)?(?:不好|不行|差|不够好))"
)
_EVENLY_MATCHED_EN = (
    r"(?:are |is |both )*(?:about |roughly |equally |just as )*"
    r"(?:equal|equally good|equally bad|tied?|even|good|bad|poor|fine|the same|comparable|on a par)"
)
_BOTH_GREETINGS = r"(?:两(?:条|者|首|个|则|篇)(?:祝福语?)?|二者|双方|甲乙)"
_BOTH_GREETINGS_EN = r"(?:both|both greetings|both of them|the two|they|the two greetings)"


def preferred_side(clause_text: str, field_spec: FieldSpec) -> Any | None:
    """The value of the preferred side, the field's tie, or None where the clause compares nothing.

    clause_text: one clause in plain width and lower case, without decoration.
    """
    side_by_word = {
        side_word: side_value
        for side_word, side_value in field_spec.value_by_word.items()
        if side_value != field_spec.tie_value and not side_word.isdigit()
    }
    comparison_grammar = _comparison_grammar(tuple(side_by_word))
    for pattern, winner_name in comparison_grammar:
        if comparison_match := pattern.fullmatch(clause_text):
            return _winning_side(comparison_match, winner_name, side_by_word, field_spec.tie_value)
    return None


def mentions_other_side(remark_text: str, stated_value: Any, field_spec: FieldSpec) -> bool:
    """Whether a remark about one side speaks of another side too; an English article "a" is no side."""
    other_words = [
        side_word
        for side_word, side_value in field_spec.value_by_word.items()
        if side_value not in (stated_value, field_spec.tie_value) and not side_word.isdigit()
    ]
    return bool(other_words) and _mention_pattern(tuple(other_words)).search(remark_text) is not None


def _winning_side(
    comparison_match: re.Match[str], winner_name: str, side_by_word: Mapping[str, Any], tie_value: Any
) -> Any | None:
    matched_values = {
        group_name: side_by_word[side_word]
        for group_name, side_word in comparison_match.groupdict().items()
        if side_word is not None
    }
    # Both words name one side ("甲 is better than 祝福语甲"): that compares nothing.
    if len(matched_values) == 2 and matched_values["x"] == matched_values["y"]:
        return None
    return tie_value if winner_name == "tie" else matched_values[winner_name]


@lru_cache(maxsize=64)
def _comparison_grammar(side_words: tuple[str, ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    # Longest first, so that "祝福语甲" is not read as its last character; (?!) matches nothing, where an empty
    # alternative would match everything.
    either_word = "|".join(re.escape(side_word) for side_word in sorted(side_words, key=len, reverse=True)) or r"(?!)"
    first_side, second_side = (
        rf"[\"'“”]?(?P<{group_name}>{either_word})[\"'“”]?(?: one| greeting)?" for group_name in "xy"
    )
    patterns = (
        (rf"{first_side} ?{_COMPARED_DEGREES} ?{_BETTER_THAN} ?{second_side}{_COMPARISON_TRAILS}", "x"),
        (
            rf"{first_side} ?{_COMPARED_DEGREES} ?{_WORSE_THAN} ?{second_side} ?(?:好|优秀|真诚|自然)?"
            rf"{_COMPARISON_TRAILS}",
            "y",
        ),
        (rf"{first_side} ?比 ?{second_side} ?{_COMPARED_DEGREES}(?:好|强|优秀?|胜){_COMPARISON_TRAILS}", "x"),
        (rf"{first_side} ?比 ?{second_side} ?{_COMPARED_DEGREES}(?:差|弱|逊色|糟|劣){_COMPARISON_TRAILS}", "y"),
        (rf"{first_side} ?没有? ?{second_side} ?(?:那么)?(?:好|优秀|强)", "y"),
        (rf"{first_side} ?>{{1,3}} ?{second_side}", "x"),
        (rf"{first_side} ?<{{1,3}} ?{second_side}", "y"),
        (rf"{first_side} ?(?:={{1,2}}|≈|≡) ?{second_side}", "tie"),
        (
            rf"{first_side} (?:is |was )?{_DEGREE_WORDS_EN}(?:better than|superior to|stronger than|"
            rf"preferable to) {second_side}",
            "x",
        ),
        (rf"{first_side} (?:beats|outperforms|wins over|over) {second_side}", "x"),
        (
            rf"{first_side} (?:is |was )?{_DEGREE_WORDS_EN}(?:worse than|inferior to|weaker than) {second_side}",
            "y",
        ),
        (rf"{first_side} (?:is not|isn'?t) (?:quite )?as (?:good|strong) as {second_side}", "y"),
        (rf"{first_side} (?:loses to|falls short of) {second_side}", "y"),
        (
            rf"{first_side} ?(?:[和与跟、,及]|同)? ?{second_side} ?(?:两者|二者|两条)?{_COMPARED_DEGREES} ?"
            rf"{_EVENLY_MATCHED}{_COMPARISON_TRAILS}",
            "tie",
        ),
        (rf"{first_side} and {second_side} {_EVENLY_MATCHED_EN}", "tie"),
        (rf"{_BOTH_GREETINGS}{_COMPARED_DEGREES} ?{_EVENLY_MATCHED}{_COMPARISON_TRAILS}", "tie"),
        (rf"{_BOTH_GREETINGS_EN} {_EVENLY_MATCHED_EN}", "tie"),
        (r"neither(?: is)?(?: clearly)?(?: better| good| wins)?|no winner", "tie"),
        (rf"(?:都|基本上?)?{_EVENLY_MATCHED}", "tie"),
        (rf"{first_side} ?{_COMPARED_DEGREES} ?(?:好|优|强|胜出?|赢|占优|优胜|获胜){_COMPARISON_TRAILS}", "x"),
        (
            rf"{first_side} (?:is |was )?{_DEGREE_WORDS_EN}(?:better|stronger|the winner|preferred|preferable|best)",
            "x",
        ),
        (rf"{first_side} (?:wins|won)", "x"),
        # A side that stands alone comes last: every pattern above says more.
        (rf"{first_side}", "x"),
    )
    return tuple(
        (re.compile(rf"(?:{_COMPARISON_LEADS}){{0,4}}{pattern}"), winner_name) for pattern, winner_name in patterns
    )


@lru_cache(maxsize=64)
def _mention_pattern(side_words: tuple[str, ...]) -> re.Pattern[str]:
    chinese_words = [re.escape(side_word) for side_word in side_words if not side_word.isascii()]
    latin_words = [
        rf"(?<![a-z0-9]){re.escape(side_word)}(?![a-z0-9])"
        for side_word in side_words
        if side_word.isascii() and side_word != "a"
    ]
    # "a greeting" names no side, "a is better" does.
    standalone_article = (
        r"(?<![a-z0-9])a(?![a-z0-9]| [a-z])|(?<![a-z0-9])a (?=(?:is|was|has|wins|beats|feels|reads|sounds)\b)"
    )
    article_patterns = [standalone_article] if "a" in side_words else []
    return re.compile("|".join([*chinese_words, *latin_words, *article_patterns]) or r"(?!)")


# Characters of a clause that may still be a value.
LONGEST_CLAUSE = 80
_LEADING_WORDS = (
    r"(?:我(?:的)?(?:认为|觉得|判断|判定|认定|选择?|投)?|最终的?|最后|(?:总体|整体)(?:上|来说|来看|而言)?|综合(?:来看|判断)?|"
    r"综上(?:所述)?|总之|总的来说|所以|因此|故|但是?+|不过|然而|其实|实际上?|更正为?|修正为?|改为|改成|改判为?|"
    r"这(?:一)?(?:条|段|则|个|是|篇)?(?:祝福语?)?|(?:该|本|此)(?:条|段|则)?(?:祝福语?)?|祝福语?|"
    r"更好的(?:一条|那条)?(?:是|为)?|结论|答案|判定|判断|结果|评价|应?为|应该?(?:是|为|判)|应当(?:是|为|判)|"
    r"it'?s |it is |(?:it|this|(?:this|the) greeting) (?=is not|isn|was)|this (?:greeting |one |"
    r"message )?is |the (?:final )?(?:greeting|verdict|answer|result|message) is |"
    r"i (?:would |'d )?(?:say|think) (?:that )?|overall |so |but |however |therefore |actually |final |"
    r"and |[:=,])\s*"
)
_NEGATION_WORDS = (
    r"(?:不够|不太|不怎么|不算是?|不是|不属于|不能算是?|并不是?|并非|绝不|没有?达到|没有?|未达到?|未能?|"
    r"谈不上|称不上|算不上|说不上|够不上|达不到|欠缺?|不|非|"
    r"far from |nowhere near |anything but |is not |isn'?t |was not |wasn'?t |not |never |hardly |"
    r"scarcely |no )\s*"
)
# Only these turn a value into its opposite: "不太差" is not good, and "not exactly bad" says nothing.
_PLAIN_NEGATIONS = frozenset({"不", "并不", "不是", "并不是", "not", "is not", "isn't", "isnt"})
_NEARLY_WORDS = r"(?:差一?点儿?就)\s*"
_DEGREE_WORDS = (
    r"(?:很|非常|十分|比较|挺|相当|特别|太|真|极其?|算是?|属于|达到|是|为|"
    r"at all |exactly |very |really |quite |truly |extremely |so |an? |is )\s*"
)
_TRAILING_WORDS = r"(?:的|了|水平|标准|等级|级|祝福语?|分| ?更好| greeting| message| points?)*"
_UNABLE_ENDINGS = r"(?:不了|不上|不起来)"
_AWARD_WORDS = r"(?:应?判|得分?|打|给|是)?\s*"
# No leading zero and no sign: "01" is as likely a list number, and a dropped sign would make -1 a 1.
_NUMBER_PATTERN = r"(?P<number>(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?)(?P<percent> ?%)?(?: ?分| ?points?)?"
# They hold the words for yes and no, and ask.
_QUESTION_WORDS = re.compile(r"是不是|好不好|是否|能否|对不对|算不算|有没有|行不行")
_OUT_OF_SCALE = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?) ?分? ?(?:/|out of|of) ?(?P<high>[0-9]{1,9}) ?分?")
# "好了" says that something is done; to the grammar it is 好 with a particle.
_WORDS_WITHOUT_VALUE = frozenset({"好了", "is", "a"})
_YES_NO_WORDS = frozenset({"是", "否", "yes", "no", "true", "false"})
_NUMERAL_LEAD = re.compile(r"(?:(?:判定|评定|结论|应|改|得|给)?(?:为|是)?|[:=,])\s*")
# What may stand before words that are a part of too many others ("我认为是", "这一").
# "但是" was once read as 是 behind 但, and so as a verdict of 1.
_SHORT_LEADS = {"是": re.compile(r"不?|[:=,]\s*"), **dict.fromkeys("一二零〇", _NUMERAL_LEAD)}
_DECORATION_MARKS = " \n*_`"
_NUMERAL_VALUES = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5}
_NUMERAL_VALUES |= {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


@dataclass(frozen=True)
class InvalidValue:
    """A value was given, and it cannot be used; `reason` is a key for counting."""

    reason: str


@dataclass(frozen=True)
class DeniedValue:
    """A clause that says what the value is not, where that leaves more than one other ("不是甲")."""

    value: Any


def parse_phrase(clause_text: str, field_spec: FieldSpec) -> Any | InvalidValue | DeniedValue | None:
    """The value that the clause (plain width, lower case) is; None where it is none or says more."""
    plain_clause = _strip_decoration(clause_text)
    if (
        not plain_clause
        or len(plain_clause) > LONGEST_CLAUSE
        or plain_clause in _WORDS_WITHOUT_VALUE - set(field_spec.value_by_word)
        or _QUESTION_WORDS.search(plain_clause)
    ):
        return None
    if not may_be_a_value(plain_clause, field_spec):
        return None
    if field_spec.tie_value is not None and (side_value := preferred_side(plain_clause, field_spec)) is not None:
        return side_value
    number_value = _parse_number(plain_clause, field_spec)
    return _parse_word(plain_clause, field_spec) if number_value is None else number_value


def may_be_a_value(clause_text: str, field_spec: FieldSpec) -> bool:
    """Whether the text holds what a value must hold at least; most clauses do not, which is quickly seen."""
    return (
        _value_hint_pattern(tuple(field_spec.value_by_word), field_spec.tie_value is not None).search(clause_text)
        is not None
    )


def value_on_scale(number: float, field_spec: FieldSpec) -> Any | InvalidValue:
    """The number as the field's value: never clipped, never rounded."""
    if not math.isfinite(number):
        return InvalidValue("out_of_range")
    # "1.0" is the word "1" of a choice; "1.5" must not become one by rounding.
    whole_number = int(number) if number == int(number) else number
    if field_spec.kind is FieldKind.CHOICE:
        return field_spec.value_by_word.get(str(whole_number), InvalidValue("out_of_range"))
    if not field_spec.minimum <= number <= field_spec.maximum or (
        field_spec.kind is FieldKind.INT and whole_number != int(whole_number)
    ):
        return InvalidValue("out_of_range")
    return whole_number if field_spec.kind is FieldKind.INT else float(number)


def _strip_decoration(clause_text: str) -> str:
    plain_clause = clause_text.strip(_DECORATION_MARKS)
    plain_clause = re.sub(r"^(?:[-•] +(?=[^0-9])|#{1,6} +)", "", plain_clause)
    plain_clause = re.sub(r"(?<=[^0-9])~+$", "", plain_clause)
    return re.sub(r"\s+", " ", plain_clause).strip(_DECORATION_MARKS)


def _parse_number(clause_text: str, field_spec: FieldSpec) -> Any | InvalidValue | None:
    out_of_match = _OUT_OF_SCALE.fullmatch(clause_text)
    if out_of_match and field_spec.kind is not FieldKind.CHOICE:
        same_scale = float(out_of_match["high"]) == field_spec.maximum
        return value_on_scale(float(out_of_match["number"]), field_spec) if same_scale else InvalidValue("out_of_range")
    number_match = _number_grammar().fullmatch(clause_text)
    if number_match is None:
        return None
    return (
        InvalidValue("out_of_range")
        # A percentage is of another scale than any field here.
        if number_match["percent"]
        else value_on_scale(float(number_match["number"]), field_spec)
    )


def _parse_word(clause_text: str, field_spec: FieldSpec) -> Any | DeniedValue | None:
    value_by_word = _value_words(field_spec)
    word_match = _word_grammar(tuple(value_by_word)).fullmatch(clause_text)
    if word_match is None:
        return None
    word_value = value_by_word[word_match["word"]]
    allowed_lead = _SHORT_LEADS.get(word_match["word"])
    if allowed_lead is not None and not allowed_lead.fullmatch(clause_text[: word_match.start("word")]):
        return None
    # "差点就优秀" and "优秀不了" deny what is good; what they leave of a bad value nobody can say.
    if word_match["nearly"] or word_match["unable"]:
        return (
            field_spec.opposite_values.get(word_value)
            if field_spec.is_praise(word_value) and not word_match["negation"]
            else None
        )
    return _negated_value(word_match, word_value, field_spec) if word_match["negation"] else word_value


def _negated_value(word_match: re.Match[str], word_value: Any, field_spec: FieldSpec) -> Any | DeniedValue | None:
    """What "not" makes of a value: two negations, and "not bad" in any but its plain form, say nothing."""
    # Of three values "not this one" leaves two.
    if not field_spec.opposite_values:
        return DeniedValue(word_value)
    value_word, is_plain = word_match["word"], word_match["negation"].strip() in _PLAIN_NEGATIONS
    if (
        value_word[0] in "不否"
        or (value_word in _YES_NO_WORDS and not is_plain)
        or value_word in ("no", "fail", "false", "零", "〇")
    ):
        return None
    return field_spec.opposite_values.get(word_value) if is_plain or field_spec.is_praise(word_value) else None


def _value_words(field_spec: FieldSpec) -> Mapping[str, Any]:
    if field_spec.kind is FieldKind.CHOICE:
        return {
            value_word: word_value
            for value_word, word_value in field_spec.value_by_word.items()
            if not value_word.isdigit()
        }
    return {
        value_word: word_value
        for value_word, word_value in _NUMERAL_VALUES.items()
        if field_spec.minimum <= word_value <= field_spec.maximum
    }


@lru_cache(maxsize=256)
def _value_hint_pattern(value_words: tuple[str, ...], is_comparison: bool) -> re.Pattern[str]:
    known_words = [known_word for known_word in (*value_words, *_NUMERAL_VALUES) if known_word] + (
        ["both", "neither", "两", "平", "不", "难"] if is_comparison else []
    )
    return re.compile("[0-9]|" + "|".join(map(re.escape, known_words)))


@lru_cache(maxsize=1)
def _number_grammar() -> re.Pattern[str]:
    return re.compile(rf"(?:{_LEADING_WORDS}){{0,5}}{_AWARD_WORDS}{_NUMBER_PATTERN}")


@lru_cache(maxsize=256)
def _word_grammar(value_words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = (
        "|".join(re.escape(value_word) for value_word in sorted(value_words, key=len, reverse=True)) or r"(?!)"
    )
    return re.compile(
        rf"(?:{_LEADING_WORDS}){{0,5}}(?P<nearly>{_NEARLY_WORDS})?(?P<negation>{_NEGATION_WORDS})?(?:{_DEGREE_WORDS}){{0,3}}"
        rf"(?P<word>{longest_first})(?P<unable>{_UNABLE_ENDINGS})?{_TRAILING_WORDS}"
    )
