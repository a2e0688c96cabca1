"""The agreement board as HTML: every judge beside the human reference, on whichever page it stands."""

from backend.agreement.records import AgreementBoard
from backend.agreement.statistics.figures import Figure
from backend.agreement.statistics.judge_rows import JudgeRow
from backend.judges.scoring.service import TRIVIAL
from ui.components.judges import judge_name
from ui.components.language import Translator
from ui.components.widgets import esc, figure_html, html_table, note

SHOWN_FIGURES = ("spearman", "kendall", "accuracy", "kappa", "auc", "matched_auc")


def reference_kind_name(translate: Translator, reference_kind: str) -> str:
    """What kind of reference it is."""
    kind_names = {
        "dataset": ("导入的标签", "imported labels"),
        "compare": ("两条对比", "comparisons"),
        "validate": ("逐条评判", "blind verdicts"),
    }
    return translate(*kind_names[reference_kind])


def board_row_name(translate: Translator, judge_row: JudgeRow) -> str:
    """A judge on the board for people, with its version where it stands there twice."""
    displayed_name = judge_name(translate, judge_row.judge)
    return (
        translate(
            f"{displayed_name}（新版 {judge_row.version[:8]}）",
            f"{displayed_name} (new {judge_row.version[:8]})",
        )
        if judge_row.newer
        else displayed_name
    )


def board_table(translate: Translator, agreement_board: AgreementBoard) -> str:
    """One row per judge, the trivial ones marked; undefined figures are “–” with the reason."""
    header_cells = [
        translate("裁判", "Judge"),
        "n",
        translate("未问", "never asked"),
        translate("无结论", "no verdict"),
        translate("平", "ties"),
        "Spearman ρ",
        "Kendall τ-b",
        translate("准确率", "accuracy"),
        "Cohen κ",
        "AUC",
        translate("等长 AUC", "length-matched AUC"),
    ]
    table_rows = [_judge_cells(translate, judge_row) for judge_row in agreement_board.rows]
    caption = translate(
        f"参照：{agreement_board.reference}（{reference_kind_name(translate, agreement_board.kind)}，{agreement_board.items} 条有标签）",
        f"Reference: {agreement_board.reference} ({reference_kind_name(translate, agreement_board.kind)}, {agreement_board.items} labelled)",
    )
    return f'<p class="zf-note">{esc(caption)}</p>{html_table(header_cells, table_rows)}{_newer_versions_note(translate, agreement_board)}'


def figure_with_interval(translate: Translator, board_figure: Figure, item_count: int | None) -> str:
    """A figure with its interval, and with its own number of items where that is not the row's `n`."""
    if board_figure.value is None:
        return figure_html(translate, board_figure)
    missing_interval = (
        f'<small title="{esc(translate.localize(board_figure.why))}">{translate("无区间", "no interval")}</small>'
        if board_figure.why
        else ""
    )
    differing_count = "" if board_figure.n in (None, item_count) else f"<small>n = {board_figure.n:,}</small>"
    return figure_html(translate, board_figure) + missing_interval + differing_count


def _judge_cells(translate: Translator, judge_row: JudgeRow) -> list[str]:
    baseline_mark = f"<small>{esc(translate('对照基线', 'baseline'))}</small>" if judge_row.judge in TRIVIAL else ""
    return [
        f'<b title="{esc(judge_row.version)}">{esc(board_row_name(translate, judge_row))}</b>{baseline_mark}',
        *(
            f"{item_count:,}"
            for item_count in (judge_row.n, judge_row.never_asked, judge_row.without_verdict, judge_row.ties)
        ),
        *(
            figure_with_interval(translate, getattr(judge_row, figure_name), judge_row.n)
            for figure_name in SHOWN_FIGURES
        ),
    ]


def _newer_versions_note(translate: Translator, agreement_board: AgreementBoard) -> str:
    """Which version a row is, where a judge has a newer one that has judged less."""
    newer_names = [judge_name(translate, judge_row.judge) for judge_row in agreement_board.rows if judge_row.newer]
    if not newer_names:
        return ""
    return note(
        translate(
            f"{'、'.join(newer_names)}：新版在这份参照上评得还少，以评得全的那一版为准，新版另列一行。",
            f"{', '.join(newer_names)}: the new version has judged fewer of these items so far; the complete one "
            "stands for the judge, the new one has a row of its own.",
        )
    )
