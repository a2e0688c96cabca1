"""What a reply only quotes or takes back: thoughts, "> " lines, quotation marks, fences, struck-out words.

Everything here keeps positions: a span is blanked by as many spaces, so that objects and labels stay where
they are.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

TextSpan = tuple[int, int]
_THOUGHT_START = re.compile(r"<(think|thinking|reasoning)>", re.I)
_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>", re.I)
_LINE_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>(?=[ \t]*(?:\n|\Z))", re.I)
_STRUCK_OUT = re.compile(r"~~[^~\n]{1,200}~~|<(del|s|strike)>[^<\n]{0,200}</\1>", re.I)
_FENCE_START = re.compile(r"<<<[^<>\n]{0,80}开始>>>")
_FENCE_END = re.compile(r"<<<[^<>\n]{0,80}结束>>>")
_QUOTED_LINES = re.compile(r"^[ \t]*>[^\n]*$", re.M)
_QUOTE_MARKER = re.compile(r">(?! ?[0-9])")
_QUOTE_PAIRS = {"“": "”", "‘": "’", "「": "」", "『": "』", "《": "》", "〈": "〉", '"': '"', "`": "`"}
_OPENING_BY_CLOSING = {closing_mark: mark for mark, closing_mark in _QUOTE_PAIRS.items()}
_QUOTE_MARKS = re.compile(r"[“”‘’「」『』《》〈〉\"`\n]")
_CODE_FENCE = re.compile(r"^[ \t]*```[^\n]*$", re.M)
_VALUE_SIGN = re.compile(r"[:：=＝{｛]")
_DEEPEST_NESTING = 40


def without_thoughts(reply_text: str, object_spans: Sequence[TextSpan]) -> str:
    """The text without its thinking, closed or cut off. Tags within an object are a part of what it says.

    Objects here and below: their spans in the text, in order and apart from one another.
    """
    retained_parts, position = [], 0
    for opening in _THOUGHT_START.finditer(reply_text):
        if opening.start() < position or _is_within(opening.start(), object_spans):
            continue
        retained_parts.append(reply_text[position : opening.start()])
        closing = _THOUGHT_END.search(reply_text, opening.end())
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

    A pair of quotation marks counts where a label or one of the `objects` stands in it: a mere word in
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
