"""The agreement board as HTML: every judge beside the human reference, on whichever page it stands."""

from markupsafe import Markup

from backend.agreement.records import AgreementBoard, WithinRow
from backend.agreement.statistics.figures import Figure
from backend.agreement.statistics.judge_rows import JudgeRow
from backend.judges.scoring.service import TRIVIAL
from ui.components.judges import judge_name
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import figure_html

# Length-matched AUC last, beside AUC: where the two part, length gave the labels away.
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


def board_table(translate: Translator, agreement_board: AgreementBoard) -> Markup:
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
    return render(
        "components/templates/board.html",
        translate=translate,
        caption=_board_caption(translate, agreement_board),
        header_cells=header_cells,
        judge_lines=[_judge_line(translate, judge_row) for judge_row in agreement_board.rows],
        newer_note=_newer_versions_text(translate, agreement_board),
        within_lines=_within_lines(translate, agreement_board),
    )


def _within_lines(translate: Translator, agreement_board: AgreementBoard) -> list[tuple[WithinRow, str, Markup]]:
    """Judges with their pairs within requests; none where no judge ranks."""
    names_by_key = {judge_row.key: board_row_name(translate, judge_row) for judge_row in agreement_board.rows}
    return [
        (
            within_row,
            names_by_key[within_row.key],
            figure_with_interval(translate, within_row.figure, within_row.pairs),
        )
        for within_row in agreement_board.within
    ]


def _board_caption(translate: Translator, agreement_board: AgreementBoard) -> str:
    reference_name, item_count = agreement_board.reference, agreement_board.items
    kind_name = reference_kind_name(translate, agreement_board.kind)
    return translate(
        f"参照：{reference_name}（{kind_name}，{item_count} 条有标签）",
        f"Reference: {reference_name} ({kind_name}, {item_count} labelled)",
    )


def _judge_line(translate: Translator, judge_row: JudgeRow) -> tuple[JudgeRow, str, bool, list[Markup]]:
    """A row, the judge's name for people, whether it is a baseline, and its figures in the order of the headings."""
    row_figures = [
        figure_with_interval(translate, getattr(judge_row, figure_name), judge_row.n) for figure_name in SHOWN_FIGURES
    ]
    return judge_row, board_row_name(translate, judge_row), judge_row.judge in TRIVIAL, row_figures


def figure_with_interval(translate: Translator, board_figure: Figure, item_count: int | None) -> Markup:
    """A figure with its interval, and with its own number of items where that is not the row's `item_count`."""
    measured_html = figure_html(translate, board_figure)
    # Its reason stands in place of the figure, so there is neither interval nor count to add.
    if board_figure.value is None:
        return measured_html
    return render(
        "components/templates/board_figure.html",
        translate=translate,
        figure=measured_html,
        missing_interval=translate.localize(board_figure.why) if board_figure.why else "",
        # Length-matched figures rest on fewer items than the row; where one does, it must say so.
        differing_count=None if board_figure.n in (None, item_count) else board_figure.n,
    )


def _newer_versions_text(translate: Translator, agreement_board: AgreementBoard) -> str:
    """Which version a row is, where a judge has a newer one that has judged less."""
    newer_names = [judge_name(translate, judge_row.judge) for judge_row in agreement_board.rows if judge_row.newer]
    if not newer_names:
        return ""
    return translate(
        f"{'、'.join(newer_names)}：新版在这份参照上评得还少，以评得全的那一版为准，新版另列一行。",
        f"{', '.join(newer_names)}: the new version has judged fewer of these items so far; the complete one "
        "stands for the judge, the new one has a row of its own.",
    )
