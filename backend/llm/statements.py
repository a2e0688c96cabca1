"""The one value that a text states: in a member of an object, behind a label, or as a bare reply.

A value counts only together with all that stands beside it. Agreement ("1（优秀）"), a reason and plain
praise leave it as it is; an open correction ("1，改为 0") replaces it; whatever else may take it back leaves
no value, with the reason.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import dropwhile
from typing import Any

from backend.llm import remarks
from backend.llm.fields import Field
from backend.llm.phrases import Denied, Invalid, may_be_a_value, phrase
from backend.llm.remarks import Place

_SENTENCE_END = re.compile(r"(?:[\n。！!？?;…]|\.(?![0-9]))[\s。！!？?;….)）」』”’\"]*")
_CLAUSE_END = re.compile(
    r"(?:->|=>|→|⇒|[,:=()\[\]（）【】{}|、—–→]|/(?! ?[0-9])|\s[-#]\s|(?<=[0-9])-(?=[^0-9\s])|//)\s*"
)
_ARROW = re.compile(r"->|=>|→|⇒")
_LIST_NUMBER = re.compile(r"^[.)、．]")
_AFFIRMATIONS = frozenset({"是", "是的", "对", "好的", "yes"})
"""Words that affirm the question as often as they are a value: a value said after them is the value."""
_CONSENT = re.compile(
    r"(?:好的?|好啊|行|可以|没问题|当然(?:可以)?|嗯|明白了?|收到|了解|是的?|对|不错|ok|okay|sure|yes|good|"
    r"great|certainly|of course"
    r"|got it|understood|absolutely|alright|right)"
)
_MERE_CONSENT = re.compile(
    r"(?:好的|好啊|行|可以|没问题|当然(?:可以)?|嗯|明白了?|收到|了解|ok|okay|sure|certainly|of course|"
    r"got it|understood"
    r"|absolutely|alright|right|great|good question)"
)
_YES = frozenset({"是", "是的", "对", "yes", "true"})
_NO = frozenset({"否", "不", "不是", "no", "false", "not"})
_ASKS = re.compile(r"(?:这条|该|本条)?(?:祝福语?)?是否(?:为|属于|达到)?")
_LED_BY = re.compile(r"[:=|?]")
_EDGE = " ()[]【】,:、"
_QUOTES = " \"'“”‘’「」『』"
_TO_COME = object()
_FIRST_CLAUSE = re.compile(r"[,;。!()]|\.(?![0-9])")
_LIST = re.compile(r"\[[\s0-9.,\"'-]*\]")
_MOST_PARTS = 4_000


class Source(StrEnum):
    """Where the text stands."""

    MEMBER = "member"
    LABEL = "label"
    BARE = "bare"


@dataclass(frozen=True)
class Part:
    """One clause, the marks before and after it, and the numbers of its sentence and line."""

    text: str
    before: str
    after: str
    sentence: int
    line: int

    @property
    def asked(self) -> bool:
        """Whether it is a question."""
        return "?" in self.after


def stated(text: str, field: Field, source: Source) -> Any | Invalid | None:
    """The value that a text of a member or behind a label states; the text is folded.

    None: it says nothing of the kind. Invalid: it says several values, or more than a value.
    """
    parts = split(text, field)
    if not parts:
        return None
    value, taken = _opening(parts, field)
    if value is None or isinstance(value, Invalid):
        return value
    if _begins_a_list(parts[0], text) or _signed(parts[0]):
        return None
    if _trails_off(parts[taken - 1]):
        return Invalid("unclear")
    return _Remainder(field, source, Place.LATER, parts[taken - 1].sentence).after(value, parts[taken:])


def stated_bare(text: str, field: Field) -> Any | Invalid | None:
    """The value that a reply without objects and labels is, or begins with, or ends with; the text is folded.

    Consent before it ("好的，…") is no value. None and Invalid as in `stated`.
    """
    every = split(text, field)
    parts = list(dropwhile(lambda part: _MERE_CONSENT.fullmatch(part.text), every))
    if not parts and len(every) == 1:
        parts = every
    if not parts or (len(parts) < len(every) and _mere_consent(parts)):
        return None
    opened, taken = _opening(parts, field)
    if isinstance(opened, Invalid):
        return opened
    return _ended(parts, field) if opened is None else _begun(parts, opened, taken, field)


def contradicted(text: str, value: Any, field: Field, place: Place) -> Any | Invalid:
    """The value after all that the text behind it says: the same, the one of a correction, or Invalid."""
    return _Remainder(field, Source.LABEL, place, -1).after(value, split(text, field))


def denied_in_reason(text: str, value: Any, field: Field) -> bool:
    """Whether the lines of an explanation state another value: a whole line, or an open correction."""
    for line in text.split("\n"):
        corrected = remarks.correction(line) or ""
        for clause in (line, _FIRST_CLAUSE.split(corrected, maxsplit=1)[0]):
            other = _value(clause.strip(" 。.!,)"), field)
            if other is not None and other != value:
                return True
    return False


def split(text: str, field: Field) -> list[Part]:
    """The clauses of the text, none of a mere list of figures. A sentence that is a value as it stands
    ("甲、乙都好") stays whole."""
    if _LIST.fullmatch(text.strip(" \n。.!")):
        return []
    parts: list[Part] = []
    line, at, mark = 0, 0, ""
    ends = [match.span() for match in _SENTENCE_END.finditer(text)][:_MOST_PARTS]
    for number, (end, following) in enumerate([*ends, (len(text), len(text))]):
        sentence, closing = text[at:end], text[end:following]
        clauses = _clauses(sentence, mark, closing, field, (number, line))
        if (
            parts
            and "\n" in mark
            and clauses
            and _numbers_a_line(clauses[0], text[following : following + 1])
        ):
            del clauses[0]
        parts += clauses
        mark = closing if clauses else mark + closing
        line += closing.count("\n")
        at = following
    return parts


def _clauses(sentence: str, mark: str, closing: str, field: Field, place: tuple[int, int]) -> list[Part]:
    whole = sentence.strip(_EDGE)
    if not _ARROW.search(whole) and phrase(whole, field) is not None:
        return [Part(whole, mark, sentence[len(sentence.rstrip(_EDGE)) :] + closing, *place)]
    found: list[Part] = []
    at = 0
    ends = [match.span() for match in _CLAUSE_END.finditer(sentence)][:_MOST_PARTS]
    for end, following in [*ends, (len(sentence), len(sentence))]:
        clause = sentence[at:end].strip(_QUOTES)
        after = sentence[end:following] or closing
        if clause:
            found.append(Part(clause, mark, after, *place))
        mark = after if clause else mark + after
        at = following
    return found


def _signed(part: Part) -> bool:
    """Whether a mark before the first figure makes another value of it ("!1")."""
    return part.text[:1].isdigit() and re.search(r"[!.]", part.before) is not None


def _trails_off(part: Part) -> bool:
    """Whether the value is followed by an ellipsis: then it was not all."""
    return "…" in part.after or ".." in part.after


def _numbers_a_line(part: Part, following: str) -> bool:
    """Whether the first clause of a line is its number in a list ("1. …", "2、…")."""
    return part.text.isdigit() and _LIST_NUMBER.match(part.after) is not None and following not in ("", "\n")


def _value(clause: str, field: Field) -> Any | None:
    """The clause's value where it has one that can be used."""
    said = phrase(clause, field)
    return None if isinstance(said, Denied | Invalid) else said


def _opening(parts: Sequence[Part], field: Field) -> tuple[Any | Invalid | None, int]:
    """The value that the parts begin with, and how many of them that took."""
    first, second = parts[0], parts[1] if len(parts) > 1 else None
    if first.asked or (second and _ASKS.match(first.text)):
        return _answered(parts, field)
    said = phrase(first.text, field)
    later = _value(second.text, field) if second and not second.asked else None
    if isinstance(said, Denied):
        return (None, 0) if later in (None, said.value) else (later, 2)
    if first.text in _AFFIRMATIONS and second and later is not None and _goes_on(second):
        return later, 2
    return said, 1


def _goes_on(part: Part) -> bool:
    """Whether a part after "是" says the value itself."""
    return part.before.strip() in (",", ":") and part.text not in _YES | _NO


def _answered(parts: Sequence[Part], field: Field) -> tuple[Any | None, int]:
    """The value of a question with its answer ("优秀？不", "是否合格：否", "A? No, B")."""
    if len(parts) < 2 or parts[1].asked:
        return None, 0
    asked, answer = _value(_ASKS.sub("", parts[0].text, count=1), field), parts[1].text
    if asked is None:
        return None, 0  # "情感如何？好" answers another question
    if answer not in _YES | _NO:
        said = _value(answer, field)
        return (None, 0) if said is None else (said, 2)
    if field.praises(asked):
        return (asked if answer in _YES else field.opposite[asked]), 2
    if field.tie is None or answer in _YES or len(parts) < 3:
        return None, 0  # "差？否" may deny the question or give the verdict
    other = _value(parts[2].text, field)
    return (None, 0) if other in (None, asked) else (other, 3)


@dataclass(frozen=True)
class _Remainder:
    """What stands behind a value: `sentence` is the value's own, `place` where the other sentences are."""

    field: Field
    source: Source
    place: Place
    sentence: int

    def after(self, value: Any, parts: Sequence[Part]) -> Any | Invalid:
        """The value after all parts, one by one: kept, corrected, or Invalid."""
        corrected = False
        for number, part in enumerate(parts):
            if number == 0 and self._beside(part) and _joined_figures(part):
                return Invalid("unclear")
            if not corrected and self._of_another_label(part, parts[number - 1] if number else None):
                continue
            following = parts[number + 1] if number + 1 < len(parts) else None
            step = self._corrected(part) if corrected else self._next(part, value, following)
            if isinstance(step, Invalid):
                return step
            corrected = step is _TO_COME
            value = value if corrected else step
        return Invalid("unclear") if corrected else value

    def _beside(self, part: Part) -> bool:
        return part.sentence == self.sentence

    def _of_another_label(self, part: Part, before: Part | None) -> bool:
        """Whether the part is the value of another label in another sentence ("置信度：0.9")."""
        if before is None or self._beside(part) or before.sentence != part.sentence:
            return False
        return part.before.strip() in (":", "=") and not remarks.relabels(before.text)

    def _corrected(self, part: Part) -> Any | Invalid:
        later = None if part.asked else _value(part.text, self.field)
        return Invalid("unclear") if later is None else later

    def _next(self, part: Part, value: Any, following: Part | None) -> Any | Invalid:
        """The value after one part; `_TO_COME` where the part announces a correction that follows."""
        said, field = _value(part.text, self.field), self.field
        if part.asked:
            return Invalid("unclear") if self._beside(part) or said is not None else value
        if _ARROW.search(part.before):
            return said if said is not None and self.source is Source.LABEL else Invalid("unclear")
        if said is not None and said == value:
            return value
        correction = remarks.correction(part.text)
        if correction is not None:
            later = _value(correction, field)
            if later is not None or not correction:
                return _TO_COME if later is None else later
            if self._beside(part) or may_be_a_value(correction, field):
                return Invalid("unclear")
        if self._heads_a_remark(part, following):
            return value
        if said is not None or isinstance(phrase(part.text, field), Invalid):
            return value if self._conceded(part, following) else Invalid("conflicting")
        return Invalid("unclear") if self._turned(part, value) else value

    def _heads_a_remark(self, part: Part, following: Part | None) -> bool:
        """Whether a side only heads what is said of it in another sentence ("乙：略空泛")."""
        if self.field.tie is None or self._beside(part) or following is None:
            return False
        return part.after.strip() == ":" and not remarks.prefers(following.text)

    def _conceded(self, part: Part, following: Part | None) -> bool:
        """Whether another sentence grants this ("很好，但…") only to go on against it."""
        goes_on = following is not None and following.sentence == part.sentence
        return (
            not self._beside(part) and goes_on and following is not None and remarks.concedes(following.text)
        )

    def _turned(self, part: Part, value: Any) -> bool:
        if self._beside(part) and (other := remarks.other_scale(part.text, self.field)) is not None:
            return other
        if part.text == "差一点" and self.source is not Source.BARE:
            return False
        return remarks.turns(
            part.text, value, self.field, Place.SENTENCE if self._beside(part) else self.place
        )


def _begins_a_list(part: Part, text: str) -> bool:
    """Whether the first figure numbers a line, and the next one follows on another line."""
    if not part.text.isdigit() or not _LIST_NUMBER.match(part.after):
        return False
    return re.search(rf"^[ *]*{int(part.text) + 1} ?[.)、]", text, re.M) is not None


def _joined_figures(part: Part) -> bool:
    """Whether the mark between value and part may stand within one number ("2,5", "1:0")."""
    return bool(re.match(r"[0-9]", part.text)) and bool(re.fullmatch(r"[,:/|\-–—.、= ]+", part.before))


def _mere_consent(parts: Sequence[Part]) -> bool:
    return len(parts) == 1 and _CONSENT.fullmatch(parts[0].text) is not None


def _begun(parts: Sequence[Part], value: Any, taken: int, field: Field) -> Any | Invalid | None:
    """A bare reply that begins with its value."""
    last, rest = parts[taken - 1], parts[taken:]
    if _signed(parts[0]) or (rest and last.text.isdigit() and _LIST_NUMBER.match(rest[0].before)):
        return None
    if _trails_off(last):
        return Invalid("unclear")
    if not rest and last.after.strip().startswith(":"):
        return None  # a heading, and nothing below it
    settled = _Remainder(field, Source.BARE, Place.LATER, last.sentence).after(value, rest)
    if rest and settled == value and taken == 1 and _CONSENT.fullmatch(last.text):
        plain = all(_value(part.text, field) == value or remarks.praise(part.text) for part in rest)
        return value if plain else None
    return settled


def _ended(parts: Sequence[Part], field: Field) -> Any | Invalid | None:
    """A bare reply that ends with its value, or whose value has a line to itself."""
    per_line = Counter(part.line for part in parts)
    for place, part in enumerate(parts):
        alone = place == len(parts) - 1 or (place > 0 and per_line[part.line] == 1)
        value = _value(part.text, field) if alone and not part.asked else None
        if value is None or (place > 0 and _LED_BY.search(part.before)):
            continue
        before = parts[:place]
        if not all(_harmless_before(one, value, field, one.line == part.line) for one in before):
            return None
        return _Remainder(field, Source.BARE, Place.LATER, part.sentence).after(value, parts[place + 1 :])
    return None


def _harmless_before(part: Part, value: Any, field: Field, same_line: bool) -> bool:
    said = phrase(part.text, field)
    if part.asked or remarks.mentioned(part.text) or remarks.hearsay(part.text):
        return False
    if said is not None:
        return bool(said == value)
    if field.praises(value) and same_line:
        return remarks.praise(part.text)
    return not remarks.turns(part.text, value, field, Place.OBJECT)
