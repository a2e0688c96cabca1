"""The language between the reading process and whoever started it: frames of JSON, each behind its length.

JSON, not pickle: what comes back has read a stranger's bytes, and must be able to say nothing but data.
"""

import json
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any

FRAME_BYTES = 64 << 20
"""A longer frame was not written by the reading process as it should be."""
_LENGTH = 4


def compact(value: Any) -> bytes:
    """The value as JSON; half a surrogate pair, which JSON may hold, goes through as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def framed(text: bytes) -> bytes:
    """The text of one frame as it goes through the pipe."""
    return len(text).to_bytes(_LENGTH, "big") + text


def read_frame(read: Callable[[int], bytes]) -> dict[str, Any] | None:
    """The next frame from `read`, which gives exactly as many bytes as asked or fewer at the end.

    None at the end. Raises ValueError for anything that is no whole frame.
    """
    head = read(_LENGTH)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    if len(head) < _LENGTH or size > FRAME_BYTES:
        raise ValueError("no frame")
    text = read(size)
    if len(text) < size:
        raise ValueError("a frame that was cut off")
    found = json.loads(text.decode("utf-8", "surrogatepass"))
    if not isinstance(found, dict):
        raise ValueError("no object in a frame")
    return found


def write_frame(stream: IO[bytes], frame: dict[str, Any]) -> None:
    """Send one frame; waits while the other side is busy with what it has."""
    stream.write(framed(compact(frame)))
    stream.flush()


def plain(value: Any) -> Any:
    """The value of a Parquet cell in JSON's types: times and decimals as people write them.

    Raises ValueError for bytes that are no text.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)
