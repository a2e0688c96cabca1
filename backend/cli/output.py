"""What a command prints: one JSON object, or lines for people."""

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from backend.core.errors import UserError

ProgressT = TypeVar("ProgressT")
PRINT_INTERVAL_SECONDS = 5.0
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def print_result(command_result: dict[str, Any], as_json: bool, format_result: Callable[[dict[str, Any]], str]) -> None:
    """Print the result as JSON (undefined figures are null) or as `format_result` puts it for people."""
    if as_json:
        # NaN is no JSON, and other programs would refuse the whole object for one undefined figure.
        print(json.dumps(_replace_undefined(command_result), ensure_ascii=False, allow_nan=False))
    else:
        print(format_result(command_result))


def print_listing(
    list_name: str,
    rows: list[dict[str, Any]],
    as_json: bool,
    format_row: Callable[[dict[str, Any]], str],
    empty_text: str,
) -> None:
    """Print the rows under the key `list_name`, or a line for each; `empty_text` where there are none."""
    print_result({list_name: rows}, as_json, lambda _: "\n".join(map(format_row, rows)) or empty_text)


def list_by_default(commands_group: typer.Typer, print_list: Callable[..., None]) -> None:
    """Let the group itself print its list where no other word follows. print_list: takes `as_json`."""

    def print_list_unless_command(cli_context: typer.Context, as_json: JsonOption = False) -> None:
        # The callback of a group runs before every command of it as well.
        if cli_context.invoked_subcommand is None:
            print_list(as_json=as_json)

    commands_group.callback(invoke_without_command=True)(print_list_unless_command)


def throttled_printer(format_progress: Callable[[ProgressT], str]) -> Callable[[ProgressT], None]:
    """Prints on stderr how something stands, every few seconds at most."""
    # Counted from the start, so a run that is over within seconds prints its result and nothing else.
    last_printed = time.monotonic()

    def print_progress(progress: ProgressT) -> None:
        nonlocal last_printed
        if time.monotonic() - last_printed >= PRINT_INTERVAL_SECONDS:
            last_printed = time.monotonic()
            # Standard output is the result's alone, so that it can be piped.
            print(format_progress(progress), file=sys.stderr, flush=True)

    return print_progress


def exit_with_error(error: UserError) -> NoReturn:
    """One sentence on stderr, exit code 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def _replace_undefined(json_value: Any) -> Any:
    if isinstance(json_value, dict):
        return {field_name: _replace_undefined(item) for field_name, item in json_value.items()}
    if isinstance(json_value, list | tuple):
        return [_replace_undefined(item) for item in json_value]
    if isinstance(json_value, float) and not math.isfinite(json_value):
        return None
    return json_value
