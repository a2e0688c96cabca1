"""Named fields of a structured reply: kind, scale, other names; how a prompt asks for them, by schema or in words."""

from collections.abc import Mapping, Sequence
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
class FieldSpec:
    """One field of a reply; build it with `choice_field`, `integer_field`, `number_field`, `text_field` and so on."""

    name: str
    kind: FieldKind
    aliases: tuple[str, ...] = ()
    required: bool = True
    hint: str = ""
    value_by_word: Mapping[str, Any] = field(default_factory=dict)
    opposite_values: Mapping[Any, Any] = field(default_factory=dict)
    # Names that count only where the reply uses none of the others ("得分" beside "判定").
    weak_names: tuple[str, ...] = ()
    minimum: float = 0.0
    maximum: float = 0.0
    # The value of a tie, where the others are the sides of a comparison: then "A 不如 B" is understood.
    tie_value: Any = None

    def is_praise(self, field_value: Any) -> bool:
        """Whether the value is the good one of a good and a bad."""
        return bool(self.opposite_values) and field_value == 1

    @property
    def all_names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def choice_values(self) -> list[Any]:
        """The distinct values of a choice, in order."""
        return list(dict.fromkeys(self.value_by_word.values()))


def choice_field(
    field_name: str,
    value_by_word: Mapping[str, Any],
    *aliases: str,
    opposite_values: Mapping[Any, Any] | None = None,
    weak_names: tuple[str, ...] = (),
    hint: str = "",
    required: bool = True,
    tie_value: Any = None,
) -> FieldSpec:
    """One of several values, each stated by any of its words (lower case).

    With `opposite_values` negations of good and bad are read, with `tie_value` (one of the values) comparisons of two
    sides.
    """
    value_by_word, opposite_values = dict(value_by_word), dict(opposite_values or {})
    return FieldSpec(
        field_name,
        FieldKind.CHOICE,
        aliases,
        required,
        hint,
        value_by_word,
        opposite_values,
        weak_names,
        tie_value=tie_value,
    )


def integer_field(
    field_name: str, minimum: int, maximum: int, *aliases: str, hint: str = "", required: bool = True
) -> FieldSpec:
    """A whole number from `minimum` to `maximum`, both included; anything outside is invalid, never clipped."""
    return FieldSpec(field_name, FieldKind.INT, aliases, required, hint, minimum=minimum, maximum=maximum)


def number_field(
    field_name: str, minimum: float, maximum: float, *aliases: str, hint: str = "", required: bool = True
) -> FieldSpec:
    """A number from `minimum` to `maximum`, both included; anything outside is invalid, never clipped."""
    return FieldSpec(field_name, FieldKind.FLOAT, aliases, required, hint, minimum=minimum, maximum=maximum)


def text_field(field_name: str, *aliases: str, hint: str = "", required: bool = True) -> FieldSpec:
    """A text that is not empty."""
    return FieldSpec(field_name, FieldKind.TEXT, aliases, required, hint)


def text_list_field(field_name: str, *aliases: str, hint: str = "", required: bool = True) -> FieldSpec:
    """A list of texts."""
    return FieldSpec(field_name, FieldKind.TEXTS, aliases, required, hint)


GOOD_WORDS = (
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
BAD_WORDS = (
    "0",
    "坏",
    "壞",
    "差",
    "劣",
    "否",
    "不好",
    "通不过",
    "poor",
    "bad",
    "no",
    "false",
    "fail",
    "零",
    "〇",
)
# How models say good and bad; "不错" is praise although it begins like a negation.
VERDICT_WORDS: dict[str, int] = {
    **dict.fromkeys(GOOD_WORDS, 1),
    **dict.fromkeys(BAD_WORDS, 0),
    "不错": 1,
    "不錯": 1,
}


def verdict_field(field_name: str = "verdict", *aliases: str, hint: str = "1 表示优秀，0 表示不优秀") -> FieldSpec:
    """The verdict 1 or 0, in any of the words for good and bad, negated or not."""
    verdict_names = (
        *("verdict", "判定", "结论", "結論", "評定", "评定", "裁决", "裁決"),
        *("judgment", "judgement", "conclusion", "decision"),
    )
    weak_names = (
        *("判断", "结果", "得分", "分数", "评分", "打分", "答案", "评价", "总评", "评估", "评判"),
        *("判斷", "結果", "評分", "評價"),
        *("label", "score", "rating", "result", "answer", "assessment", "overall"),
    )
    # Ordered and without repeats: the names go into a pattern that is cached by the tuple they form.
    distinct_aliases = dict.fromkeys((*aliases, *verdict_names))
    distinct_aliases.pop(field_name, None)
    return choice_field(
        field_name,
        VERDICT_WORDS,
        *distinct_aliases,
        opposite_values={1: 0, 0: 1},
        weak_names=weak_names,
        hint=hint,
    )


EXPLANATION_ALIASES = ("explanation", "reason", "reasons", "理由", "解释", "原因", "说明", "评语")


def explanation_field(field_name: str = "explanation", hint: str = "简短的理由", required: bool = False) -> FieldSpec:
    """Why the verdict is what it is; a missing one does not spoil the verdict unless it is required."""
    return text_field(
        field_name,
        *(alias for alias in EXPLANATION_ALIASES if alias != field_name),
        hint=hint,
        required=required,
    )


# What stands for a value in the format. None of them can be read as one, quoted or not: a small model copies
# the format as it is, and a copy must never be a verdict (see `backend.llm.quotations`).
PLACEHOLDERS = {
    FieldKind.CHOICE: "〈取值〉",
    FieldKind.INT: "〈整数〉",
    FieldKind.FLOAT: "〈数〉",
    FieldKind.TEXT: "〈文字〉",
    FieldKind.TEXTS: "[〈文字〉]",
}


def json_schema(field_specs: Sequence[FieldSpec]) -> dict[str, Any]:
    """The JSON schema of a reply with these fields, as strict mode wants it (everything required)."""
    return {
        "type": "object",
        "properties": {field_spec.name: _schema_property(field_spec) for field_spec in field_specs},
        "required": [field_spec.name for field_spec in field_specs],
        "additionalProperties": False,
    }


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The request field that asks a server to keep to the schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def reply_instruction(field_specs: Sequence[FieldSpec]) -> str:
    """What to reply with, in words and for every server: a schema only makes the form surer."""
    field_lines = [f"- {field_spec.name}：{field_meaning(field_spec)}" for field_spec in field_specs]
    return (
        "只输出一个 JSON 对象，不要输出其他内容。字段：\n"
        + "\n".join(field_lines)
        + f"\n格式：{reply_outline(field_specs)}\n把每个〈〉换成你自己的内容，文字加双引号；照抄格式的回复无效。"
    )


def reply_outline(field_specs: Sequence[FieldSpec]) -> str:
    """The form of a reply with a placeholder for every value; no JSON, and no answer."""
    return "{" + ", ".join(f'"{field_spec.name}": {PLACEHOLDERS[field_spec.kind]}' for field_spec in field_specs) + "}"


def field_meaning(field_spec: FieldSpec) -> str:
    """What an instruction says of a field: its scale, then its hint."""
    scale_text = {
        FieldKind.CHOICE: "只能是 " + " 或 ".join(str(choice_value) for choice_value in field_spec.choice_values),
        FieldKind.INT: f"{field_spec.minimum:g} 到 {field_spec.maximum:g} 的整数",
        FieldKind.FLOAT: f"{field_spec.minimum:g} 到 {field_spec.maximum:g} 的数",
        FieldKind.TEXT: "文字",
        FieldKind.TEXTS: "文字的列表",
    }[field_spec.kind]
    return f"{scale_text}；{field_spec.hint}" if field_spec.hint else scale_text


def _schema_property(field_spec: FieldSpec) -> dict[str, Any]:
    if field_spec.kind is FieldKind.CHOICE:
        json_type = (
            "integer" if all(isinstance(choice_value, int) for choice_value in field_spec.choice_values) else "string"
        )
        return {"type": json_type, "enum": field_spec.choice_values}
    if field_spec.kind is FieldKind.INT and field_spec.maximum - field_spec.minimum <= 20:
        # Values listed, since several servers refuse minimum and maximum in strict mode.
        return {"type": "integer", "enum": list(range(int(field_spec.minimum), int(field_spec.maximum) + 1))}
    if field_spec.kind in (FieldKind.INT, FieldKind.FLOAT):
        return {"type": "integer" if field_spec.kind is FieldKind.INT else "number"}
    if field_spec.kind is FieldKind.TEXTS:
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "string"}
