"""From fields to what is asked of the model: a JSON schema, or the same wish in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.llm.fields import FieldKind, FieldSpec

PLACEHOLDERS = {
    FieldKind.CHOICE: "〈取值〉",
    FieldKind.INT: "〈整数〉",
    FieldKind.FLOAT: "〈数〉",
    FieldKind.TEXT: "〈文字〉",
    FieldKind.TEXTS: "[〈文字〉]",
}
"""What stands for a value in the format. None of them can be read as one, quoted or not: a small model
copies the format as it is, and a copy must never be a verdict (see `backend.llm.copied`)."""


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
    """The wish in words, for every server: schemas only make it surer."""
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
