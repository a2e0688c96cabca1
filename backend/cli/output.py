"""What a command prints: one JSON object, or lines for people."""

import json
import math
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from backend.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def emit(result: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], str]) -> None:
    """Print the result as JSON (undefined figures are null) or as `lines` puts it for people."""
    if as_json:
        print(json.dumps(_plain(result), ensure_ascii=False, allow_nan=False))
    else:
        print(lines(result))


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
