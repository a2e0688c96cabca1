"""Replies that copy the format they were asked for instead of answering.

Small models often give back the outline of the answer, or the description of a field, as if it were their
own. Such a reply is no verdict, even where one of its fields happens to be filled: the model did not judge.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from backend.llm.fields import EXPLANATION_ALIASES, FieldKind, FieldSpec
from backend.llm.schema import PLACEHOLDERS, field_meaning, reply_instruction, reply_outline
from backend.llm.skeleton import text_skeleton

FieldValues = Mapping[str, Any]
_TEXT_KINDS = (FieldKind.TEXT, FieldKind.TEXTS)
_GAP_MARK = "〈〉"
_SHORTEST_DESCRIPTION = 6
"""Characters from which on a description is one: "语言" alone may stand in any answer."""
_LONGEST_COPY = 400
"""Characters beyond which no text is made of the words of a format alone."""
_SHORTEST_ECHO = 12
"""Characters from which on a reply that stands in the question is taken for a copy of it."""
_GENERIC_WORDS = (
    "文字", "文本", "字符串", "占位符", "占位", "理由", "解释", "原因", "说明", "评语", "内容", "列表",
    "取值", "整数", "数字", "数值", "结论", "示例", "例子", "略", "同上", "简短的", "简要的", "具体理由",
    "一句话", "一两句话", "你", "您", "自己", "这里", "此处", "在此", "请", "填写", "填入", "写入", "写下",
    "写", "输入", "给出", "待填", "待补充", "先", "再", "用", "的", "string", "str", "text", "texts",
    "explanation", "reason", "reasons", "placeholder", "value", "values", "content", "list", "array",
    "integer", "number", "your", "here", "some", "brief", "short", "insert", "write", "sentence",
    "sentences", "todo", "tbd", "the", "one", "two", "or", "and", "of", "in",
)  # fmt: skip
"""What a placeholder says in the words of other prompts than ours."""
_CLAUSE_BREAKS = re.compile(r"[\W_]+|的|(?<=[a-z])(?=[\u4e00-\u9fff])")
_NON_WORD_MARKS = re.compile(r"[\W_]+")
_FILLER_WORDS = re.compile(r"\b(?:an?|to|of|in|or|and)\b")
_FILLER_RUNS = re.compile(r"x{2,}|某{2,}|〇{2,}|[○△□×]+")
_PLACEHOLDER_WORDS = "|".join(re.escape(placeholder.strip("〈〉[]")) for placeholder in PLACEHOLDERS.values())
_OWN_PLACEHOLDER = re.compile(rf"〈\s*(?:{_PLACEHOLDER_WORDS})\s*〉")
_PLACEHOLDER = re.compile(
    rf"{_OWN_PLACEHOLDER.pattern}|(?<=[:：])[\s\"'“「『‘<＜《〈{{\[（(]+(?:{_PLACEHOLDER_WORDS})\s*[\"'“”」』‘’>＞》〉}}\]）)]"
)


def copied_field(
    reply_text: str,
    field_specs: Sequence[FieldSpec],
    field_values: FieldValues | None,
    reread: Callable[[str], FieldValues | None],
) -> str | None:
    """Name of the field in which a reply copies the format; None where it answers in its own words.

    `values` is what was read of the reply `text`, None where nothing was; `read` reads another text in the
    same way. A value that stands only in a description of its field is a copy, and so is a text of dots,
    placeholders, or the words of its own description.
    """
    format_spans = _format_spans(reply_text, field_specs)
    if field_values is None:
        return _nearest_field(reply_text[: format_spans[0][1]], field_specs) if format_spans else None
    for field_spec in field_specs:
        if field_spec.name in field_values and _is_copied_value(field_values[field_spec.name], field_spec, field_specs):
            return field_spec.name
    return (
        _field_only_in_format(field_specs, field_values, reread(without_format(reply_text, field_specs)) or {})
        if format_spans
        else None
    )


def _field_only_in_format(
    field_specs: Sequence[FieldSpec], field_values: FieldValues, remaining_values: FieldValues
) -> str | None:
    """The field whose value is gone, or begins with a gap, where the format is taken out of a reply."""
    for field_spec in field_specs:
        if field_spec.name not in field_values:
            continue
        if (
            field_spec.kind not in _TEXT_KINDS
            and remaining_values.get(field_spec.name) != field_values[field_spec.name]
        ):
            return field_spec.name
        if field_spec.kind is FieldKind.TEXT and str(remaining_values.get(field_spec.name, _GAP_MARK)).startswith(
            _GAP_MARK
        ):
            return field_spec.name
    return None


def without_echo(reply_text: str, field_specs: Sequence[FieldSpec]) -> str:
    """The text without the instruction or its outline at its head, unless that is all there is, and
    without a description in brackets: "1（1 表示优秀，0 表示不优秀）".

    Some models say the format again, word for word, before they answer; the answer alone is then read.
    """
    for format_echo in (reply_instruction(field_specs), reply_outline(field_specs)):
        if reply_text.startswith(format_echo) and (remaining_text := reply_text.removeprefix(format_echo).strip()):
            reply_text = remaining_text
    for span_start, span_end in reversed(_format_spans(reply_text, field_specs)):
        if span_start and reply_text[span_start - 1] in "(（" and reply_text[span_end : span_end + 1] in (")", "）"):
            reply_text = reply_text[: span_start - 1] + reply_text[span_end + 1 :]
    return reply_text


def repeats_question(reply_text: str, question_text: str) -> bool:
    """Whether a reply is nothing but a part of what was asked, whatever its spaces and marks.

    Very short ones are left alone: an answer of a word or two stands in every question.
    """
    folded_reply = _folded_text(reply_text)
    return len(folded_reply) >= _SHORTEST_ECHO and folded_reply in _folded_text(question_text)


def without_format(reply_text: str, field_specs: Sequence[FieldSpec]) -> str:
    """The text with every placeholder and every description of a field replaced by an empty 〈〉."""
    text_parts, position = [], 0
    for span_start, span_end in _format_spans(reply_text, field_specs):
        if span_start >= position:
            text_parts.append(reply_text[position:span_start] + _GAP_MARK)
        position = max(position, span_end)
    return "".join(text_parts) + reply_text[position:]


def _format_spans(reply_text: str, field_specs: Sequence[FieldSpec]) -> list[tuple[int, int]]:
    """Where the format stands in a text, in order; a folded text has the length of the text itself."""
    folded_reply = text_skeleton(reply_text)
    description_patterns = (
        _spaced_pattern(description) for field_spec in field_specs for description in _field_descriptions(field_spec)
    )
    patterns = [_PLACEHOLDER, *(pattern for pattern in description_patterns if pattern is not None)]
    return sorted(format_match.span() for pattern in patterns for format_match in pattern.finditer(folded_reply))


def _nearest_field(preceding_text: str, field_specs: Sequence[FieldSpec]) -> str:
    """The field that is named last in a text."""
    return max(field_specs, key=lambda field: preceding_text.rfind(field.name)).name


def _is_copied_value(field_value: Any, field_spec: FieldSpec, field_specs: Sequence[FieldSpec]) -> bool:
    if field_spec.kind is FieldKind.TEXT:
        return _is_format_text(str(field_value), field_spec, field_specs) or (
            _is_wordless(str(field_value)) and _requires_words(field_spec)
        )
    if field_spec.kind is not FieldKind.TEXTS:
        return False
    text_items = [str(text_item) for text_item in field_value]
    if any(_is_format_text(text_item, field_spec, field_specs) for text_item in text_items):
        return True
    # A dash may stand for "none" in a list; dots stand for what the model did not write.
    wordless_flags = [_is_wordless(text_item) and not set(text_item) <= set("-–—−/ ") for text_item in text_items]
    return field_spec.required and (any(wordless_flags) or (bool(text_items) and all(map(_is_wordless, text_items))))


def _requires_words(field_spec: FieldSpec) -> bool:
    """Whether marks alone are no answer. What quotes a greeting may quote a mark."""
    return field_spec.required or not set(EXPLANATION_ALIASES).isdisjoint(field_spec.all_names)


def _is_wordless(answer_text: str) -> bool:
    """Whether a text has neither letters nor digits nor pictures: dots, dashes, empty brackets."""
    return all(not _carries_meaning(character) for character in answer_text)


def _carries_meaning(character: str) -> bool:
    is_box_drawing = "\u2500" <= character <= "\u25ff"  # boxes, circles and triangles stand for gaps
    return character.isalnum() or (unicodedata.category(character) == "So" and not is_box_drawing)


def _is_format_text(answer_text: str, field_spec: FieldSpec, field_specs: Sequence[FieldSpec]) -> bool:
    """Whether a text is made of nothing but the words of the format."""
    if _OWN_PLACEHOLDER.search(answer_text):
        return True
    plain_text = unicodedata.normalize("NFKC", answer_text).lower()
    folded_answer = _folded_text(_FILLER_WORDS.sub(" ", plain_text))
    if not folded_answer or len(folded_answer) > _LONGEST_COPY:
        return bool(_FILLER_RUNS.fullmatch(plain_text.strip()))
    if folded_answer in _whole_descriptions(field_specs):
        return True
    copied_words = _copied_words_pattern(
        field_spec.name, field_spec.all_names, field_spec.hint, reply_instruction(field_specs)
    )
    return not copied_words.sub("", _FILLER_RUNS.sub("", folded_answer))


def _whole_descriptions(field_specs: Sequence[FieldSpec]) -> set[str]:
    """Descriptions of any field, and their names where they are not words of the language of answers."""
    descriptions = {
        _folded_text(description)
        for field_spec in field_specs
        for description in (field_spec.hint, field_meaning(field_spec))
    }
    return {description for description in descriptions if len(description) >= _SHORTEST_DESCRIPTION} | {
        _folded_text(field_spec.name) for field_spec in field_specs
    }


@lru_cache(maxsize=64)
def _copied_words_pattern(
    field_name: str, field_names: tuple[str, ...], field_hint: str, instruction_text: str
) -> re.Pattern[str]:
    """The words that a copied text of this field is made of, longest first."""
    hint_clauses = [hint_clause for hint_clause in _CLAUSE_BREAKS.split(field_hint.lower()) if len(hint_clause) > 1]
    copied_pieces = {
        *map(
            _folded_text,
            (*field_names, field_hint, *hint_clauses, *_instruction_lines(instruction_text, field_name)),
        ),
        *_GENERIC_WORDS,
    } - {""}
    return re.compile("|".join(map(re.escape, sorted(copied_pieces, key=len, reverse=True))))


def _instruction_lines(instruction_text: str, field_name: str) -> Iterable[str]:
    """The sentences of an instruction that belong to no field or to this one."""
    relevant_lines = [
        instruction_line
        for instruction_line in instruction_text.splitlines()
        if not instruction_line.startswith("- ") or instruction_line.startswith(f"- {field_name}：")
    ]
    return [
        line_part
        for instruction_line in relevant_lines
        for line_part in (instruction_line, *re.split(r"[，。；：]", instruction_line))
    ]


def _field_descriptions(field_spec: FieldSpec) -> list[str]:
    """What is said of a field; the hint of a text alone may begin an honest answer."""
    return (
        [field_meaning(field_spec)] if field_spec.kind in _TEXT_KINDS else [field_meaning(field_spec), field_spec.hint]
    )


@lru_cache(maxsize=256)
def _spaced_pattern(description: str) -> re.Pattern[str] | None:
    """A description whatever its spaces and marks; None for one so short that any answer may hold it."""
    folded_description = _folded_text(description)
    return (
        re.compile(r"[\W_]*".join(map(re.escape, folded_description)))
        if len(folded_description) >= _SHORTEST_DESCRIPTION
        else None
    )


def _folded_text(source_text: str) -> str:
    return _NON_WORD_MARKS.sub("", unicodedata.normalize("NFKC", source_text).lower())
