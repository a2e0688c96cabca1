"""Which of two sides a clause prefers: "A 不如 B", "乙优于甲", "A is worse than B", "甲 < 乙", "不相上下".

A comparison in the other direction, or one that is denied ("甲不比乙差"), is never read as its contrary.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from backend.llm.fields import FieldSpec

_LEADING_WORDS = (
    r"(?:我(?:认为|觉得|会)?|因此|所以|综上(?:所述)?|总体(?:上|来说|来看|而言)?|整体(?:上|来说|来看)?|最终|最后|相比之下|但是?|不过|"
    r"其实|实际上?|更正为?|改为|改成|结论|答案|判定|应?为|应该?(?:是|为|选)|是|而是|更好的(?:一条|那条|祝福语?)?(?:是|为)|"
    r"胜者(?:是|为)|优胜者(?:是|为)|选择?|投给?|overall |so |but |therefore |actually |the (?:winner|"
    r"better one) is |"
    r"it'?s |it is |i (?:would )?(?:say|think|prefer|choose|pick) |choose |prefer |the |greeting |[:=,])\s*"
)
_DEGREE_WORDS = r"(?:明显|显然|确实|略微?|稍微?|更|更加|还|要|远|都|均|各|同样|也|很|挺|清楚地)*"
_TRAILING_WORDS = r"(?:一些|一点|一筹|许多|很多|不少|得多|了|的)*"
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

    text: one clause in plain width and lower case, without decoration.
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
    if len(matched_values) == 2 and matched_values["x"] == matched_values["y"]:
        return None
    return tie_value if winner_name == "tie" else matched_values[winner_name]


@lru_cache(maxsize=64)
def _comparison_grammar(side_words: tuple[str, ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    either_word = "|".join(re.escape(side_word) for side_word in sorted(side_words, key=len, reverse=True)) or r"(?!)"
    first_side, second_side = (
        rf"[\"'“”]?(?P<{group_name}>{either_word})[\"'“”]?(?: one| greeting)?" for group_name in "xy"
    )
    patterns = (
        (rf"{first_side} ?{_DEGREE_WORDS} ?{_BETTER_THAN} ?{second_side}{_TRAILING_WORDS}", "x"),
        (
            rf"{first_side} ?{_DEGREE_WORDS} ?{_WORSE_THAN} ?{second_side} ?(?:好|优秀|真诚|自然)?{_TRAILING_WORDS}",
            "y",
        ),
        (rf"{first_side} ?比 ?{second_side} ?{_DEGREE_WORDS}(?:好|强|优秀?|胜){_TRAILING_WORDS}", "x"),
        (rf"{first_side} ?比 ?{second_side} ?{_DEGREE_WORDS}(?:差|弱|逊色|糟|劣){_TRAILING_WORDS}", "y"),
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
            rf"{first_side} ?(?:[和与跟、,及]|同)? ?{second_side} ?(?:两者|二者|两条)?{_DEGREE_WORDS} ?{_EVENLY_MATCHED}{_TRAILING_WORDS}",
            "tie",
        ),
        (rf"{first_side} and {second_side} {_EVENLY_MATCHED_EN}", "tie"),
        (rf"{_BOTH_GREETINGS}{_DEGREE_WORDS} ?{_EVENLY_MATCHED}{_TRAILING_WORDS}", "tie"),
        (rf"{_BOTH_GREETINGS_EN} {_EVENLY_MATCHED_EN}", "tie"),
        (r"neither(?: is)?(?: clearly)?(?: better| good| wins)?|no winner", "tie"),
        (rf"(?:都|基本上?)?{_EVENLY_MATCHED}", "tie"),
        (rf"{first_side} ?{_DEGREE_WORDS} ?(?:好|优|强|胜出?|赢|占优|优胜|获胜){_TRAILING_WORDS}", "x"),
        (
            rf"{first_side} (?:is |was )?{_DEGREE_WORDS_EN}(?:better|stronger|the winner|preferred|preferable|best)",
            "x",
        ),
        (rf"{first_side} (?:wins|won)", "x"),
        (rf"{first_side}", "x"),
    )
    return tuple(
        (re.compile(rf"(?:{_LEADING_WORDS}){{0,4}}{pattern}"), winner_name) for pattern, winner_name in patterns
    )


@lru_cache(maxsize=64)
def _mention_pattern(side_words: tuple[str, ...]) -> re.Pattern[str]:
    chinese_words = [re.escape(side_word) for side_word in side_words if not side_word.isascii()]
    latin_words = [
        rf"(?<![a-z0-9]){re.escape(side_word)}(?![a-z0-9])"
        for side_word in side_words
        if side_word.isascii() and side_word != "a"
    ]
    standalone_article = (
        r"(?<![a-z0-9])a(?![a-z0-9]| [a-z])|(?<![a-z0-9])a (?=(?:is|was|has|wins|beats|feels|reads|sounds)\b)"
    )
    article_patterns = [standalone_article] if "a" in side_words else []
    return re.compile("|".join([*chinese_words, *latin_words, *article_patterns]) or r"(?!)")
