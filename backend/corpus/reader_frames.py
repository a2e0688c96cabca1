"""The language between the reading process and whoever started it: frames of JSON, each behind its length."""

import json
from collections.abc import Callable
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import IO, Any

# A longer frame was not written by the reading process as it should be.
MAX_FRAME_BYTES = 64 << 20
_LENGTH_BYTES = 4


def to_compact_json(json_value: Any) -> bytes:
    """The value as JSON; half a surrogate pair, which JSON may hold, goes through as it is."""
    return json.dumps(json_value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def add_frame_length(frame_text: bytes) -> bytes:
    """The text of one frame as it goes through the pipe."""
    return len(frame_text).to_bytes(_LENGTH_BYTES, "big") + frame_text


def read_frame(read_bytes: Callable[[int], bytes]) -> dict[str, Any] | None:
    """The next frame from `read_bytes`, which gives exactly as many bytes as asked or fewer at the end.

    None at the end. Raises ValueError for anything that is no whole frame.
    """
    length_header = read_bytes(_LENGTH_BYTES)
    if not length_header:
        return None
    frame_length = int.from_bytes(length_header, "big")
    if len(length_header) < _LENGTH_BYTES or frame_length > MAX_FRAME_BYTES:
        raise ValueError("no frame")
    frame_text = read_bytes(frame_length)
    if len(frame_text) < frame_length:
        raise ValueError("a frame that was cut off")
    decoded_frame = json.loads(frame_text.decode("utf-8", "surrogatepass"))
    if not isinstance(decoded_frame, dict):
        raise ValueError("no object in a frame")
    return decoded_frame


def write_frame(output_stream: IO[bytes], frame_content: dict[str, Any]) -> None:
    """Send one frame; waits while the other side is busy with what it has."""
    output_stream.write(add_frame_length(to_compact_json(frame_content)))
    output_stream.flush()


def to_json_types(cell_value: Any) -> Any:
    """The value of a Parquet cell in JSON's types: times and decimals as people write them.

    Raises ValueError for bytes that are no text.
    """
    if cell_value is None or isinstance(cell_value, str | bool | int | float):
        return cell_value
    if isinstance(cell_value, dict):
        # Arrow's maps may have keys of any type, JSON's objects have texts.
        return {str(field_name): to_json_types(inner_value) for field_name, inner_value in cell_value.items()}
    if isinstance(cell_value, list | tuple):
        return [to_json_types(inner_value) for inner_value in cell_value]
    if isinstance(cell_value, bytes):
        return cell_value.decode("utf-8")
    if isinstance(cell_value, Decimal):
        # A label stored as DECIMAL(1, 0) shall be the whole number that it is.
        return int(cell_value) if cell_value == cell_value.to_integral_value() else float(cell_value)
    if isinstance(cell_value, datetime | date | time_of_day):
        return cell_value.isoformat()
    return str(cell_value)
