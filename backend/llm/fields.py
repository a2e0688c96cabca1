"""What a structured reply must hold: named fields, each with its kind, scale and other names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FieldKind(StrEnum):
    """How a field's value is read."""

    CHOICE = "choice"
    INT = "int"
    FLOAT = "float"
    TEXT = "text"
    TEXTS = "texts"


@dataclass(frozen=True)
class Field:
    """One field of a reply; build it with `choice`, `integer`, `number`, `text` or `texts`."""

    name: str
    kind: FieldKind
    aliases: tuple[str, ...] = ()
    required: bool = True
    hint: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    opposite: Mapping[Any, Any] = field(default_factory=dict)
    weak: tuple[str, ...] = ()
    """Names that count only where the reply uses none of the others ("得分" beside "判定")."""
    low: float = 0.0
    high: float = 0.0
    tie: Any = None
    """The value of a tie, where the others are the sides of a comparison: then "A 不如 B" is understood."""

    def praises(self, value: Any) -> bool:
        """Whether the value is the good one of a good and a bad."""
        return bool(self.opposite) and value == 1

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def values(self) -> list[Any]:
        """The distinct values of a choice, in order."""
        return list(dict.fromkeys(self.words.values()))


def choice(
    name: str,
    words: Mapping[str, Any],
    *aliases: str,
    opposite: Mapping[Any, Any] | None = None,
    weak: tuple[str, ...] = (),
    hint: str = "",
    required: bool = True,
    tie: Any = None,
) -> Field:
    """One of several values, each said by any of its words (lower case).

    `opposite` reads negations of good and bad, `tie` (one of the values) reads comparisons of two sides.
    """
    words, opposite = dict(words), dict(opposite or {})
    return Field(name, FieldKind.CHOICE, aliases, required, hint, words, opposite, weak, tie=tie)


def integer(name: str, low: int, high: int, *aliases: str, hint: str = "", required: bool = True) -> Field:
    """A whole number in [low, high]; anything outside is invalid, never clipped."""
    return Field(name, FieldKind.INT, aliases, required, hint, low=low, high=high)


def number(name: str, low: float, high: float, *aliases: str, hint: str = "", required: bool = True) -> Field:
    """A number in [low, high]."""
    return Field(name, FieldKind.FLOAT, aliases, required, hint, low=low, high=high)


def text(name: str, *aliases: str, hint: str = "", required: bool = True) -> Field:
    """A text that is not empty."""
    return Field(name, FieldKind.TEXT, aliases, required, hint)


def texts(name: str, *aliases: str, hint: str = "", required: bool = True) -> Field:
    """A list of texts."""
    return Field(name, FieldKind.TEXTS, aliases, required, hint)


GOOD = (
    "1",
    "好",
    "优秀",
    "合格",
    "优",
    "是",
    "通过",
    "及格",
    "優秀",
    "優",
    "通過",
    "good",
    "excellent",
    "yes",
    "true",
    "pass",
    "一",
)
BAD = ("0", "坏", "壞", "差", "劣", "否", "不好", "通不过", "poor", "bad", "no", "false", "fail", "零", "〇")
VERDICT_WORDS: dict[str, int] = {**dict.fromkeys(GOOD, 1), **dict.fromkeys(BAD, 0), "不错": 1, "不錯": 1}
"""How models say good and bad; "不错" is praise although it begins like a negation."""


def verdict(name: str = "verdict", *aliases: str, hint: str = "1 表示优秀，0 表示不优秀") -> Field:
    """The verdict 1 or 0, in any of the words for good and bad, negated or not."""
    known = (
        *("verdict", "判定", "结论", "結論", "評定", "评定", "裁决", "裁決"),
        *("judgment", "judgement", "conclusion", "decision"),
    )
    weak = (
        *("判断", "结果", "得分", "分数", "评分", "打分", "答案", "评价", "总评", "评估", "评判"),
        *("判斷", "結果", "評分", "評價"),
        *("label", "score", "rating", "result", "answer", "assessment", "overall"),
    )
    names = dict.fromkeys((*aliases, *known))
    names.pop(name, None)
    return choice(name, VERDICT_WORDS, *names, opposite={1: 0, 0: 1}, weak=weak, hint=hint)


EXPLANATION_ALIASES = ("explanation", "reason", "reasons", "理由", "解释", "原因", "说明", "评语")


def explanation(name: str = "explanation", hint: str = "简短的理由", required: bool = False) -> Field:
    """Why the verdict is what it is; a missing one does not spoil the verdict unless it is required."""
    return text(
        name, *(alias for alias in EXPLANATION_ALIASES if alias != name), hint=hint, required=required
    )
