"""`agreement`: how far judges agree with people."""

from typing import Annotated, Any

import typer

from backend.board import flatten_judge_row, flatten_model_row
from backend.cli.output import JsonOption, print_result
from backend.services import open_services

COUNT_HEADINGS = {"n": "n", "never_asked": "never asked", "without_verdict": "no verdict", "ties": "ties"}
FIGURE_NAMES = ("spearman", "kendall", "accuracy", "kappa", "auc", "matched_auc")
COLUMN_HEADINGS = COUNT_HEADINGS | {name: name for name in FIGURE_NAMES}


def register(cli_app: typer.Typer) -> None:
    """Add the command to the application."""
    cli_app.command("agreement")(agreement)


def agreement(
    reference: Annotated[str | None, typer.Option(help="Campaign or data set; default: the newest.")] = None,
    judge: Annotated[list[str] | None, typer.Option(help="Only these judges, beside the trivial ones.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Agreement of every judge with a human reference, and of the people among themselves."""
    with open_services() as services:
        board = services.board.board(reference, judge)
    agreement_fields: dict[str, Any] = {
        "reference": board.reference,
        "kind": board.kind,
        "items": board.items,
        "raters": board.raters,
        "alpha": board.alpha.ordinal.value,
        "alpha_n": board.alpha.items,
        "alpha_why": board.alpha.ordinal.why.en if board.alpha.ordinal.why else None,
        "judges": [flatten_judge_row(board_row) for board_row in board.rows],
        "models": [flatten_model_row(board_row, board.kind) for board_row in board.models],
    }
    print_result(agreement_fields, as_json, _format_agreement)


def _format_agreement(agreement_fields: dict[str, Any]) -> str:
    alpha_text = _format_number(agreement_fields["alpha"]) + (
        f" ({agreement_fields['alpha_why']})" if agreement_fields["alpha_why"] else ""
    )
    heading = (
        f"reference {agreement_fields['reference']}: {agreement_fields['items']} items, {agreement_fields['raters']} raters, "
        f"alpha {alpha_text} on {agreement_fields['alpha_n']}"
    )
    output_lines = [
        heading,
        "  ".join([f"{'judge':<14}", *(f"{column_name:>11}" for column_name in COLUMN_HEADINGS.values())]),
    ]
    for result_row in agreement_fields["judges"]:
        output_lines.append(
            "  ".join(
                [
                    f"{result_row['judge']:<14}",
                    *(f"{_format_number(result_row[column_name]):>11}" for column_name in COLUMN_HEADINGS),
                ]
            )
        )
        output_lines += [f"{'':<14}  {remark}" for remark in _judge_remarks(result_row)]
    for result_row in agreement_fields["models"]:
        model_text = f"{result_row['model']} ({result_row['generator']}) by {result_row['by']}: {result_row['measure']} {_format_number(result_row['share'])}"
        count_text = f"n = {result_row['n']}, ties {result_row['ties']}, without an opinion {result_row['missing']}"
        reason_suffix = f" ({result_row['why']})" if result_row["why"] else ""
        output_lines.append(f"{model_text}{reason_suffix}, {count_text} (never asked {result_row['never_asked']})")
    return "\n".join(output_lines)


def _judge_remarks(judge_row: dict[str, Any]) -> list[str]:
    """What the line of a judge would hide: version, interval, figures on fewer items, missing figures."""
    remarks = (
        [f"version {judge_row['version'][:8]}, newer, but it has judged fewer items"] if judge_row["newer"] else []
    )
    if judge_row["spearman_low"] is not None:
        remarks.append(f"rho in [{judge_row['spearman_low']:.3f}, {judge_row['spearman_high']:.3f}] (95 %)")
    partial_figures = [
        f"{figure_name} on {judge_row[f'{figure_name}_n']}"
        for figure_name in FIGURE_NAMES
        if judge_row[figure_name] is not None and _has_other_count(judge_row, figure_name)
    ]
    if partial_figures:
        remarks.append(", ".join(partial_figures))
    names_by_reason: dict[str, list[str]] = {}
    for figure_name in FIGURE_NAMES:
        if judge_row[figure_name] is None:
            names_by_reason.setdefault(judge_row["why"].get(figure_name, ""), []).append(figure_name)
    return remarks + [
        f"no {', '.join(figure_names)}: {reason_text}" for reason_text, figure_names in names_by_reason.items()
    ]


def _has_other_count(judge_row: dict[str, Any], figure_name: str) -> bool:
    return judge_row[f"{figure_name}_n"] not in (None, judge_row["n"])


def _format_number(figure_value: Any) -> str:
    if figure_value is None:
        return "–"
    return f"{figure_value:.3f}" if isinstance(figure_value, float) else str(figure_value)
