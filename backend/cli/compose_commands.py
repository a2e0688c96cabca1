"""`compose`: what the starter's writing corpus composes, as a file to read or to import."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, print_result
from backend.errors import UserError
from backend.starter.bank import load_bank
from backend.starter.compose import CORPUS_SEED, ROW_COUNT, compose_rows


def register(cli_app: typer.Typer) -> None:
    """Add the command to the application."""
    cli_app.command("compose")(compose_file)


def compose_file(
    output_path: Annotated[Path, typer.Option("-o", "--out", help="JSON lines: prompt, completion, tags.")],
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = ROW_COUNT,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")] = CORPUS_SEED,
    as_json: JsonOption = False,
) -> None:
    """Write requests with greetings composed of the clauses in data/starter, as the starter learns them."""
    clause_bank = load_bank()
    composed_rows = compose_rows(clause_bank, rows, seed)
    json_lines = [
        json.dumps(
            {
                "prompt": composed_row.prompt,
                "completion": composed_row.greeting,
                "occasion": composed_row.scene.occasion.name,
                "recipient": composed_row.scene.recipient.tag if composed_row.scene.recipient else None,
                "style": composed_row.scene.style or None,
            },
            ensure_ascii=False,
        )
        for composed_row in composed_rows
    ]
    try:
        output_path.write_text("".join(f"{json_line}\n" for json_line in json_lines), "utf-8")
    except OSError as error:
        raise UserError(
            f"{output_path} cannot be written ({error.strerror}); choose another file.",
            f"无法写入 {output_path}（{error.strerror}），请换一个文件。",
        ) from error
    print_result(
        {"path": str(output_path), "rows": len(composed_rows), "clauses": clause_bank.count_clauses()},
        as_json,
        _format_summary,
    )


def _format_summary(summary_fields: dict[str, Any]) -> str:
    return f"{summary_fields['path']}: {summary_fields['rows']:,} requests with a greeting, from {summary_fields['clauses']:,} clauses"
