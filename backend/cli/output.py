"""What a command prints: one JSON object, or lines for people."""

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from backend.errors import UserError

T = TypeVar("T")
TOLD_EVERY_S = 5.0
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def emit(result: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], str]) -> None:
    """Print the result as JSON (undefined figures are null) or as `lines` puts it for people."""
    if as_json:
        print(json.dumps(_plain(result), ensure_ascii=False, allow_nan=False))
    else:
        print(lines(result))


def now_and_then(words: Callable[[T], str]) -> Callable[[T], None]:
    """Prints on stderr how something stands, every few seconds at most."""
    last = time.monotonic()

    def told(progress: T) -> None:
        nonlocal last
        if time.monotonic() - last >= TOLD_EVERY_S:
            last = time.monotonic()
            print(words(progress), file=sys.stderr, flush=True)

    return told


def fail(error: UserError) -> NoReturn:
    """One sentence on stderr, exit code 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
