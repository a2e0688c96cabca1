"""Reading a reply tolerantly and strictly: any form that is clear, no value that is not.

Order of trust: a JSON object, then labelled values ("判定：0"), then a plain word. Where a reply gives
several verdicts the last one wins. What the reply merely quotes (「…」, our fence, "> " lines) is skipped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import Message
from backend.llm.copied import copied
from backend.llm.fields import Field, FieldKind, explanation, verdict
from backend.llm.loose_json import Found, members, objects
from backend.llm.phrases import Invalid, on_scale, phrase
from backend.llm.skeleton import skeleton

MAX_REPLY = 40_000
_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.S | re.I)
_THOUGHT_END = re.compile(r"\A.*</(?:think|thinking|reasoning)>", re.S | re.I)
_QUOTED = re.compile(
    r"“[^“”]*[:：][^“”]*”|‘[^‘’]*[:：][^‘’]*’|「[^「」]*[:：][^「」]*」|『[^『』]*[:：][^『』]*』|《[^《》]*[:：][^《》]*》"
    r"|<<<[^<>\n]*开始>>>.*?(?:<<<[^<>\n]*结束>>>|\Z)|^\s*>[^\n]*$",
    re.S | re.M,
)
_WRAPPING = " \t\n*_`#>\"'“”‘’「」『』()（）【】[]~·-—.。!！"
_SEGMENT = re.compile(r"[\n。！!？?；;，,：:]+|(?<!\d)\.+")
_SENTENCES = {
    "empty": ("The reply is empty.", "回复是空的。"),
    "truncated": ("The reply was cut off before its verdict.", "回复在给出结论之前被截断。"),
    "no_answer": ("The reply holds no answer in the form asked for.", "回复中没有所要求形式的结论。"),
    "missing": ('The reply lacks "{field}".', "回复缺少“{field}”。"),
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
    name = copied(_without_thoughts(text[-MAX_REPLY:]), fields, found, values)
    return read if name is None else ParseFailure("copied", text, name)


def _read_fields(text: str, fields: Sequence[Field], cut: bool) -> dict[str, Any] | ParseFailure:
    body = _without_thoughts(text[-MAX_REPLY:])
    if not body:
        return ParseFailure("truncated" if cut else "empty", text)
    reader = _Reply(body, cut)
    values: dict[str, Any] = {}
    anchor = next(field for field in fields if field.required)
    found = reader.object_with(anchor)
    for field in fields:
        value = reader.read(field, found, fields)
        if isinstance(value, Invalid):
            return ParseFailure(value.reason, text, field.name)
        if value is not None:
            values[field.name] = value
        elif field.required:
            return ParseFailure(_absence(reader, cut, found is not None), text, field.name)
    return values


def _absence(reader: "_Reply", cut: bool, in_object: bool) -> str:
    if cut:
        return "truncated"
    return "missing" if in_object or reader.found else "no_answer"


def _without_thoughts(text: str) -> str:
    body = _THOUGHT.sub("", text)
    body = _THOUGHT_END.sub("", body).strip()
    if len(body) > 1 and body[0] + body[-1] in ("“”", "「」", "『』", "‘’"):
        return body[1:-1].strip()
    return body


class _Reply:
    """One reply with its objects found and, for labels, its quotations and objects blanked out."""

    def __init__(self, body: str, cut: bool) -> None:
        self.body = body
        self.cut = cut
        every = objects(body)
        self.found = [one for one in every if not cut or one.end >= len(body.rstrip("`\n "))]
        prose = _QUOTED.sub(lambda match: " " * len(match.group()), body)
        for one in every:
            prose = prose[: one.start] + " " * (one.end - one.start) + prose[one.end :]
        self.plain = skeleton(prose[: len(body)])

    def object_with(self, field: Field) -> Found | None:
        """The last object that holds the field; a weaker name of it counts only where no better is used."""
        for names in (field.names, field.weak):
            for found in reversed(self.found):
                if _lookup(found, names) is not None:
                    return found
        return None

    def read(self, field: Field, found: Found | None, fields: Sequence[Field]) -> Any | Invalid | None:
        """The field's value from the object, from a label (a later one wins), or from plain words."""
        in_object = self._from_object(field, found)
        if field.kind in (FieldKind.TEXT, FieldKind.TEXTS):
            return in_object if in_object is not None else self._labelled_text(field, fields)
        labelled = self._labelled(field, found.end if found else 0)
        if labelled is not None:
            return labelled
        if in_object is not None or self.found:
            return in_object
        # A plain word answers only a question about one thing.
        asked = [one for one in fields if one.required and one.kind not in (FieldKind.TEXT, FieldKind.TEXTS)]
        return self._bare(field) if asked == [field] and not self.cut else None

    def _from_object(self, field: Field, found: Found | None) -> Any | Invalid | None:
        hit = None
        if found is not None:
            hit = _lookup(found, field.names) or _lookup(found, field.weak)
        if found is None or hit is None:
            return None
        key, value = hit
        if key in found.unfinished and field.kind not in (FieldKind.TEXT, FieldKind.TEXTS):
            return None
        return coerce(value, field)

    def _labelled(self, field: Field, after: int) -> Any | Invalid | None:
        for names in (field.names, field.weak):
            last: Any | Invalid | None = None
            for match in _label(names).finditer(self.plain, after):
                if self.cut and not self._trusted(match):
                    continue
                value = phrase(self.plain[match.end() : match.end() + 60], field, whole=False)
                last = value if value is not None else last
            if last is not None:
                return last
        return None

    def _trusted(self, match: re.Match[str]) -> bool:
        line = self.plain.rfind("\n", 0, match.start()) + 1
        return not self.plain[line : match.start()].strip(_WRAPPING) and "\n" in self.plain[match.end() :]

    def _labelled_text(self, field: Field, fields: Sequence[Field]) -> Any | None:
        starts = list(_label(field.names).finditer(self.plain))
        if not starts:
            return None
        begin = starts[-1].end()
        ends = [
            match.start() for other in fields for match in _label(other.names).finditer(self.plain, begin)
        ]
        value = self.body[begin : min(ends, default=len(self.body))].strip(" \n*`，,;；")
        return coerce(value, field)

    def _bare(self, field: Field) -> Any | Invalid | None:
        lines = [phrase(line.strip(_WRAPPING), field, whole=True) for line in self.plain.splitlines()]
        said = [value for value in lines if value is not None]
        if said:
            return said[-1]
        segments = [part.strip(_WRAPPING) for part in _SEGMENT.split(self.plain)]
        segments = [part for part in segments if part]
        for part in (segments[-1:] + segments[:1]) if segments else []:
            value = phrase(part, field, whole=True)
            if value is not None:
                return value
        return None


def coerce(value: Any, field: Field) -> Any | Invalid | None:
    """A JSON value as the field's value; None where it says nothing."""
    if value is None:
        return None
    if field.kind is FieldKind.TEXT:
        return _as_text(value)
    if field.kind is FieldKind.TEXTS:
        return _as_texts(value)
    if isinstance(value, bool):
        return field.words.get(str(value).lower(), Invalid("not_a_choice"))
    if isinstance(value, int | float):
        return on_scale(_finite(value), field)
    if isinstance(value, str):
        said = phrase(skeleton(value).strip(_WRAPPING), field, whole=False)
        return said if said is not None else Invalid("not_a_choice")
    return Invalid("not_a_choice")


def _finite(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _as_text(value: Any) -> str | None:
    if isinstance(value, list):
        value = "；".join(part for part in map(_as_text, value) if part)
    return str(value).strip() or None if isinstance(value, str | int | float) else None


def _as_texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        value = [re.sub(r"^\s*(?:[-*•]|\d+[.、)])\s*", "", line) for line in re.split(r"[\n；;]", value)]
    if not isinstance(value, list):
        return None
    return [text for text in (_as_text(part) for part in value) if text]


def _key(name: str) -> str:
    return re.sub(r"[\s_\-*]", "", skeleton(name))


def _lookup(found: Found, names: Sequence[str]) -> tuple[str, Any] | None:
    wanted = {_key(name) for name in names}
    for member in members(found.value):
        for key, value in member.items():
            if _key(key) in wanted:
                return key, value
    return None


def _label(names: Sequence[str]) -> re.Pattern[str]:
    either = "|".join(re.escape(skeleton(name)) for name in sorted(names, key=len, reverse=True)) or r"(?!)"
    return re.compile(
        rf"(?<![a-z_])(?:{either})(?:结果)?[\"'“”*`_】\]\s]{{0,6}}(?:[:=]|为|是|\bis\b|(?=\s\d))[\"'“”*`_\s]{{0,6}}"
    )
