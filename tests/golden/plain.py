"""Anything the code gives back as plain values, and plain values as the text that is committed."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

WIDE = 110
LONG = 200
"""Characters from which a text may be given by its beginning, length and hash instead."""


def plain(value: Any, *without: str) -> Any:
    """Records as mappings by field, enums by value, times in ISO form; fields of `without` are left out."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, SecretStr):
        return "***" if value.get_secret_value() else ""
    return _container(value, without)


def _container(value: Any, without: Sequence[str]) -> Any:
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    elif dataclasses.is_dataclass(value):
        value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): plain(one, *without) for key, one in value.items() if key not in without}
    if isinstance(value, Set):
        return sorted((plain(one, *without) for one in value), key=json.dumps)
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return [plain(one, *without) for one in value]
    raise TypeError(f"no plain form is known for {type(value)}")


def _key(key: Any) -> str:
    return str(plain(key))


def shortened(value: Any) -> Any:
    """The same with long texts by their beginning, length and hash."""
    if isinstance(value, str) and len(value) > LONG:
        return f"{value[:60]}… {len(value)} characters, sha256 {hash_of(value)}"
    if isinstance(value, dict):
        return {key: shortened(one) for key, one in value.items()}
    return [shortened(one) for one in value] if isinstance(value, list) else value


def hash_of(text: str | bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text).hexdigest()


def rendered(value: Any, indent: int = 0) -> str:
    """Canonical JSON: keys sorted, floats by repr, on one line what fits on one, so that a diff is short."""
    line = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    if not isinstance(value, dict | list) or not value or len(line) + indent <= WIDE:
        return line
    pad, inner = " " * indent, " " * (indent + 1)
    if isinstance(value, list):
        parts = [inner + rendered(one, indent + 1) for one in value]
        return "[\n" + ",\n".join(parts) + f"\n{pad}]"
    parts = [
        f"{inner}{json.dumps(key, ensure_ascii=False)}: {rendered(value[key], indent + 1)}" for key in sorted(value)
    ]
    return "{\n" + ",\n".join(parts) + f"\n{pad}}}"
