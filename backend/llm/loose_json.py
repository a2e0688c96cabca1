"""Objects in a model's text that are almost JSON: full-width marks, trailing commas, cut-off ends."""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_OBJECTS = 100
_DEPTH = 12
_SPACE = re.compile(r"[\s\u3000\ufeff]*")
_OPEN = re.compile(r"[{｛]")
_QUOTES = {'"': '"', "“": "”", "”": "”", "＂": "＂", "「": "」", "'": "'"}
_BARE = re.compile(r"[^,，}｝\]］\n]*")
_BARE_KEY = re.compile(r"[\w\-]{1,40}")
_DECODER = json.JSONDecoder()


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
    position = starts[-MAX_OBJECTS] if len(starts) > MAX_OBJECTS else 0
    for start in starts[-MAX_OBJECTS:]:
        if start < position:
            continue
        read = _strict(text, start) or _loose(text, start)
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


def _loose(text: str, start: int) -> Found | None:
    reader = _Reader(text, start)
    try:
        value = reader.object(0)
    except _Unreadable:
        return None
    return Found(value, start, reader.at, frozenset(reader.unfinished)) if value else None


class _Unreadable(Exception):
    pass


class _Reader:
    """A forgiving recursive reader. It never guesses a value: what is cut off is named as unfinished."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.unfinished: set[str] = set()

    def object(self, depth: int) -> dict[str, Any]:
        if depth > _DEPTH:
            raise _Unreadable
        self.at += 1
        value: dict[str, Any] = {}
        while not self._closed("}｝"):
            key = self._key()
            if not self._take(":：=＝"):
                raise _Unreadable
            value[key] = self._value(depth)
            if self._ended():
                self.unfinished.add(key)
                break
            self._take(",，、;；")
        return value

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
        while at < len(self.text):
            if self.text[at] == "\\":
                at += 2
                continue
            if self.text[at] in ends:
                space = _SPACE.match(self.text, at + 1)
                following = space.end() if space else at + 1
                if following >= len(self.text) or self.text[following] in after:
                    self.at = at + 1
                    return _unescaped(self.text[begin:at])
            at += 1
        self.at = len(self.text) + 1
        return _unescaped(self.text[begin:])

    def _peek(self) -> str:
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
    word = unicodedata.normalize("NFKC", raw).strip().strip("\"'“”`")
    lowered = word.lower()
    if lowered in {"true", "false", "null", "none", ""}:
        return {"true": True, "false": False}.get(lowered)
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return float(word)
    except ValueError:
        return word
