"""`agreement`: how far judges agree with people."""

from typing import Annotated, Any

import typer

from backend.board import flat, flat_model
from backend.cli.output import Json, emit
from backend.services import open_services


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("agreement")(agreement)


def agreement(
    reference: Annotated[str | None, typer.Option(help="Campaign or data set; default: the newest.")] = None,
    judge: Annotated[
        list[str] | None, typer.Option(help="Only these judges, beside the trivial ones.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Agreement of every judge with a human reference, and of the people among themselves."""
    with open_services() as services:
        board = services.board.board(reference, judge)
    result: dict[str, Any] = {
        "reference": board.reference,
        "kind": board.kind,
        "items": board.items,
        "raters": board.raters,
        "alpha": board.alpha.ordinal.value,
        "alpha_why": board.alpha.ordinal.why.en if board.alpha.ordinal.why else None,
        "judges": [flat(row) for row in board.rows],
        "models": [flat_model(row, board.kind) for row in board.models],
    }
    emit(result, as_json, _lines)


def _lines(result: dict[str, Any]) -> str:
    alpha = _number(result["alpha"]) + (f" ({result['alpha_why']})" if result["alpha_why"] else "")
    head = (
        f"reference {result['reference']}: {result['items']} items, {result['raters']} raters, alpha {alpha}"
    )
    columns = ("n", "unscored", "spearman", "kendall", "accuracy", "kappa", "auc", "matched_auc")
    lines = [head, "  ".join([f"{'judge':<14}", *(f"{name:>11}" for name in columns)])]
    for row in result["judges"]:
        lines.append("  ".join([f"{row['judge']:<14}", *(f"{_number(row[name]):>11}" for name in columns)]))
        if row.get("spearman_low") is not None:
            lines.append(f"{'':<14}  rho in [{row['spearman_low']:.3f}, {row['spearman_high']:.3f}] (95 %)")
    for row in result["models"]:
        told = f"{row['model']} ({row['generator']}) by {row['by']}: {row['measure']} {_number(row['share'])}"
        lines.append(f"{told}, n = {row['n']}, without an opinion {row['missing']}")
    return "\n".join(lines)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
