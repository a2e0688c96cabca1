"""Replies that copy the format they were asked for instead of answering.

Small models often give back the outline of the answer, or the description of a field, as if it were their
own. Such a reply is no verdict, even where one of its fields happens to be filled: the model did not judge.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from backend.llm.fields import EXPLANATION_ALIASES, Field, FieldKind
from backend.llm.schema import PLACEHOLDERS, instruction, meaning, outline
from backend.llm.skeleton import skeleton

Values = Mapping[str, Any]
_TEXTUAL = (FieldKind.TEXT, FieldKind.TEXTS)
_GAP = "〈〉"
_SHORTEST = 6
"""Characters from which on a description is one: "语言" alone may stand in any answer."""
_LONGEST = 400
"""Characters beyond which no text is made of the words of a format alone."""
_QUOTED = 12
"""Characters from which on a reply that stands in the question is taken for a copy of it."""
_GENERIC = (
    "文字", "文本", "字符串", "占位符", "占位", "理由", "解释", "原因", "说明", "评语", "内容", "列表",
    "取值", "整数", "数字", "数值", "结论", "示例", "例子", "略", "同上", "简短的", "简要的", "具体理由",
    "一句话", "一两句话", "你", "您", "自己", "这里", "此处", "在此", "请", "填写", "填入", "写入", "写下",
    "写", "输入", "给出", "待填", "待补充", "先", "再", "用", "的", "string", "str", "text", "texts",
    "explanation", "reason", "reasons", "placeholder", "value", "values", "content", "list", "array",
    "integer", "number", "your", "here", "some", "brief", "short", "insert", "write", "sentence",
    "sentences", "todo", "tbd", "the", "one", "two", "or", "and", "of", "in",
)  # fmt: skip
"""What a placeholder says in the words of other prompts than ours."""
_CLAUSE = re.compile(r"[\W_]+|的|(?<=[a-z])(?=[\u4e00-\u9fff])")
_MARKS = re.compile(r"[\W_]+")
_FILLERS = re.compile(r"\b(?:an?|to|of|in|or|and)\b")
_RUNS = re.compile(r"x{2,}|某{2,}|〇{2,}|[○△□×]+")
_WORDS = "|".join(re.escape(one.strip("〈〉[]")) for one in PLACEHOLDERS.values())
_OURS = re.compile(rf"〈\s*(?:{_WORDS})\s*〉")
_PLACEHOLDER = re.compile(
    rf"{_OURS.pattern}|(?<=[:：])[\s\"'“「『‘<＜《〈{{\[（(]+(?:{_WORDS})\s*[\"'“”」』‘’>＞》〉}}\]）)]"
)


def copied(
    text: str, fields: Sequence[Field], values: Values | None, read: Callable[[str], Values | None]
) -> str | None:
    """Name of the field in which a reply copies the format; None where it answers in its own words.

    `values` is what was read of the reply `text`, None where nothing was; `read` reads another text in the
    same way. A value that stands only in a description of its field is a copy, and so is a text of dots,
    placeholders, or the words of its own description.
    """
    spans = _spans(text, fields)
    if values is None:
        return _nearest(text[: spans[0][1]], fields) if spans else None
    for field in fields:
        if field.name in values and _is_copy(values[field.name], field, fields):
            return field.name
    return _lost(fields, values, read(without_format(text, fields)) or {}) if spans else None


def _lost(fields: Sequence[Field], values: Values, rest: Values) -> str | None:
    """The field whose value is gone, or begins with a gap, where the format is taken out of a reply."""
    for field in fields:
        if field.name not in values:
            continue
        if field.kind not in _TEXTUAL and rest.get(field.name) != values[field.name]:
            return field.name
        if field.kind is FieldKind.TEXT and str(rest.get(field.name, _GAP)).startswith(_GAP):
            return field.name
    return None


def without_echo(text: str, fields: Sequence[Field]) -> str:
    """The text without the instruction or its outline at its head, unless that is all there is, and
    without a description in brackets: "1（1 表示优秀，0 表示不优秀）".

    Some models say the format again, word for word, before they answer; the answer alone is then read.
    """
    for echo in (instruction(fields), outline(fields)):
        if text.startswith(echo) and (rest := text.removeprefix(echo).strip()):
            text = rest
    for begin, end in reversed(_spans(text, fields)):
        if begin and text[begin - 1] in "(（" and text[end : end + 1] in (")", "）"):
            text = text[: begin - 1] + text[end + 1 :]
    return text


def repeats(reply: str, asked: str) -> bool:
    """Whether a reply is nothing but a part of what was asked, whatever its spaces and marks.

    Very short ones are left alone: an answer of a word or two stands in every question.
    """
    folded = _folded(reply)
    return len(folded) >= _QUOTED and folded in _folded(asked)


def without_format(text: str, fields: Sequence[Field]) -> str:
    """The text with every placeholder and every description of a field replaced by an empty 〈〉."""
    parts, at = [], 0
    for begin, end in _spans(text, fields):
        if begin >= at:
            parts.append(text[at:begin] + _GAP)
        at = max(at, end)
    return "".join(parts) + text[at:]


def _spans(text: str, fields: Sequence[Field]) -> list[tuple[int, int]]:
    """Where the format stands in a text, in order; a folded text has the length of the text itself."""
    folded = skeleton(text)
    described = (_spaced(one) for field in fields for one in _descriptions(field))
    patterns = [_PLACEHOLDER, *(pattern for pattern in described if pattern is not None)]
    return sorted(match.span() for pattern in patterns for match in pattern.finditer(folded))


def _nearest(before: str, fields: Sequence[Field]) -> str:
    """The field that is named last in a text."""
    return max(fields, key=lambda field: before.rfind(field.name)).name


def _is_copy(value: Any, field: Field, fields: Sequence[Field]) -> bool:
    if field.kind is FieldKind.TEXT:
        return _copies(str(value), field, fields) or (_wordless(str(value)) and _must_speak(field))
    if field.kind is not FieldKind.TEXTS:
        return False
    parts = [str(part) for part in value]
    if any(_copies(part, field, fields) for part in parts):
        return True
    # A dash may stand for "none" in a list; dots stand for what the model did not write.
    dots = [_wordless(part) and not set(part) <= set("-–—−/ ") for part in parts]
    return field.required and (any(dots) or (bool(parts) and all(map(_wordless, parts))))


def _must_speak(field: Field) -> bool:
    """Whether marks alone are no answer. What quotes a greeting may quote a mark."""
    return field.required or not set(EXPLANATION_ALIASES).isdisjoint(field.names)


def _wordless(text: str) -> bool:
    """Whether a text has neither letters nor digits nor pictures: dots, dashes, empty brackets."""
    return all(not _says(character) for character in text)


def _says(character: str) -> bool:
    drawn = "\u2500" <= character <= "\u25ff"  # boxes, circles and triangles stand for gaps
    return character.isalnum() or (unicodedata.category(character) == "So" and not drawn)


def _copies(text: str, field: Field, fields: Sequence[Field]) -> bool:
    """Whether a text is made of nothing but the words of the format."""
    if _OURS.search(text):
        return True
    plain = unicodedata.normalize("NFKC", text).lower()
    folded = _folded(_FILLERS.sub(" ", plain))
    if not folded or len(folded) > _LONGEST:
        return bool(_RUNS.fullmatch(plain.strip()))
    if folded in _whole(fields):
        return True
    words = _pattern(field.name, field.names, field.hint, instruction(fields))
    return not words.sub("", _RUNS.sub("", folded))


def _whole(fields: Sequence[Field]) -> set[str]:
    """Descriptions of any field, and their names where they are not words of the language of answers."""
    said = {_folded(one) for field in fields for one in (field.hint, meaning(field))}
    return {one for one in said if len(one) >= _SHORTEST} | {_folded(field.name) for field in fields}


@lru_cache(maxsize=64)
def _pattern(name: str, names: tuple[str, ...], hint: str, asked: str) -> re.Pattern[str]:
    """The words that a copied text of this field is made of, longest first."""
    clauses = [part for part in _CLAUSE.split(hint.lower()) if len(part) > 1]
    pieces = {*map(_folded, (*names, hint, *clauses, *_lines(asked, name))), *_GENERIC} - {""}
    return re.compile("|".join(map(re.escape, sorted(pieces, key=len, reverse=True))))


def _lines(asked: str, name: str) -> Iterable[str]:
    """The sentences of an instruction that belong to no field or to this one."""
    lines = [
        line for line in asked.splitlines() if not line.startswith("- ") or line.startswith(f"- {name}：")
    ]
    return [part for line in lines for part in (line, *re.split(r"[，。；：]", line))]


def _descriptions(field: Field) -> list[str]:
    """What is said of a field; the hint of a text alone may begin an honest answer."""
    return [meaning(field)] if field.kind in _TEXTUAL else [meaning(field), field.hint]


@lru_cache(maxsize=256)
def _spaced(description: str) -> re.Pattern[str] | None:
    """A description whatever its spaces and marks; None for one so short that any answer may hold it."""
    folded = _folded(description)
    return re.compile(r"[\W_]*".join(map(re.escape, folded))) if len(folded) >= _SHORTEST else None


def _folded(text: str) -> str:
    return _MARKS.sub("", unicodedata.normalize("NFKC", text).lower())
