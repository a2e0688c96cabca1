"""Members of a reply's objects as values of a field."""

import re
from collections.abc import Sequence
from typing import Any

from backend.llm.fields import FieldKind, FieldSpec
from backend.llm.loose_json import LooseObject, RepeatedValues, members
from backend.llm.phrases import InvalidValue, fold_text, value_on_scale
from backend.llm.quotations import strip_quotation
from backend.llm.statements import StatementSource, parse_statement

# "final_verdict", "Final Verdict" and "**verdict**" are one name.
_NAME_MARKS = re.compile(r"[\s_\-*]")
_SAME_MEANING = r"(?:final|overall|my|the|最终|最后|总体|综合)"
# Beside the field's own name these may name another value of it: then the two must agree.
_OTHER_STAGE = (
    r"(?:initial|first|second|last|corrected|revised|actual|real|true|new|old|original|previous|初步|初始|"
    r"修正|更正|实际|真实|原|新|旧)"
)


def member_value(
    reply_object: LooseObject, field_names: Sequence[str], field_spec: FieldSpec
) -> Any | InvalidValue | None:
    """The value that an object gives the field under any of the names, nested or not.

    Invalid where its members disagree, or where one is no value of the field. A member that was cut off
    counts for texts only.
    """
    coerced_values = [
        coerce_value(candidate, field_spec)
        for member_key, candidate in _named_members(reply_object, field_names)
        if _is_complete(member_key, reply_object, field_spec)
    ]
    stated_values = [candidate for candidate in coerced_values if candidate is not None]
    if not stated_values:
        return None
    if field_spec.kind in (FieldKind.TEXT, FieldKind.TEXTS):
        return stated_values[0]
    invalid_value = next((candidate for candidate in stated_values if isinstance(candidate, InvalidValue)), None)
    if invalid_value is not None:
        return invalid_value
    return (
        stated_values[0]
        if all(candidate == stated_values[0] for candidate in stated_values)
        else InvalidValue("conflicting")
    )


def coerce_value(json_value: Any, field_spec: FieldSpec) -> Any | InvalidValue | None:
    """A JSON value as the field's value; None where it says nothing."""
    if isinstance(json_value, RepeatedValues):
        return _coerce_repeated(json_value, field_spec)
    if json_value is None:
        return None
    if field_spec.kind is FieldKind.TEXT:
        return _as_text(json_value)
    if field_spec.kind is FieldKind.TEXTS:
        return _as_text_list(json_value)
    # Before the numbers: True is an int in Python, and a 1 on a scale of 1 to 3 was not said.
    if isinstance(json_value, bool):
        return field_spec.value_by_word.get(str(json_value).lower(), InvalidValue("not_a_choice"))
    if isinstance(json_value, int | float):
        return value_on_scale(_as_float(json_value), field_spec)
    if isinstance(json_value, str):
        # A string may say more than its value ("1，改为 0"), so it is read as any other statement.
        stated_value = parse_statement(fold_text(strip_quotation(json_value)), field_spec, StatementSource.MEMBER)
        return InvalidValue("not_a_choice") if stated_value is None else stated_value
    return InvalidValue("not_a_choice")


def has_member(reply_object: LooseObject, field_names: Sequence[str]) -> bool:
    """Whether the object has a member of one of the names, nested or not."""
    return next(iter(_named_members(reply_object, field_names)), None) is not None


def _named_members(reply_object: LooseObject, field_names: Sequence[str]) -> list[tuple[str, Any]]:
    """The members of one of the names; those called "corrected_verdict" and the like come last."""
    exact_pattern = re.compile(
        "|".join(
            rf"{_SAME_MEANING}?{re.escape(_normalised_name(field_name))}{_SAME_MEANING}?" for field_name in field_names
        )
        or r"(?!)"
    )
    variant_pattern = re.compile(
        "|".join(
            rf"{_OTHER_STAGE}{re.escape(_normalised_name(field_name))}|{re.escape(_normalised_name(field_name))}(?:{_OTHER_STAGE}|[0-9])"
            for field_name in field_names
        )
        or r"(?!)"
    )
    all_members = [
        (member_key, json_value)
        for json_object in members(reply_object.value)
        for member_key, json_value in json_object.items()
    ]
    exact_members = [
        (member_key, json_value)
        for member_key, json_value in all_members
        if exact_pattern.fullmatch(_normalised_name(member_key))
    ]
    return [
        *exact_members,
        *(
            (member_key, json_value)
            for member_key, json_value in all_members
            # A "corrected_verdict" alone corrects nothing that can be seen, so it is no verdict.
            if exact_members and variant_pattern.fullmatch(_normalised_name(member_key))
        ),
    ]


def _is_complete(member_key: str, reply_object: LooseObject, field_spec: FieldSpec) -> bool:
    return member_key not in reply_object.unfinished or field_spec.kind in (FieldKind.TEXT, FieldKind.TEXTS)


def _coerce_repeated(json_values: RepeatedValues, field_spec: FieldSpec) -> Any | InvalidValue | None:
    """The value of a key that stands twice: a text is the last one, anything else must be the same."""
    coerced_values = [coerce_value(candidate, field_spec) for candidate in json_values]
    if field_spec.kind in (FieldKind.TEXT, FieldKind.TEXTS):
        return coerced_values[-1]
    return (
        coerced_values[0]
        if all(candidate == coerced_values[0] for candidate in coerced_values)
        else InvalidValue("conflicting")
    )


def _as_float(number: float) -> float:
    try:
        return float(number)
    # An integer of hundreds of digits fits no float; infinity is outside every scale and is refused as that.
    except OverflowError:
        return float("inf")


def _as_text(json_value: Any) -> str | None:
    if isinstance(json_value, list):
        json_value = "；".join(text_part for text_part in map(_as_text, json_value) if text_part)
    return str(json_value).strip() or None if isinstance(json_value, str | int | float) else None


def _as_text_list(json_value: Any) -> list[str] | None:
    if isinstance(json_value, str):
        json_value = [
            re.sub(r"^\s*(?:[-*•]|\d+[.、)])\s*", "", list_line) for list_line in re.split(r"[\n；;]", json_value)
        ]
    if not isinstance(json_value, list):
        return None
    return [item_text for item_text in (_as_text(list_item) for list_item in json_value) if item_text]


def _normalised_name(member_name: str) -> str:
    return _NAME_MARKS.sub("", fold_text(member_name))
