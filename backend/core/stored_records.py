"""The one way in which requests and settings become stored JSON and come back: as frozen pydantic dataclasses.

What a record's own checks tell people (a UserError) comes through as it is; pydantic's complaints, which nobody but
a programmer reads, become the record's sentence `UNREADABLE`.
"""

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from backend.core.errors import Message, UserError

JsonNumber = float | int
"""A number that is stored as it was given: a field of type `float` would turn the 1 of an older record into 1.0."""
Record = TypeVar("Record")
_UNREADABLE = Message("What is stored cannot be read ({detail}).", "无法读取存储的内容（{detail}）。")


def stored_json(record: object) -> Any:
    """The values of a record as JSON has them and in the order of their fields."""
    return _adapter(cast(Hashable, type(record))).dump_python(record, mode="json")


def read_record(record_type: type[Record], stored_values: object) -> Record:
    """The record of what `stored_json` gave, also after JSON. Raises UserError in the words of the record's type."""
    try:
        return cast(Record, _adapter(cast(Hashable, record_type)).validate_python(stored_values))
    except ValidationError as error:
        complaint = error.errors(include_url=False, include_input=False)[0]
        detail = ": ".join(filter(None, [".".join(map(str, complaint["loc"])), complaint["msg"]]))
        sentence: Message = getattr(record_type, "UNREADABLE", _UNREADABLE)
        raise UserError(sentence.en.format(detail=detail), sentence.zh.format(detail=detail)) from error


@cache
def _adapter(record_type: Hashable) -> TypeAdapter[Any]:
    # Building a validator takes about a millisecond, so each type has one, and only once it is used.
    return TypeAdapter(cast(Any, record_type))
