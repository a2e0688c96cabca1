"""Members of a reply's objects as values of a field."""

import re
from collections.abc import Sequence
from typing import Any

from backend.llm.fields import Field, FieldKind
from backend.llm.loose_json import Found, Several, members
from backend.llm.phrases import Invalid, on_scale
from backend.llm.quotations import unquoted
from backend.llm.skeleton import folded
from backend.llm.statements import Source, stated

_MARKS = re.compile(r"[\s_\-*]")
_SAME = r"(?:final|overall|my|the|最终|最后|总体|综合)"
_OTHER = (
    r"(?:initial|first|second|last|corrected|revised|actual|real|true|new|old|original|previous|初步|初始|"
    r"修正|更正|实际|真实|原|新|旧)"
)


def member_value(found: Found, names: Sequence[str], field: Field) -> Any | Invalid | None:
    """The value that an object gives the field under any of the names, nested or not.

    Invalid where its members disagree, or where one is no value of the field. A member that was cut off
    counts for texts only.
    """
    given = [coerce(value, field) for key, value in _named(found, names) if _complete(key, found, field)]
    said = [value for value in given if value is not None]
    if not said:
        return None
    if field.kind in (FieldKind.TEXT, FieldKind.TEXTS):
        return said[0]
    wrong = next((value for value in said if isinstance(value, Invalid)), None)
    if wrong is not None:
        return wrong
    return said[0] if all(value == said[0] for value in said) else Invalid("conflicting")


def coerce(value: Any, field: Field) -> Any | Invalid | None:
    """A JSON value as the field's value; None where it says nothing."""
    if isinstance(value, Several):
        return _coerced_several(value, field)
    if value is None:
        return None
    if field.kind is FieldKind.TEXT:
        return _as_text(value)
    if field.kind is FieldKind.TEXTS:
        return _as_texts(value)
    if isinstance(value, bool):
        return field.words.get(str(value).lower(), Invalid("not_a_choice"))
    if isinstance(value, int | float):
        return on_scale(_finite(value), field)
    if isinstance(value, str):
        said = stated(folded(unquoted(value)), field, Source.MEMBER)
        return Invalid("not_a_choice") if said is None else said
    return Invalid("not_a_choice")


def has_member(found: Found, names: Sequence[str]) -> bool:
    """Whether the object has a member of one of the names, nested or not."""
    return next(iter(_named(found, names)), None) is not None


def _named(found: Found, names: Sequence[str]) -> list[tuple[str, Any]]:
    """The members of one of the names; those called "corrected_verdict" and the like come last."""
    exact = re.compile("|".join(rf"{_SAME}?{re.escape(_key(name))}{_SAME}?" for name in names) or r"(?!)")
    others = re.compile(
        "|".join(
            rf"{_OTHER}{re.escape(_key(name))}|{re.escape(_key(name))}(?:{_OTHER}|[0-9])" for name in names
        )
        or r"(?!)"
    )
    every = [(key, value) for member in members(found.value) for key, value in member.items()]
    plain = [(key, value) for key, value in every if exact.fullmatch(_key(key))]
    return [*plain, *((key, value) for key, value in every if plain and others.fullmatch(_key(key)))]


def _complete(key: str, found: Found, field: Field) -> bool:
    return key not in found.unfinished or field.kind in (FieldKind.TEXT, FieldKind.TEXTS)


def _coerced_several(values: Several, field: Field) -> Any | Invalid | None:
    """The value of a key that stands twice: a text is the last one, anything else must be the same."""
    given = [coerce(value, field) for value in values]
    if field.kind in (FieldKind.TEXT, FieldKind.TEXTS):
        return given[-1]
    return given[0] if all(value == given[0] for value in given) else Invalid("conflicting")


def _finite(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _as_text(value: Any) -> str | None:
    if isinstance(value, list):
        value = "；".join(part for part in map(_as_text, value) if part)
    return str(value).strip() or None if isinstance(value, str | int | float) else None


def _as_texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        value = [re.sub(r"^\s*(?:[-*•]|\d+[.、)])\s*", "", line) for line in re.split(r"[\n；;]", value)]
    if not isinstance(value, list):
        return None
    return [text for text in (_as_text(part) for part in value) if text]


def _key(name: str) -> str:
    return _MARKS.sub("", folded(name))
