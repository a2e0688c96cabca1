"""`compose`: what the starter's writing corpus composes, as a file to read or to import."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.errors import UserError
from backend.starter.bank import load
from backend.starter.compose import ROWS, SEED, compose


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("compose")(compose_file)


def compose_file(
    out: Annotated[Path, typer.Option("-o", "--out", help="JSON lines: prompt, completion, tags.")],
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = ROWS,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")] = SEED,
    as_json: Json = False,
) -> None:
    """Write requests with greetings composed of the clauses in data/starter, as the starter learns them."""
    bank = load()
    made = compose(bank, rows, seed)
    lines = [
        json.dumps(
            {
                "prompt": row.prompt,
                "completion": row.greeting,
                "occasion": row.scene.occasion.name,
                "recipient": row.scene.recipient.tag if row.scene.recipient else None,
                "style": row.scene.style or None,
            },
            ensure_ascii=False,
        )
        for row in made
    ]
    try:
        out.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror}); choose another file.",
            f"无法写入 {out}（{error.strerror}），请换一个文件。",
        ) from error
    emit({"path": str(out), "rows": len(made), "clauses": bank.count()}, as_json, _line)


def _line(result: dict[str, Any]) -> str:
    return (
        f"{result['path']}: {result['rows']:,} requests with a greeting, from {result['clauses']:,} clauses"
    )
