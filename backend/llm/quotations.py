"""What a reply only quotes, takes back or copies from the request instead of answering."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from backend.llm.fields import (
    EXPLANATION_ALIASES,
    PLACEHOLDERS,
    FieldKind,
    FieldSpec,
    field_meaning,
    reply_instruction,
    reply_outline,
)
from backend.llm.phrases import text_skeleton

TextSpan = tuple[int, int]
_THOUGHT_START = re.compile(r"<(think|thinking|reasoning)>", re.I)
_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>", re.I)
# Only where it ends a line: in the middle of one the tag may be spoken of.
_LINE_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>(?=[ \t]*(?:\n|\Z))", re.I)
_STRUCK_OUT = re.compile(r"~~[^~\n]{1,200}~~|<(del|s|strike)>[^<\n]{0,200}</\1>", re.I)
_FENCE_START = re.compile(r"<<<[^<>\n]{0,80}开始>>>")
_FENCE_END = re.compile(r"<<<[^<>\n]{0,80}结束>>>")
_QUOTED_LINES = re.compile(r"^[ \t]*>[^\n]*$", re.M)
# ">1" and "> 0.5" compare, they do not quote.
_QUOTE_MARKER = re.compile(r">(?! ?[0-9])")
_QUOTE_PAIRS = {"“": "”", "‘": "’", "「": "」", "『": "』", "《": "》", "〈": "〉", '"': '"', "`": "`"}
_OPENING_BY_CLOSING = {closing_mark: mark for mark, closing_mark in _QUOTE_PAIRS.items()}
_QUOTE_MARKS = re.compile(r"[“”‘’「」『』《》〈〉\"`\n]")
_CODE_FENCE = re.compile(r"^[ \t]*```[^\n]*$", re.M)
_VALUE_SIGN = re.compile(r"[:：=＝{｛]")
# The search for a partner goes through the open marks: without a bound, thousands of them would cost the
# square.
_DEEPEST_NESTING = 40


def without_thoughts(reply_text: str, object_spans: Sequence[TextSpan]) -> str:
    """The text without its thinking, closed or cut off. Tags within an object are a part of what it says.

    object_spans, here and below: where the objects of the text stand, in order and apart from one another.
    """
    retained_parts, position = [], 0
    for opening in _THOUGHT_START.finditer(reply_text):
        if opening.start() < position or _is_within(opening.start(), object_spans):
            continue
        retained_parts.append(reply_text[position : opening.start()])
        closing = _THOUGHT_END.search(reply_text, opening.end())
        # A thought that was cut off takes the rest with it: what it weighs is no verdict yet.
        position = closing.end() if closing else len(reply_text)
    remaining_text = "".join([*retained_parts, reply_text[position:]])
    # Chat templates often open the thinking in the prompt: then the reply holds its end alone, on a line.
    lone_ends = (
        end_match
        for end_match in _LINE_THOUGHT_END.finditer(reply_text)
        if not _is_within(end_match.end() - 1, object_spans)
    )
    lone_end = None if retained_parts else next(lone_ends, None)
    return reply_text[lone_end.end() :] if lone_end else remaining_text


def strip_quotation(quoted_text: str) -> str:
    """The text without the one pair of quotation marks that holds the whole of it."""
    stripped_text = quoted_text.strip()
    if (
        len(stripped_text) > 1
        and stripped_text[0] in "“「『‘`"
        and stripped_text.find(_QUOTE_PAIRS[stripped_text[0]], 1) == len(stripped_text) - 1
    ):
        return stripped_text[1:-1].strip()
    return stripped_text


def unwrap_quotation(quoted_text: str) -> str:
    """The text without a quotation that holds the whole of it: marks, or "> " before every line."""
    inner_text = strip_quotation(quoted_text)
    text_lines = [text_line.lstrip() for text_line in inner_text.splitlines() if text_line.strip()]
    if text_lines and all(_QUOTE_MARKER.match(text_line) for text_line in text_lines):
        return "\n".join(text_line.removeprefix(">") for text_line in text_lines).strip()
    return inner_text


def struck_out_spans(reply_text: str) -> list[TextSpan]:
    """Struck-out words."""
    return [struck_match.span() for struck_match in _STRUCK_OUT.finditer(reply_text)]


def quotation_spans(reply_text: str, object_spans: Sequence[TextSpan]) -> list[TextSpan]:
    """The spans of the text that quote: what stands there is no statement of the one who replies.

    A pair of quotation marks counts where a label or an object stands in it: a mere word in
    quotation marks may be the verdict itself. Marks within an object belong to its strings.
    """
    open_text = blank_spans(reply_text, object_spans)
    outer_spans = [
        *(line_match.span() for line_match in _QUOTED_LINES.finditer(open_text)),
        *_fenced_spans(open_text),
    ]
    return [*outer_spans, *_marked_spans(open_text, object_spans)]


def code_block_spans(reply_text: str) -> list[TextSpan]:
    """What stands between two lines of three backticks, these included."""
    fence_lines = [fence_match.span() for fence_match in _CODE_FENCE.finditer(reply_text)]
    return [
        (fence_lines[fence_index][0], fence_lines[fence_index + 1][1])
        for fence_index in range(0, len(fence_lines) - 1, 2)
    ]


def blank_spans(source_text: str, spans: Iterable[TextSpan]) -> str:
    """The text with each span replaced by as many spaces; lines stay lines."""
    text_parts, position = [], 0
    for span_start, span_end in sorted(spans):
        if span_end <= position:
            continue
        span_start = max(span_start, position)
        # Spaces and not nothing, so that positions hold in every form of the text; line ends, so that labels
        # keep their lines.
        text_parts += [
            source_text[position:span_start],
            re.sub(r"[^\n]", " ", source_text[span_start:span_end]),
        ]
        position = span_end
    return "".join([*text_parts, source_text[position:]])


def contains_span(spans: Iterable[TextSpan], inner_span: TextSpan) -> bool:
    """Whether one of the spans holds the inner one."""
    return any(span_start <= inner_span[0] and inner_span[1] <= span_end for span_start, span_end in spans)


def _is_within(position: int, spans: Sequence[TextSpan]) -> bool:
    span_index = bisect_right(spans, (position, -1)) - 1
    return span_index >= 0 and spans[span_index][0] < position < spans[span_index][1]


def _fenced_spans(reply_text: str) -> list[TextSpan]:
    fenced_spans, position = [], 0
    while opening := _FENCE_START.search(reply_text, position):
        closing = _FENCE_END.search(reply_text, opening.end())
        position = closing.end() if closing else len(reply_text)
        fenced_spans.append((opening.start(), position))
    return fenced_spans


def _marked_spans(reply_text: str, object_spans: Sequence[TextSpan]) -> list[TextSpan]:
    """Pairs of quotation marks by a stack of those that are open; plain ones end with their line."""
    quoted_spans: list[TextSpan] = []
    open_marks: list[tuple[str, int]] = []
    for mark_match in _QUOTE_MARKS.finditer(reply_text):
        mark_text, position = mark_match.group(), mark_match.start()
        if mark_text == "\n":
            # Their opening and closing marks look alike, so one that is missing would turn all that follows
            # inside out.
            open_marks = [open_mark for open_mark in open_marks if open_mark[0] not in '"`']
            continue
        opening_mark = _OPENING_BY_CLOSING.get(mark_text)
        partner_index = next(
            (
                mark_index
                for mark_index in range(len(open_marks) - 1, -1, -1)
                if open_marks[mark_index][0] == opening_mark
            ),
            None,
        )
        if partner_index is not None:
            quoted_span = (open_marks[partner_index][1], position + 1)
            del open_marks[partner_index:]
            if _is_quotation(reply_text, quoted_span, object_spans):
                quoted_spans.append(quoted_span)
        elif mark_text in _QUOTE_PAIRS and len(open_marks) < _DEEPEST_NESTING:
            open_marks.append((mark_text, position))
    return quoted_spans


def _is_quotation(reply_text: str, quoted_span: TextSpan, object_spans: Sequence[TextSpan]) -> bool:
    object_index = bisect_right(object_spans, (quoted_span[0], len(reply_text)))
    holds_object = object_index < len(object_spans) and object_spans[object_index][1] < quoted_span[1]
    return holds_object or _VALUE_SIGN.search(reply_text, *quoted_span) is not None


FieldValues = Mapping[str, Any]
_TEXT_KINDS = (FieldKind.TEXT, FieldKind.TEXTS)
_GAP_MARK = "〈〉"
# Characters from which on a description is one: "语言" alone may stand in any answer.
_SHORTEST_DESCRIPTION = 6
# Characters beyond which no text is made of the words of a format alone.
_LONGEST_COPY = 400
# Characters from which on a reply that stands in the question is taken for a copy of it.
_SHORTEST_ECHO = 12
# What a placeholder says in the words of other prompts than ours.
_GENERIC_WORDS = (
    "文字", "文本", "字符串", "占位符", "占位", "理由", "解释", "原因", "说明", "评语", "内容", "列表",
    "取值", "整数", "数字", "数值", "结论", "示例", "例子", "略", "同上", "简短的", "简要的", "具体理由",
    "一句话", "一两句话", "你", "您", "自己", "这里", "此处", "在此", "请", "填写", "填入", "写入", "写下",
    "写", "输入", "给出", "待填", "待补充", "先", "再", "用", "的", "string", "str", "text", "texts",
    "explanation", "reason", "reasons", "placeholder", "value", "values", "content", "list", "array",
    "integer", "number", "your", "here", "some", "brief", "short", "insert", "write", "sentence",
    "sentences", "todo", "tbd", "the", "one", "two", "or", "and", "of", "in",
)  # fmt: skip
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

    `field_values` is what was read of `reply_text`, None where nothing was; `reread` reads another text in the same
    way. A value that stands only in a description of its field is a copy, and so is a text of dots,
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
    """What a prompt tells about a field; the hint of a text alone may begin an honest answer."""
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
