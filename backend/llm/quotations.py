"""What a reply only quotes or takes back: thoughts, "> " lines, quotation marks, fences, struck-out words.

Everything here keeps positions: a span is blanked by as many spaces, so that objects and labels stay where
they are.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

Span = tuple[int, int]
_THOUGHT = re.compile(r"<(think|thinking|reasoning)>", re.I)
_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>", re.I)
_LINE_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>(?=[ \t]*(?:\n|\Z))", re.I)
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|<(del|s|strike)>[^<\n]{0,200}</\1>", re.I)
_DELIMITED = re.compile(r"<<<[^<>\n]{0,80}开始>>>")
_DELIMITER_END = re.compile(r"<<<[^<>\n]{0,80}结束>>>")
_LINE = re.compile(r"^[ \t]*>[^\n]*$", re.M)
_QUOTED_LINE = re.compile(r">(?! ?[0-9])")
_PAIRS = {"“": "”", "‘": "’", "「": "」", "『": "』", "《": "》", "〈": "〉", '"': '"', "`": "`"}
_OPENED_BY = {close: mark for mark, close in _PAIRS.items()}
_MARKS = re.compile(r"[“”‘’「」『』《》〈〉\"`\n]")
_CODE = re.compile(r"^[ \t]*```[^\n]*$", re.M)
_SAYS_A_VALUE = re.compile(r"[:：=＝{｛]")
_NESTED = 40


def without_thoughts(text: str, objects: Sequence[Span]) -> str:
    """The text without its thinking, closed or cut off. Tags within an object are a part of what it says.

    Objects here and below: their spans in the text, in order and apart from one another.
    """
    kept, at = [], 0
    for opening in _THOUGHT.finditer(text):
        if opening.start() < at or _within(opening.start(), objects):
            continue
        kept.append(text[at : opening.start()])
        closing = _THOUGHT_END.search(text, opening.end())
        at = closing.end() if closing else len(text)
    body = "".join([*kept, text[at:]])
    # Chat templates often open the thinking in the prompt: then the reply holds its end alone, on a line.
    alone = (one for one in _LINE_THOUGHT_END.finditer(text) if not _within(one.end() - 1, objects))
    end = None if kept else next(alone, None)
    return text[end.end() :] if end else body


def unquoted(text: str) -> str:
    """The text without the one pair of quotation marks that holds the whole of it."""
    body = text.strip()
    if len(body) > 1 and body[0] in "“「『‘`" and body.find(_PAIRS[body[0]], 1) == len(body) - 1:
        return body[1:-1].strip()
    return body


def unwrapped(text: str) -> str:
    """The text without a quotation that holds the whole of it: marks, or "> " before every line."""
    body = unquoted(text)
    lines = [line.lstrip() for line in body.splitlines() if line.strip()]
    if lines and all(_QUOTED_LINE.match(line) for line in lines):
        return "\n".join(line.removeprefix(">") for line in lines).strip()
    return body


def taken_back(text: str) -> list[Span]:
    """Struck-out words."""
    return [match.span() for match in _STRUCK.finditer(text)]


def quotations(text: str, objects: Sequence[Span]) -> list[Span]:
    """The spans of the text that quote: what stands there is no statement of the one who replies.

    A pair of quotation marks counts where a label or one of the `objects` stands in it: a mere word in
    quotation marks may be the verdict itself. Marks within an object belong to its strings.
    """
    open_text = blanked(text, objects)
    found = [*(match.span() for match in _LINE.finditer(open_text)), *_delimited(open_text)]
    return [*found, *_marked(open_text, objects)]


def code_blocks(text: str) -> list[Span]:
    """What stands between two lines of three backticks, these included."""
    lines = [match.span() for match in _CODE.finditer(text)]
    return [(lines[n][0], lines[n + 1][1]) for n in range(0, len(lines) - 1, 2)]


def blanked(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced by as many spaces; lines stay lines."""
    parts, at = [], 0
    for start, end in sorted(spans):
        if end <= at:
            continue
        start = max(start, at)
        parts += [text[at:start], re.sub(r"[^\n]", " ", text[start:end])]
        at = end
    return "".join([*parts, text[at:]])


def holds(spans: Iterable[Span], inner: Span) -> bool:
    """Whether one of the spans holds the inner one."""
    return any(start <= inner[0] and inner[1] <= end for start, end in spans)


def _within(position: int, spans: Sequence[Span]) -> bool:
    at = bisect_right(spans, (position, -1)) - 1
    return at >= 0 and spans[at][0] < position < spans[at][1]


def _delimited(text: str) -> list[Span]:
    found, at = [], 0
    while opening := _DELIMITED.search(text, at):
        closing = _DELIMITER_END.search(text, opening.end())
        at = closing.end() if closing else len(text)
        found.append((opening.start(), at))
    return found


def _marked(text: str, objects: Sequence[Span]) -> list[Span]:
    """Pairs of quotation marks by a stack of those that are open; plain ones end with their line."""
    found: list[Span] = []
    opened: list[tuple[str, int]] = []
    for match in _MARKS.finditer(text):
        mark, at = match.group(), match.start()
        if mark == "\n":
            opened = [one for one in opened if one[0] not in '"`']
            continue
        opening = _OPENED_BY.get(mark)
        partner = next((n for n in range(len(opened) - 1, -1, -1) if opened[n][0] == opening), None)
        if partner is not None:
            span = (opened[partner][1], at + 1)
            del opened[partner:]
            if _quotes(text, span, objects):
                found.append(span)
        elif mark in _PAIRS and len(opened) < _NESTED:
            opened.append((mark, at))
    return found


def _quotes(text: str, span: Span, objects: Sequence[Span]) -> bool:
    first = bisect_right(objects, (span[0], len(text)))
    holds_one = first < len(objects) and objects[first][1] < span[1]
    return holds_one or _SAYS_A_VALUE.search(text, *span) is not None
