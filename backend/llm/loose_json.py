"""Objects in a model's text that are almost JSON: full-width marks, trailing commas, cut-off ends.

A key that one object gives twice, with different values, keeps them all (`Several`): which one is meant is
not for a parser of JSON to say.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from backend.llm.phrases import to_plain_width

MAX_OBJECTS = 100
MAX_STEPS = 120_000
"""Of the forgiving reader over all objects of one text, so that no text costs more than a linear one."""
_DEPTH = 12
_SPACE = re.compile(r"[\s\u3000\ufeff]*")
_OPEN = re.compile(r"[{｛]")
_QUOTES = {'"': '"', "“": "”", "”": "”", "＂": "＂", "「": "」", "'": "'"}
_BARE = re.compile(r"[^,，}｝\]］\n]*")
_BARE_KEY = re.compile(r"[\w\-]{1,40}")
_MARK = re.compile(r"[\\\"”＂」']")
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")


class Several(tuple[Any, ...]):
    """The different values that one object gives for the same key, in order."""


def _joined(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The members of one object; a repeated key with another value becomes `Several`."""
    value: dict[str, Any] = {}
    for key, given in pairs:
        known = value.get(key)
        if key not in value or known == given:
            value[key] = given
        else:
            value[key] = Several((*(known if isinstance(known, Several) else (known,)), given))
    return value


def _integer(digits: str) -> Any:
    """A JSON integer; minus zero stays a text, since a sign is never dropped."""
    return digits if digits.startswith("-0") else int(digits)


def _decimal(figures: str) -> Any:
    """A JSON number with a fraction; one that only rounding makes whole stays a text, and minus zero too."""
    value = float(figures)
    rounded = value == int(value) if abs(value) < 1e15 else False
    fraction = figures.lower().partition("e")[0].partition(".")[2].strip("0")
    exact = not rounded or not fraction or "e" in figures.lower()
    return value if exact and not figures.startswith("-0") else figures


_DECODER = json.JSONDecoder(object_pairs_hook=_joined, parse_int=_integer, parse_float=_decimal)


@dataclass(frozen=True)
class Found:
    """One object of the text and where it stands; `unfinished` names the keys whose value was cut off."""

    value: dict[str, Any]
    start: int
    end: int
    unfinished: frozenset[str] = field(default_factory=frozenset)


def objects(text: str) -> list[Found]:
    """Every outermost object, in order. Of a text with very many braces only the last part is read."""
    starts = [match.start() for match in _OPEN.finditer(text)]
    found: list[Found] = []
    steps = iter(range(MAX_STEPS))
    position = starts[-MAX_OBJECTS] if len(starts) > MAX_OBJECTS else 0
    for start in starts[-MAX_OBJECTS:]:
        if start < position:
            continue
        read = _strict(text, start) or _loose(text, start, steps)
        if read is not None:
            found.append(read)
            position = read.end
    return found


def members(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The object itself and every object nested in it, outer ones first."""
    if depth > _DEPTH:
        return
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from members(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from members(inner, depth + 1)


def _strict(text: str, start: int) -> Found | None:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return Found(value, start, end) if isinstance(value, dict) else None


def _loose(text: str, start: int, steps: Iterator[int]) -> Found | None:
    reader = _Reader(text, start, steps)
    try:
        value = reader.object(0)
    except _Unreadable:
        return None
    return Found(value, start, reader.at, frozenset(reader.unfinished)) if value else None


class _Unreadable(Exception):
    pass


class _Reader:
    """A forgiving recursive reader. It never guesses a value: what is cut off is named as unfinished.

    `steps` are those left for the whole text; where they are used up it reads nothing more.
    """

    def __init__(self, text: str, at: int, steps: Iterator[int]) -> None:
        self.text = text
        self.at = at
        self.steps = steps
        self.unfinished: set[str] = set()

    def object(self, depth: int) -> dict[str, Any]:
        if depth > _DEPTH:
            raise _Unreadable
        self.at += 1
        given: list[tuple[str, Any]] = []
        while not self._closed("}｝"):
            key = self._key()
            if not self._take(":：=＝"):
                raise _Unreadable
            given.append((key, self._value(depth)))
            if self._ended():
                self.unfinished.add(key)
                break
            self._take(",，、;；")
        return _joined(given)

    def _array(self, depth: int) -> list[Any]:
        if depth > _DEPTH:
            raise _Unreadable
        self.at += 1
        value: list[Any] = []
        while not self._closed("]］"):
            value.append(self._value(depth))
            if self._ended():
                break
            self._take(",，、;；")
        return value

    def _key(self) -> str:
        mark = self._peek()
        if mark in _QUOTES:
            return self._string(_QUOTES[mark], ":：")
        match = _BARE_KEY.match(self.text, self.at)
        if match is None:
            raise _Unreadable
        self.at = match.end()
        return match.group()

    def _value(self, depth: int) -> Any:
        mark = self._peek()
        if mark and mark in "{｛":
            return self.object(depth + 1)
        if mark and mark in "[［":
            return self._array(depth + 1)
        if mark in _QUOTES:
            return self._string(_QUOTES[mark], ",，、;；}｝]］")
        match = _BARE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return _scalar(match.group())

    def _string(self, close: str, after: str) -> str:
        # A quote inside the text is common ("他说"好""): it ends the string only where what follows it
        # can follow a value. Full-width quotes close their own kind, and so does a plain one.
        begin = self.at + 1
        at = begin
        ends = close + ('"' if close == "”" else "")
        while mark := _MARK.search(self.text, at):
            self._step()
            at = mark.end()
            if mark.group() == "\\":
                at += 1
            elif mark.group() in ends:
                space = _SPACE.match(self.text, at)
                following = space.end() if space else at
                if following >= len(self.text) or self.text[following] in after:
                    self.at = at
                    return _unescaped(self.text[begin : mark.start()])
        self.at = len(self.text) + 1
        return _unescaped(self.text[begin:])

    def _step(self) -> None:
        if next(self.steps, None) is None:
            raise _Unreadable

    def _peek(self) -> str:
        self._step()
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        return self.text[self.at : self.at + 1]

    def _take(self, marks: str) -> bool:
        mark = self._peek()
        if mark and mark in marks:
            self.at += 1
            return True
        return False

    def _closed(self, marks: str) -> bool:
        return self._take(marks) or self._ended()

    def _ended(self) -> bool:
        return self.at >= len(self.text)


def _unescaped(raw: str) -> str:
    try:
        return str(json.loads('"' + raw.replace('\\"', '"').replace('"', '\\"') + '"', strict=False))
    except ValueError:
        return raw


def _scalar(raw: str) -> Any:
    word = to_plain_width(raw).strip().strip("\"'“”`")
    lowered = word.lower()
    if lowered in {"true", "false", "null", "none", ""}:
        return {"true": True, "false": False}.get(lowered)
    if _WHOLE.fullmatch(word) and len(word) < 400:
        return int(word)
    return float(word) if _DECIMAL.fullmatch(word) else word
