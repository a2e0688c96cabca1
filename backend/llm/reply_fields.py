"""One reply taken apart: its own objects, its labels, and its prose with everything quoted blanked."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backend.llm import remarks
from backend.llm.fields import EXPLANATION_ALIASES, Field, FieldKind
from backend.llm.loose_json import Found, objects
from backend.llm.member_values import coerce, has_member, member_value
from backend.llm.phrases import Invalid
from backend.llm.quotations import Span, blanked, code_blocks, holds, quotations, taken_back
from backend.llm.remarks import Place
from backend.llm.skeleton import folded, plain_width
from backend.llm.statements import Source, contradicted, denied_in_reason, stated, stated_bare

_TEXTS = (FieldKind.TEXT, FieldKind.TEXTS)
_WRAPPING = " \t\n*_`#>\"'“”‘’「」『』()（）【】[]~·-—.。!！"
_SENTENCE_START = re.compile(r"[。！!？?;\n]")
_TABLE_ROW = re.compile(r"^([ ]*)\|([^|\n]+)\|([^|\n]+)\|([^\n]*)$", re.M)
_FENCE_LINE = re.compile(r"^ *```[^\n]*$", re.M)
_SOURCE_TEXT = re.compile(r"(?:原文|原祝福|祝福语?|输入|请求|引用|original|input|greeting|quoted)[^\n]{0,6}$")
_SECTIONS = (
    *EXPLANATION_ALIASES,
    "分析",
    "点评",
    "评析",
    "依据",
    "rationale",
    "analysis",
    "comment",
    "comments",
)
_DENIED = re.compile(r"[不没未无非难勿]")
_DENIED_EN = re.compile(r"\b(?:no|not|cannot|can't|without|another|opposite|other|wrong)\b[^.,\n]{0,20}$")
_LED = re.compile(
    r"(?:我的?|最终|最后|综合|总体|整体|总|则|故|后|此|出|本条|本次|初步|初始|为|是|以下|因此|所以|作|下|语|条|出的|的最终|正确|其|并|再|新)$"
)
_CHINESE = re.compile(r"[\u4e00-\u9fff]{1,12}$")
MOST_LABELS = 500
"""Labels of one field in a reply; a reply that has more is a model that repeats itself."""
_BEFORE, _AFTER = 80, 40


@dataclass(frozen=True)
class _Given:
    """One value that the reply gives a field (None: nothing was said), and where."""

    value: Any | Invalid | None
    start: int
    end: int
    whole: bool
    """Whether it stands in an object."""
    formal: bool = True
    """Whether a field's own name and a colon announce it."""


class ReplyFields:
    """A reply without its thinking. Positions are the same in `body`, `prose` and `plain`."""

    def __init__(self, body: str, fields: Sequence[Field], cut: bool) -> None:
        self.cut = cut
        self.fields = fields
        self.body = blanked(body, taken_back(body))
        every = objects(self.body)
        spans = [(one.start, one.end) for one in every]
        quoted = quotations(self.body, spans)
        prose = plain_width(blanked(self.body, [*spans, *quoted]))
        quoted += [block for block in code_blocks(prose) if _quotes_its_source(prose, block)]
        prose = blanked(prose, [*quoted, *(match.span() for match in _FENCE_LINE.finditer(prose))])
        self.plain = folded(_TABLE_ROW.sub(_labelled_row, prose))
        own = [one for one in every if not holds(quoted, (one.start, one.end))]
        self.found = [one for one in own if not self._mentioned(one)]
        names = {name for field in fields for name in (*field.names, *field.weak)} | set(_SECTIONS)
        self._starts = sorted(
            [match.start() for match in _label(tuple(sorted(names))).finditer(self.plain)]
            + [one.start for one in every]
        )
        anchor = next(field for field in fields if field.required)
        self._anchored = next((one for one in reversed(self._believed()) if _has(one, anchor)), None)

    def read(self, field: Field) -> Any | Invalid | None:
        """The field's value from objects, labels, or plain words; None where it is not there."""
        if field.kind in _TEXTS:
            value = member_value(self._anchored, field.names, field) if self._anchored else None
            return self._labelled_text(field) if value is None else value
        given = self._given(field)
        if any(one.value is not None for one in given):
            return self._agreed(field, given)
        blank = not self.found and not self.cut and not any(one.formal for one in given)
        return self._bare(field) if blank else None

    def _believed(self) -> list[Found]:
        """The objects that count: of a reply that was cut off only one that reaches its end."""
        end = len(self.body.rstrip("`\n "))
        return [one for one in self.found if not self.cut or one.end >= end]

    def _given(self, field: Field) -> list[_Given]:
        """Every value of the field, in order. A weaker name counts only where no better one is used; then
        it may still disagree, in an object and on the same scale."""
        strong = self._named(field, field.names, strict=True)
        weak = self._named(field, field.weak, strict=False)
        if not any(one.value is not None for one in strong):
            return weak if any(one.value is not None for one in weak) else [*strong, *weak]
        doubts = [
            one for one in weak if one.whole and one.value is not None and not isinstance(one.value, Invalid)
        ]
        return sorted([*strong, *doubts], key=lambda one: one.start)

    def _named(self, field: Field, names: Sequence[str], *, strict: bool) -> list[_Given]:
        inside = [
            _Given(member_value(one, names, field), one.start, one.end, True)
            for one in self._believed()
            if has_member(one, names)
        ]
        return sorted([*inside, *self._labelled(field, names, strict)], key=lambda one: one.start)

    def _labelled(self, field: Field, names: Sequence[str], strict: bool) -> Iterator[_Given]:
        matches = list(_label(tuple(names)).finditer(self.plain))
        if len(matches) > MOST_LABELS:
            yield _Given(Invalid("unclear"), matches[-1].start(), matches[-1].end(), True)
            return
        for match in matches:
            if self._somebody_elses(match, field) or (self.cut and not self._ends_its_line(match)):
                continue
            text = self.plain[match.end() : self._boundary(match.end())]
            value = stated(text, field, Source.LABEL)
            formal = strict and match["mark"] in (":", "=") and bool(text.strip(_WRAPPING))
            if value is None and formal and not re.search(r"[0-9]", text):
                value = Invalid("unclear")
            yield _Given(value, match.start(), match.end(), False, formal)

    def _boundary(self, start: int) -> int:
        """Where the text behind a label ends: at the next label or object."""
        place = bisect_left(self._starts, start)
        return self._starts[place] if place < len(self._starts) else len(self.plain)

    def _somebody_elses(self, match: re.Match[str], field: Field) -> bool:
        """Whether the label stands in a sentence about the judged text, or names one aspect of it."""
        before = self._sentence_before(match.start())
        if remarks.mentioned(before):
            return True
        word = _CHINESE.search(before.rstrip("*_`\"'“「【["))
        if _DENIED.search(word.group()) if word else _DENIED_EN.search(before):
            return True
        return field.kind is FieldKind.CHOICE and word is not None and _LED.search(word.group()) is None

    def _sentence_before(self, position: int) -> str:
        window = self.plain[max(0, position - _BEFORE) : position]
        starts = [match.end() for match in _SENTENCE_START.finditer(window)]
        sentence = window[starts[-1] :] if starts else window
        if sentence.strip() or not window.rstrip().endswith(":"):
            return sentence
        return window.rstrip().rpartition("\n")[2]

    def _mentioned(self, found: Found) -> bool:
        """Whether the reply only speaks of this object: as an example, or as a part of the judged text."""
        after = self.plain[found.end : found.end + _AFTER]
        return remarks.mentioned(self._sentence_before(found.start)) or remarks.called_an_example(after)

    def _ends_its_line(self, match: re.Match[str]) -> bool:
        line = self.plain.rfind("\n", 0, match.start()) + 1
        return not self.plain[line : match.start()].strip(_WRAPPING) and "\n" in self.plain[match.end() :]

    def _agreed(self, field: Field, given: Sequence[_Given]) -> Any | Invalid:
        """The value on which all agree, or the last of open corrections."""
        said = [one for one in given if one.value is not None]
        decided = said[0]
        for one in said[1:]:
            same = one.value == decided.value
            replaced = isinstance(decided.value, Invalid) and not decided.whole
            if same or replaced or remarks.corrects_between(self.plain[decided.end : one.start]):
                decided = one
            elif isinstance(one.value, Invalid):
                return one.value
            else:
                return decided.value if isinstance(decided.value, Invalid) else Invalid("conflicting")
        return self._confirmed(decided, field)

    def _confirmed(self, decided: _Given, field: Field) -> Any | Invalid:
        value = decided.value
        if isinstance(value, Invalid):
            return value
        if decided.whole:
            after = self.plain[decided.end : self._boundary(decided.end)]
            if after.lstrip(" `\n").startswith(("?", "吗")):
                return Invalid("unclear")
            value = contradicted(after, value, field, Place.OBJECT)
        return value if isinstance(value, Invalid) else self._unless_the_reason_denies(value, field)

    def _unless_the_reason_denies(self, value: Any, field: Field) -> Any | Invalid:
        for match in _label(_SECTIONS).finditer(self.plain):
            text = self.plain[match.end() : self._boundary(match.end())]
            if denied_in_reason(text, value, field):
                return Invalid("conflicting")
        return value

    def _labelled_text(self, field: Field) -> Any | None:
        starts = list(_label(field.names).finditer(self.plain))
        if not starts:
            return None
        begin = starts[-1].end()
        ends = [
            match.start()
            for other in self.fields
            for match in _label(other.names).finditer(self.plain, begin)
        ]
        value = self.body[begin : min(ends, default=len(self.body))].strip(" \n*`，,;；")
        return coerce(value, field)

    def _bare(self, field: Field) -> Any | Invalid | None:
        """A plain word answers only a question about one thing."""
        asked = [one for one in self.fields if one.required and one.kind not in _TEXTS]
        if asked != [field]:
            return None
        reasons = [
            (match.start(), self._boundary(match.end())) for match in _label(_SECTIONS).finditer(self.plain)
        ]
        value = stated_bare(blanked(self.plain, reasons), field)
        known = value is not None and not isinstance(value, Invalid)
        return self._unless_the_reason_denies(value, field) if known else value


def _has(found: Found, field: Field) -> bool:
    return has_member(found, field.names) or has_member(found, field.weak)


def _quotes_its_source(prose: str, block: Span) -> bool:
    """Whether the line before a code block says that the block holds the text under judgement."""
    before = prose[max(0, block[0] - _BEFORE) : block[0]].rstrip(" \n").rpartition("\n")[2].strip(" *:：")
    return bool(before) and (remarks.mentioned(before) or _SOURCE_TEXT.search(before) is not None)


def _labelled_row(row: re.Match[str]) -> str:
    """A row of a table as a label with its value, of the same length."""
    return f"{row[1]} {row[2]}:{row[3]} {row[4]}"


@lru_cache(maxsize=256)
def _label(names: tuple[str, ...]) -> re.Pattern[str]:
    either = "|".join(re.escape(folded(name)) for name in sorted(names, key=len, reverse=True)) or r"(?!)"
    decoration = r"[\"'“”*`_】\]\s]{0,6}"
    return re.compile(
        rf"(?<![a-z_])(?:{either})(?:结果)?(?: ?\((?:[-0-9/,或至到~ ]|or){{1,12}}\))?{decoration}"
        rf"(?P<mark>[:=]|应(?:该|当)?[为是]|为(?!什么|何|止|了)|是(?!否|不是)|\bis\b|(?=\s\d)|(?<=】))[\"'“”*`_\s]{{0,6}}"
    )
