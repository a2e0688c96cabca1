"""Which of two sides a clause prefers: "A 不如 B", "乙优于甲", "A is worse than B", "甲 < 乙", "不相上下".

A comparison in the other direction, or one that is denied ("甲不比乙差"), is never read as its contrary.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from backend.llm.fields import Field

_LEAD = (
    r"(?:我(?:认为|觉得|会)?|因此|所以|综上(?:所述)?|总体(?:上|来说|来看|而言)?|整体(?:上|来说|来看)?|最终|最后|相比之下|但是?|不过|"
    r"其实|实际上?|更正为?|改为|改成|结论|答案|判定|应?为|应该?(?:是|为|选)|是|而是|更好的(?:一条|那条|祝福语?)?(?:是|为)|"
    r"胜者(?:是|为)|优胜者(?:是|为)|选择?|投给?|overall |so |but |therefore |actually |the (?:winner|"
    r"better one) is |"
    r"it'?s |it is |i (?:would )?(?:say|think|prefer|choose|pick) |choose |prefer |the |greeting |[:=,])\s*"
)
_MUCH = r"(?:明显|显然|确实|略微?|稍微?|更|更加|还|要|远|都|均|各|同样|也|很|挺|清楚地)*"
_TAIL = r"(?:一些|一点|一筹|许多|很多|不少|得多|了|的)*"
_MUCH_EN = r"(?:(?:slightly|somewhat|clearly|much|far|significantly|a bit|a little|the|marginally) )*"
_BETTER = r"(?:优于|好于|胜于|强于|高于|胜过|好过|强过|赢过|战胜|击败)"
_WORSE = r"(?:不如|不及|逊于|逊色于|劣于|差于|弱于|低于|输给|比不上|不敌)"
_EVEN = (
    r"(?:相当|平手|平局|打平|持平|平|差不多|不相上下|不分上下|不分高下|难分高下|难分上下|不分伯仲|难分伯仲|难分伯仲|旗鼓相当|"
    r"势均力敌|半斤八两|各有千秋|平分秋色|一样(?:好|差)?|同样(?:好|差)|都(?:很|挺)?(?:好|不错|优秀)|都(?:很|挺)?(?:不好|不行|差|不够好))"
)
_EVEN_EN = (
    r"(?:are |is |both )*(?:about |roughly |equally |just as )*"
    r"(?:equal|equally good|equally bad|tied?|even|good|bad|poor|fine|the same|comparable|on a par)"
)
_BOTH = r"(?:两(?:条|者|首|个|则|篇)(?:祝福语?)?|二者|双方|甲乙)"
_BOTH_EN = r"(?:both|both greetings|both of them|the two|they|the two greetings)"


def compared(text: str, field: Field) -> Any | None:
    """The value of the preferred side, the field's tie, or None where the clause compares nothing.

    text: one clause in plain width and lower case, without decoration.
    """
    sides = {word: value for word, value in field.words.items() if value != field.tie and not word.isdigit()}
    grammar = _grammar(tuple(sides))
    for pattern, winner in grammar:
        if match := pattern.fullmatch(text):
            return _winner(match, winner, sides, field.tie)
    return None


def mentions_other(text: str, value: Any, field: Field) -> bool:
    """Whether a remark about one side speaks of another side too; an English article "a" is no side."""
    others = [
        word for word, side in field.words.items() if side not in (value, field.tie) and not word.isdigit()
    ]
    return bool(others) and _mention(tuple(others)).search(text) is not None


def _winner(match: re.Match[str], winner: str, sides: Mapping[str, Any], tie: Any) -> Any | None:
    given = {name: sides[word] for name, word in match.groupdict().items() if word is not None}
    if len(given) == 2 and given["x"] == given["y"]:
        return None
    return tie if winner == "tie" else given[winner]


@lru_cache(maxsize=64)
def _grammar(words: tuple[str, ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    either = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) or r"(?!)"
    first, second = (rf"[\"'“”]?(?P<{name}>{either})[\"'“”]?(?: one| greeting)?" for name in "xy")
    patterns = (
        (rf"{first} ?{_MUCH} ?{_BETTER} ?{second}{_TAIL}", "x"),
        (rf"{first} ?{_MUCH} ?{_WORSE} ?{second} ?(?:好|优秀|真诚|自然)?{_TAIL}", "y"),
        (rf"{first} ?比 ?{second} ?{_MUCH}(?:好|强|优秀?|胜){_TAIL}", "x"),
        (rf"{first} ?比 ?{second} ?{_MUCH}(?:差|弱|逊色|糟|劣){_TAIL}", "y"),
        (rf"{first} ?没有? ?{second} ?(?:那么)?(?:好|优秀|强)", "y"),
        (rf"{first} ?>{{1,3}} ?{second}", "x"),
        (rf"{first} ?<{{1,3}} ?{second}", "y"),
        (rf"{first} ?(?:={{1,2}}|≈|≡) ?{second}", "tie"),
        (
            rf"{first} (?:is |was )?{_MUCH_EN}(?:better than|superior to|stronger than|"
            rf"preferable to) {second}",
            "x",
        ),
        (rf"{first} (?:beats|outperforms|wins over|over) {second}", "x"),
        (rf"{first} (?:is |was )?{_MUCH_EN}(?:worse than|inferior to|weaker than) {second}", "y"),
        (rf"{first} (?:is not|isn'?t) (?:quite )?as (?:good|strong) as {second}", "y"),
        (rf"{first} (?:loses to|falls short of) {second}", "y"),
        (rf"{first} ?(?:[和与跟、,及]|同)? ?{second} ?(?:两者|二者|两条)?{_MUCH} ?{_EVEN}{_TAIL}", "tie"),
        (rf"{first} and {second} {_EVEN_EN}", "tie"),
        (rf"{_BOTH}{_MUCH} ?{_EVEN}{_TAIL}", "tie"),
        (rf"{_BOTH_EN} {_EVEN_EN}", "tie"),
        (r"neither(?: is)?(?: clearly)?(?: better| good| wins)?|no winner", "tie"),
        (rf"(?:都|基本上?)?{_EVEN}", "tie"),
        (rf"{first} ?{_MUCH} ?(?:好|优|强|胜出?|赢|占优|优胜|获胜){_TAIL}", "x"),
        (rf"{first} (?:is |was )?{_MUCH_EN}(?:better|stronger|the winner|preferred|preferable|best)", "x"),
        (rf"{first} (?:wins|won)", "x"),
        (rf"{first}", "x"),
    )
    return tuple((re.compile(rf"(?:{_LEAD}){{0,4}}{pattern}"), winner) for pattern, winner in patterns)


@lru_cache(maxsize=64)
def _mention(words: tuple[str, ...]) -> re.Pattern[str]:
    plain = [re.escape(word) for word in words if not word.isascii()]
    latin = [
        rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" for word in words if word.isascii() and word != "a"
    ]
    lone = (
        r"(?<![a-z0-9])a(?![a-z0-9]| [a-z])|(?<![a-z0-9])a (?=(?:is|was|has|wins|beats|feels|reads|sounds)\b)"
    )
    article = [lone] if "a" in words else []
    return re.compile("|".join([*plain, *latin, *article]) or r"(?!)")
