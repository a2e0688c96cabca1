"""Reading a reply tolerantly and strictly: any form that is clear, no value that is not.

What the reply merely quotes (「…」, our fence, "> " lines) is blanked first. Values are then looked for in
JSON objects, behind labels ("判定：0") and, where there is neither, in plain words. All that are found must
agree, or a later one must openly correct an earlier one; otherwise there is none, with the reason.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import Message
from backend.llm.copied import copied_field, without_echo
from backend.llm.fields import FieldSpec, explanation_field, verdict_field
from backend.llm.loose_json import objects
from backend.llm.phrases import InvalidValue
from backend.llm.quotations import unwrap_quotation, without_thoughts
from backend.llm.reply_fields import ReplyReader

MAX_REPLY_CHARACTERS = 40_000
_FAILURE_SENTENCES = {
    "empty": ("The reply is empty.", "回复是空的。"),
    "truncated": ("The reply was cut off before its verdict.", "回复在给出结论之前被截断。"),
    "no_answer": ("The reply holds no answer in the form asked for.", "回复中没有所要求形式的结论。"),
    "missing": ('The reply lacks "{field}".', "回复缺少“{field}”。"),
    "conflicting": (
        'The reply gives values of "{field}" that disagree.',
        "回复给出的“{field}”互相矛盾。",
    ),
    "unclear": (
        'The reply says more about "{field}" than one clear value.',
        "回复中的“{field}”不是一个明确的取值，还带着别的意思。",
    ),
    "out_of_range": ('"{field}" in the reply is outside its scale.', "回复中的“{field}”超出了规定范围。"),
    "copied": (
        'The reply copied the format and did not fill in "{field}".',
        "回复照抄了格式，没有填写“{field}”。",
    ),
    "repeated": ("The reply only repeats what was asked.", "回复只是重复了提问。"),
    "not_a_choice": (
        '"{field}" in the reply is none of the allowed values.',
        "回复中的“{field}”不是允许的取值。",
    ),
}


@dataclass(frozen=True)
class ParseFailure:
    """Why a reply could not be read; `reason` is a key for counting, `raw` the reply as it came."""

    reason: str
    raw_reply: str
    field_name: str = ""

    @property
    def message(self) -> Message:
        """One sentence for people, and for the model that is asked again."""
        en, zh = _FAILURE_SENTENCES[self.reason]
        return Message(en.format(field=self.field_name), zh.format(field=self.field_name))


def parse_verdict_reply(reply_text: str, *, is_truncated: bool = False) -> dict[str, Any] | ParseFailure:
    """`{"verdict": 0 | 1, "explanation": str}` (the explanation where there is one)."""
    return parse_structured_reply(reply_text, [verdict_field(), explanation_field()], is_truncated=is_truncated)


def parse_structured_reply(
    reply_text: str, field_specs: Sequence[FieldSpec], *, is_truncated: bool = False
) -> dict[str, Any] | ParseFailure:
    """The fields of a reply. `cut` says that the reply ended at the token limit: then only what stands
    in an object that reaches the end, or in labels at line starts, is believed. A copy of the format that
    was asked for is no answer."""

    def reread_values(remaining_text: str) -> dict[str, Any] | None:
        reparsed_fields = _parse_fields(remaining_text, field_specs, is_truncated)
        return None if isinstance(reparsed_fields, ParseFailure) else reparsed_fields

    parsed_fields = _parse_fields(reply_text, field_specs, is_truncated)
    field_values = None if isinstance(parsed_fields, ParseFailure) else parsed_fields
    copied_name = copied_field(
        _answer_text(reply_text[-MAX_REPLY_CHARACTERS:], field_specs),
        field_specs,
        field_values,
        reread_values,
    )
    return parsed_fields if copied_name is None else ParseFailure("copied", reply_text, copied_name)


def _parse_fields(
    reply_text: str, field_specs: Sequence[FieldSpec], is_truncated: bool
) -> dict[str, Any] | ParseFailure:
    answer_text = _answer_text(reply_text[-MAX_REPLY_CHARACTERS:], field_specs)
    if not answer_text:
        return ParseFailure("truncated" if is_truncated else "empty", reply_text)
    reply_reader = ReplyReader(answer_text, field_specs, is_truncated)
    field_values: dict[str, Any] = {}
    for field_spec in field_specs:
        field_value = reply_reader.read_field(field_spec)
        if isinstance(field_value, InvalidValue):
            return ParseFailure(field_value.reason, reply_text, field_spec.name)
        if field_value is not None:
            field_values[field_spec.name] = field_value
        elif field_spec.required:
            return ParseFailure(_absence_reason(reply_reader, is_truncated), reply_text, field_spec.name)
    return field_values


def _absence_reason(reply_reader: ReplyReader, is_truncated: bool) -> str:
    if is_truncated:
        return "truncated"
    return "missing" if reply_reader.own_objects else "no_answer"


def _answer_text(reply_text: str, field_specs: Sequence[FieldSpec]) -> str:
    """The reply without its thinking, an echo of the format, and quotation marks around the whole of it."""
    object_spans = (
        [(json_object.start, json_object.end) for json_object in objects(reply_text)] if "<" in reply_text else []
    )
    return without_echo(_decode_json_string(unwrap_quotation(without_thoughts(reply_text, object_spans))), field_specs)


def _decode_json_string(answer_text: str) -> str:
    """The text of a reply that is one JSON string."""
    if not answer_text.startswith('"'):
        return answer_text
    try:
        decoded_value = json.loads(answer_text, strict=False)
    except ValueError:
        return answer_text
    return decoded_value.strip() if isinstance(decoded_value, str) else answer_text
