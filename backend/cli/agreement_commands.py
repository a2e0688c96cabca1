"""`agreement`: how far judges agree with people."""

from typing import Annotated, Any

import typer

from backend.board import flat, flat_model
from backend.cli.output import Json, emit
from backend.services import open_services

COUNTED = {"n": "n", "never_asked": "never asked", "without_verdict": "no verdict", "ties": "ties"}
SHOWN = ("spearman", "kendall", "accuracy", "kappa", "auc", "matched_auc")
HEADS = COUNTED | {name: name for name in SHOWN}


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
        "alpha_n": board.alpha.items,
        "alpha_why": board.alpha.ordinal.why.en if board.alpha.ordinal.why else None,
        "judges": [flat(row) for row in board.rows],
        "models": [flat_model(row, board.kind) for row in board.models],
    }
    emit(result, as_json, _lines)


def _lines(result: dict[str, Any]) -> str:
    alpha = _number(result["alpha"]) + (f" ({result['alpha_why']})" if result["alpha_why"] else "")
    head = (
        f"reference {result['reference']}: {result['items']} items, {result['raters']} raters, "
        f"alpha {alpha} on {result['alpha_n']}"
    )
    lines = [head, "  ".join([f"{'judge':<14}", *(f"{name:>11}" for name in HEADS.values())])]
    for row in result["judges"]:
        lines.append("  ".join([f"{row['judge']:<14}", *(f"{_number(row[name]):>11}" for name in HEADS)]))
        lines += [f"{'':<14}  {remark}" for remark in _remarks(row)]
    for row in result["models"]:
        told = f"{row['model']} ({row['generator']}) by {row['by']}: {row['measure']} {_number(row['share'])}"
        counts = f"n = {row['n']}, ties {row['ties']}, without an opinion {row['missing']}"
        why = f" ({row['why']})" if row["why"] else ""
        lines.append(f"{told}{why}, {counts} (never asked {row['never_asked']})")
    return "\n".join(lines)


def _remarks(row: dict[str, Any]) -> list[str]:
    """What the line of a judge would hide: version, interval, figures on fewer items, missing figures."""
    told = [f"version {row['version'][:8]}, newer, but it has judged fewer items"] if row["newer"] else []
    if row["spearman_low"] is not None:
        told.append(f"rho in [{row['spearman_low']:.3f}, {row['spearman_high']:.3f}] (95 %)")
    fewer = [
        f"{name} on {row[f'{name}_n']}" for name in SHOWN if row[name] is not None and _differs(row, name)
    ]
    if fewer:
        told.append(", ".join(fewer))
    reasons: dict[str, list[str]] = {}
    for name in SHOWN:
        if row[name] is None:
            reasons.setdefault(row["why"].get(name, ""), []).append(name)
    return told + [f"no {', '.join(names)}: {why}" for why, names in reasons.items()]


def _differs(row: dict[str, Any], name: str) -> bool:
    return row[f"{name}_n"] not in (None, row["n"])


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
