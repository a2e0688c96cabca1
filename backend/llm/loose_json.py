"""Objects in a model's text that are almost JSON: full-width marks, trailing commas, cut-off ends.

An exact object is read by the standard decoder. Any other is taken apart here into marks, keys and values, and the
library `json_repair` completes the marks: commas and closing brackets that are missing. It is shown a number in
place of each key and value and never the text, since it guesses where a text is wrong: `<0 或 1>` it reads as 0 and
`1 // 优秀` as 1, it drops the sign of `-0` and keeps the last of two values of one key. No verdict may come of a guess.

A key that one object gives repeatedly, with different values, keeps them all (`RepeatedValues`): which one is meant
is not for a parser of JSON to decide.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from backend.llm.phrases import to_plain_width

# The last ones of a text, since the verdict comes last.
MAX_OBJECTS = 100
# Read in inexact objects over all of one text, so that braces without end cost no more than a long text.
MAX_CHARACTERS = 120_000
# Most marks, keys and values of one inexact object: 20,000 braces cost the library 4.8 s.
MAX_MARKS = 4_000
# Beyond what any answer needs, and far from the depth at which Python's recursion ends.
_DEPTH = 12
_BLANKS = " \n\t\r\u3000\ufeff"
_SPACE = r"[\s\u3000\ufeff]*+"
_OPENING = re.compile(r"[{｛]")
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")
# Only marks between members are replaced, never those within a string.
_PLAIN_MARKS = str.maketrans("｛｝［］，、;；", "{}[],,,,")
# Which marks close a string that begins with a mark.
_QUOTATION_MARKS = {'"': '"', "“": '”"', "”": '”"', "＂": "＂", "「": "」", "'": "'"}


def _string_pattern(following_marks: str) -> str:
    """The pattern of a string in any quotation marks, to a closing one before `following_marks`, or to the text's end.

    A quotation mark inside the text is common ("他写"好""): it ends the string only where what follows it can follow
    a string. No part of the pattern gives back what it has matched, so that no text costs more than one pass.
    """
    return "|".join(
        rf"{opening}(?:[^{closing}\\]++|\\.|[{closing}](?!{_SPACE}(?:[{following_marks}]|\Z)))*+(?:[{closing}]|\\?\Z)"
        for opening, closing in _QUOTATION_MARKS.items()
    )


_KEY_STRING, _VALUE_STRING = _string_pattern(":："), _string_pattern(r",，、;；}｝\]］")
_KEY = re.compile(rf"{_SPACE}(?:(?P<mark>[,，、;；}}｝])|(?P<leaf>{_KEY_STRING}|[\w\-]{{1,40}}))", re.DOTALL)
_COLON = re.compile(rf"{_SPACE}[:：=＝]")
_VALUE = re.compile(
    rf"{_SPACE}(?:(?P<mark>[{{｛\[［,，、;；}}｝\]］])|(?P<leaf>{_VALUE_STRING}|[^,，}}｝\]］\n]++))", re.DOTALL
)


class RepeatedValues(tuple[Any, ...]):
    """The different values that one object gives for the same key, in order."""


def _joined_members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The members of one object; a repeated key with another value becomes `RepeatedValues`."""
    members_by_key: dict[str, Any] = {}
    for key, new_value in pairs:
        known_value = members_by_key.get(key)
        if key not in members_by_key or known_value == new_value:
            members_by_key[key] = new_value
        else:
            known_values = known_value if isinstance(known_value, RepeatedValues) else (known_value,)
            members_by_key[key] = RepeatedValues((*known_values, new_value))
    return members_by_key


def _integer(digits: str) -> Any:
    """A JSON integer; minus zero stays a text, since a sign is never dropped."""
    return digits if digits.startswith("-0") else int(digits)


def _decimal(figures: str) -> Any:
    """A JSON number with a fraction; one that only rounding makes whole stays a text, and minus zero too."""
    value = float(figures)
    # No scale reaches 1e15, and infinity, to which a long exponent leads, has no int().
    rounded = value == int(value) if abs(value) < 1e15 else False
    fraction = figures.lower().partition("e")[0].partition(".")[2].strip("0")
    exact = not rounded or not fraction or "e" in figures.lower()
    return value if exact and not figures.startswith("-0") else figures


_DECODER = json.JSONDecoder(object_pairs_hook=_joined_members, parse_int=_integer, parse_float=_decimal)


@dataclass(frozen=True)
class LooseObject:
    """One object of a text, where it begins and ends in it, and the keys whose value was cut off (`unfinished`)."""

    value: dict[str, Any]
    start: int
    end: int
    unfinished: frozenset[str] = field(default_factory=frozenset)


def objects(text: str) -> list[LooseObject]:
    """Every outermost object, in order. Of a text with very many braces only the last part is read."""
    starts = [opening.start() for opening in _OPENING.finditer(text)]
    loose_objects: list[LooseObject] = []
    characters_left = MAX_CHARACTERS
    position = starts[-MAX_OBJECTS] if len(starts) > MAX_OBJECTS else 0
    for start in starts[-MAX_OBJECTS:]:
        # Within an object that was read: a member, not an object of its own.
        if start < position:
            continue
        loose_object = _exact_object(text, start)
        if loose_object is None and characters_left > 0:
            skeleton = _Skeleton(text, start)
            loose_object = skeleton.completed_object()
            # Also where nothing came of it: a text of braces that never close costs a pass for each of them.
            characters_left -= skeleton.end - start
        if loose_object is not None:
            loose_objects.append(loose_object)
            position = loose_object.end
    return loose_objects


def members(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The object itself and every object nested in it, outer ones first."""
    if depth > _DEPTH:
        return
    if isinstance(value, dict):
        yield value
        for inner_value in value.values():
            yield from members(inner_value, depth + 1)
    elif isinstance(value, list):
        for inner_value in value:
            yield from members(inner_value, depth + 1)


def _exact_object(text: str, start: int) -> LooseObject | None:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return LooseObject(value, start, end) if isinstance(value, dict) else None


class _Skeleton:
    """The marks of an inexact object as JSON writes them, with a number in place of each key and value."""

    def __init__(self, text: str, start: int) -> None:
        self.end = start + 1
        self._text, self._start = text, start
        self._marks = ["{"]
        self._leaves: list[Any] = []
        self._closings = ["}"]
        """What closes each open object and list, outer ones first."""
        self._open_keys: list[str | None] = [None]
        """The last key of each open object."""

    def completed_object(self) -> LooseObject | None:
        """The object with its missing marks; None where it is empty or holds what is no part of an object."""
        if not self._takes_apart():
            return None
        # Imported here: half of the library is for schemas, and would slow the start of the application.
        from json_repair import loads

        # What exact JSON it could be has been tried on the text itself, so the library need not try it again.
        value = self._with_leaves(loads(" ".join(self._marks), skip_json_loads=True))
        return LooseObject(value, self._start, self.end, self._unfinished_keys()) if value else None

    def _takes_apart(self) -> bool:
        """Read from mark to mark until the object is closed or the text ends; False where it is no object."""
        while self._closings:
            is_key = self._closings[-1] == "}" and self._marks[-1] != ":"
            part = (_KEY if is_key else _VALUE).match(self._text, self.end)
            if part is None:
                break
            self.end = part.end()
            is_fitting = self._adds_mark(part["mark"]) if part["mark"] else self._adds_leaf(part["leaf"], is_key)
            # Each open object or list is a level of recursion in the library.
            if not is_fitting or len(self._marks) > MAX_MARKS or len(self._closings) > _DEPTH + 1:
                return False
        if self._marks[-1] == ":":
            self._add_value(None)
        return not self._closings or not self._text[self.end :].strip(_BLANKS)

    def _adds_mark(self, mark: str) -> bool:
        """Whether the mark can stand here. A colon without a value before it states nothing: null."""
        mark = mark.translate(_PLAIN_MARKS)
        if mark in "{[":
            self._closings.append("}" if mark == "{" else "]")
            self._open_keys += [None] if mark == "{" else []
        elif self._marks[-1] == ":":
            self._add_value(None)
        self._marks.append(mark)
        if mark not in "}]":
            return True
        if mark == "}":
            self._open_keys.pop()
        return self._closings.pop() == mark

    def _adds_leaf(self, raw_text: str, is_key: bool) -> bool:
        """Whether the key or value can stand here: a key needs its colon."""
        closing_marks = _QUOTATION_MARKS.get(raw_text[0], "")
        is_closed = len(raw_text) > 1 and raw_text[-1] in closing_marks
        inner_text = _unescaped(raw_text[1 : -1 if is_closed else None]) if closing_marks else raw_text
        if not is_key:
            self._add_value(inner_text if closing_marks else _scalar(raw_text))
            return True
        colon = _COLON.match(self._text, self.end)
        if colon is None:
            return False
        self.end = colon.end()
        self._open_keys[-1] = inner_text
        self._leaves.append(inner_text)
        self._marks += [f'"{len(self._leaves) - 1}"', ":"]
        return True

    def _add_value(self, value: Any) -> None:
        self._leaves.append(value)
        self._marks.append(str(len(self._leaves) - 1))

    def _with_leaves(self, numbered: Any) -> Any:
        """The completed object or list with the keys and values of the text for their numbers."""
        if isinstance(numbered, dict):
            return _joined_members(
                (self._leaves[int(key)], self._with_leaves(inner)) for key, inner in numbered.items()
            )
        if isinstance(numbered, list):
            return [self._with_leaves(inner) for inner in numbered]
        return self._leaves[numbered]

    def _unfinished_keys(self) -> frozenset[str]:
        """The last key of each object that is open at the end; behind a comma the innermost one had its value whole."""
        is_whole = bool(self._closings) and self._closings[-1] == "}" and self._marks[-1] == ","
        open_keys = self._open_keys[:-1] if is_whole else self._open_keys
        return frozenset(key for key in open_keys if key is not None)


def _unescaped(raw_text: str) -> str:
    try:
        # Quotation marks within may be bare or escaped; all are escaped anew, so that the other escapes can
        # be decoded.
        return str(json.loads('"' + raw_text.replace('\\"', '"').replace('"', '\\"') + '"', strict=False))
    except ValueError:
        return raw_text


def _scalar(raw_text: str) -> Any:
    """A value without quotation marks: true, false, nothing, an exact number, or the word as it stands."""
    word = to_plain_width(raw_text).strip().strip("\"'“”`")
    lowered = word.lower()
    if lowered in {"true", "false", "null", "none", ""}:
        return {"true": True, "false": False}.get(lowered)
    # int() refuses more than 4,300 digits; so long a word stays a text, which is no value.
    if _WHOLE.fullmatch(word) and len(word) < 400:
        return int(word)
    return float(word) if _DECIMAL.fullmatch(word) else word
