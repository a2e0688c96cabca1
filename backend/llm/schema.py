"""From fields to what is asked of the model: a JSON schema, or the same wish in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.llm.fields import Field, FieldKind

PLACEHOLDERS = {
    FieldKind.CHOICE: "〈取值〉",
    FieldKind.INT: "〈整数〉",
    FieldKind.FLOAT: "〈数〉",
    FieldKind.TEXT: "〈文字〉",
    FieldKind.TEXTS: "[〈文字〉]",
}
"""What stands for a value in the format. None of them can be read as one, quoted or not: a small model
copies the format as it is, and a copy must never be a verdict (see `backend.llm.copied`)."""


def json_schema(fields: Sequence[Field]) -> dict[str, Any]:
    """The JSON schema of a reply with these fields, as strict mode wants it (everything required)."""
    return {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": [field.name for field in fields],
        "additionalProperties": False,
    }


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The request field that asks a server to keep to the schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def instruction(fields: Sequence[Field]) -> str:
    """The wish in words, for every server: schemas only make it surer."""
    lines = [f"- {field.name}：{meaning(field)}" for field in fields]
    return (
        "只输出一个 JSON 对象，不要输出其他内容。字段：\n"
        + "\n".join(lines)
        + f"\n格式：{outline(fields)}\n把每个〈〉换成你自己的内容，文字加双引号；照抄格式的回复无效。"
    )


def outline(fields: Sequence[Field]) -> str:
    """The form of a reply with a placeholder for every value; no JSON, and no answer."""
    return "{" + ", ".join(f'"{field.name}": {PLACEHOLDERS[field.kind]}' for field in fields) + "}"


def meaning(field: Field) -> str:
    """What an instruction says of a field: its scale, then its hint."""
    scale = {
        FieldKind.CHOICE: "只能是 " + " 或 ".join(str(value) for value in field.values),
        FieldKind.INT: f"{field.low:g} 到 {field.high:g} 的整数",
        FieldKind.FLOAT: f"{field.low:g} 到 {field.high:g} 的数",
        FieldKind.TEXT: "文字",
        FieldKind.TEXTS: "文字的列表",
    }[field.kind]
    return f"{scale}；{field.hint}" if field.hint else scale


def _property(field: Field) -> dict[str, Any]:
    if field.kind is FieldKind.CHOICE:
        kind = "integer" if all(isinstance(value, int) for value in field.values) else "string"
        return {"type": kind, "enum": field.values}
    if field.kind is FieldKind.INT and field.high - field.low <= 20:
        # Values listed, since several servers refuse minimum and maximum in strict mode.
        return {"type": "integer", "enum": list(range(int(field.low), int(field.high) + 1))}
    if field.kind in (FieldKind.INT, FieldKind.FLOAT):
        return {"type": "integer" if field.kind is FieldKind.INT else "number"}
    if field.kind is FieldKind.TEXTS:
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "string"}
