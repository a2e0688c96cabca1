"""Rows of the board as plain values, for JSON and CSV: undefined figures are None, and `why` says why."""

import csv
import io
from typing import Any

from backend.agreement.records import (
    AgreementBoard,
    ModelRow,
    WithinRow,
)
from backend.agreement.statistics.figures import Figure
from backend.agreement.statistics.judge_rows import JudgeRow

COUNT_COLUMNS = ("n", "unscored", "never_asked", "without_verdict", "ties")


FIGURE_COLUMNS = (
    "spearman",
    "kendall",
    "accuracy",
    "kappa",
    "ac1",
    "auc",
    "matched_auc",
    "base_rate",
    "threshold",
)


def flatten_judge_row(row: JudgeRow) -> dict[str, Any]:
    """A row as plain values, for JSON and CSV; undefined figures are None and `why` says why.

    COUNT_COLUMNS count items (unscored is never asked and without verdict together); so does the column of each
    figure that ends in _n.
    """
    flat_row: dict[str, Any] = {"judge": row.judge, "version": row.version, "newer": row.newer}
    flat_row |= {column: getattr(row, column) for column in COUNT_COLUMNS}
    undefined = {}
    for column in FIGURE_COLUMNS:
        figure: Figure = getattr(row, column)
        flat_row |= {column: figure.value, f"{column}_low": figure.low, f"{column}_high": figure.high}
        # A threshold rests on no items of its own.
        flat_row |= {f"{column}_n": figure.n} if column != "threshold" else {}
        if figure.why is not None:
            undefined[column] = figure.why.en
    flat_row["why"] = undefined
    return flat_row


def flatten_model_row(row: ModelRow, reference_kind: str) -> dict[str, Any]:
    """A model's row as plain values; `by` is "people" or the judge, `measure` what the share counts."""
    return {
        "generator": row.generator,
        "model": row.model,
        "by": row.by or "people",
        "measure": "wins" if reference_kind == "compare" else "excellent",
        "share": row.figure.value,
        "low": row.figure.low,
        "high": row.figure.high,
        "n": row.n,
        "ties": row.ties,
        "missing": row.missing,
        "never_asked": row.never_asked,
        "why": row.figure.why.en if row.figure.why else None,
    }


def flatten_within_row(row: WithinRow) -> dict[str, Any]:
    """A judge's pairs within requests as plain values."""
    return {
        "judge": row.key,
        "accuracy": row.figure.value,
        "low": row.figure.low,
        "high": row.figure.high,
        "pairs": row.pairs,
        "unscored": row.unscored,
        "why": row.figure.why.en if row.figure.why else None,
    }


def format_board_csv(board: AgreementBoard) -> str:
    """The board as CSV: the judges' rows, alpha among people in columns of its own."""
    rows = [flatten_judge_row(row) for row in board.rows]
    columns = list(dict.fromkeys(column for row in rows for column in row if column != "why"))
    text_buffer = io.StringIO()
    csv_writer = csv.DictWriter(text_buffer, ["reference", "items", "raters", "alpha", "alpha_n", *columns, "why"])
    csv_writer.writeheader()
    for row in rows:
        undefined = "; ".join(f"{figure_name}: {reason}" for figure_name, reason in row.pop("why").items())
        alpha = board.alpha.ordinal.value
        csv_writer.writerow(
            {
                "reference": board.reference,
                "items": board.items,
                "raters": board.raters,
                "alpha": alpha,
                "alpha_n": board.alpha.items,
                **row,
                "why": undefined,
            }
        )
    return text_buffer.getvalue()
