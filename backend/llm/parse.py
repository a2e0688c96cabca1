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
from backend.llm.copied import copied, without_echo
from backend.llm.fields import Field, explanation, verdict
from backend.llm.loose_json import objects
from backend.llm.phrases import Invalid
from backend.llm.quotations import unwrapped, without_thoughts
from backend.llm.reply_fields import ReplyFields

MAX_REPLY = 40_000
_SENTENCES = {
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
    raw: str
    field: str = ""

    @property
    def message(self) -> Message:
        """One sentence for people, and for the model that is asked again."""
        en, zh = _SENTENCES[self.reason]
        return Message(en.format(field=self.field), zh.format(field=self.field))


def read_verdict(text: str, *, cut: bool = False) -> dict[str, Any] | ParseFailure:
    """`{"verdict": 0 | 1, "explanation": str}` (the explanation where there is one)."""
    return read_object(text, [verdict(), explanation()], cut=cut)


def read_object(text: str, fields: Sequence[Field], *, cut: bool = False) -> dict[str, Any] | ParseFailure:
    """The fields of a reply. `cut` says that the reply ended at the token limit: then only what stands
    in an object that reaches the end, or in labels at line starts, is believed. A copy of the format that
    was asked for is no answer."""

    def values(of: str) -> dict[str, Any] | None:
        other = _read_fields(of, fields, cut)
        return None if isinstance(other, ParseFailure) else other

    read = _read_fields(text, fields, cut)
    found = None if isinstance(read, ParseFailure) else read
    name = copied(_answer_in(text[-MAX_REPLY:], fields), fields, found, values)
    return read if name is None else ParseFailure("copied", text, name)


def _read_fields(text: str, fields: Sequence[Field], cut: bool) -> dict[str, Any] | ParseFailure:
    body = _answer_in(text[-MAX_REPLY:], fields)
    if not body:
        return ParseFailure("truncated" if cut else "empty", text)
    reply = ReplyFields(body, fields, cut)
    values: dict[str, Any] = {}
    for field in fields:
        value = reply.read(field)
        if isinstance(value, Invalid):
            return ParseFailure(value.reason, text, field.name)
        if value is not None:
            values[field.name] = value
        elif field.required:
            return ParseFailure(_absence(reply, cut), text, field.name)
    return values


def _absence(reply: ReplyFields, cut: bool) -> str:
    if cut:
        return "truncated"
    return "missing" if reply.found else "no_answer"


def _answer_in(text: str, fields: Sequence[Field]) -> str:
    """The reply without its thinking, an echo of the format, and quotation marks around the whole of it."""
    spans = [(one.start, one.end) for one in objects(text)] if "<" in text else []
    return without_echo(_decoded(unwrapped(without_thoughts(text, spans))), fields)


def _decoded(body: str) -> str:
    """The text of a reply that is one JSON string."""
    if not body.startswith('"'):
        return body
    try:
        value = json.loads(body, strict=False)
    except ValueError:
        return body
    return value.strip() if isinstance(value, str) else body
