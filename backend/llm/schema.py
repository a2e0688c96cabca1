"""From fields to what is asked of the model: a JSON schema, or the same wish in words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from backend.llm.fields import Field, FieldKind


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
    lines = [f"- {field.name}：{_meaning(field)}" for field in fields]
    example = json.dumps({field.name: _example(field) for field in fields}, ensure_ascii=False)
    return "只输出一个 JSON 对象，不要输出其他内容。字段：\n" + "\n".join(lines) + f"\n格式示例：{example}"


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


def _meaning(field: Field) -> str:
    scale = {
        FieldKind.CHOICE: "只能是 " + " 或 ".join(str(value) for value in field.values),
        FieldKind.INT: f"{field.low:g} 到 {field.high:g} 的整数",
        FieldKind.FLOAT: f"{field.low:g} 到 {field.high:g} 的数",
        FieldKind.TEXT: "文字",
        FieldKind.TEXTS: "文字的列表",
    }[field.kind]
    return f"{scale}；{field.hint}" if field.hint else scale


def _example(field: Field) -> Any:
    return {
        FieldKind.CHOICE: field.values[-1] if field.values else None,
        FieldKind.INT: int(field.low),
        FieldKind.FLOAT: field.low,
        FieldKind.TEXT: "……",
        FieldKind.TEXTS: ["……"],
    }[field.kind]
