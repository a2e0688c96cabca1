"""The page of judges: every judge at a glance, two side by side, and the tabs to make, run and connect them."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.agreement.records import AgreementBoard
from backend.agreement.statistics.judge_rows import JudgeRow
from backend.core.errors import UserError
from backend.judges.scoring.records import JudgeInfo
from backend.services import Services
from ui.components.board import figure_with_interval
from ui.components.judges import judge_kind_label, judge_name
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import empty_notice, friendly_errors, html_block, note, page_title
from ui.judges import editor, endpoints, runs
from ui.judges.comparison import build_comparison_tab


def build_list_tab(services: Services, translate: Translator, list_tab: gr.Tab) -> None:
    """The list: at once without agreement, which may have to be computed, then with it."""
    with gr.Row():
        older_checkbox = gr.Checkbox(
            label=translate("也显示旧版本", "Show older versions too"), elem_id="zf-judges-older"
        )
        refresh_button = gr.Button(translate("刷新", "Refresh"), min_width=100, scale=0, elem_id="zf-judges-refresh")
    judge_list = html_block(elem_id="zf-judges")

    @friendly_errors(translate)
    def list_at_once(with_older: bool = False) -> Markup:
        return _judge_table(translate, _shown_judges(services, with_older), None)

    @friendly_errors(translate)
    def list_with_agreement(with_older: bool = False) -> Markup:
        try:
            agreement_board = services.board.board()
        except UserError as error:
            return _judge_table(translate, _shown_judges(services, with_older), None) + note(translate.localize(error))
        return _judge_table(translate, _shown_judges(services, with_older, agreement_board), agreement_board)

    # The list first, since after new labels the agreement takes seconds.
    gr.on(None, list_at_once, older_checkbox, judge_list, queue=False, show_progress="hidden").then(
        list_with_agreement, older_checkbox, judge_list, show_progress="hidden"
    )
    gr.on(
        [refresh_button.click, older_checkbox.change, list_tab.select],
        list_with_agreement,
        older_checkbox,
        judge_list,
        show_progress="hidden",
    )


def _shown_judges(
    services: Services, with_older: bool, agreement_board: AgreementBoard | None = None
) -> list[JudgeInfo]:
    """The newest version of every judge, and the one that stands for it on the board."""
    current_versions = (
        {(judge_row.judge, judge_row.version) for judge_row in agreement_board.rows} if agreement_board else set()
    )
    return [
        judge_info
        for judge_info in services.scoring.catalog.judges()
        # An older version stays where it stands on the board: a newer one that has judged little does not
        # replace it.
        if with_older or judge_info.newest or (judge_info.name, judge_info.version) in current_versions
    ]


def _judge_table(
    translate: Translator, listed_judges: Sequence[JudgeInfo], agreement_board: AgreementBoard | None
) -> Markup:
    if not listed_judges:
        return empty_notice(translate("还没有裁判评判过，请新建一个。", "No judge has judged anything yet; make one."))
    header_cells = [
        translate("裁判", "Judge"),
        translate("类型", "Kind"),
        translate("已评", "scored"),
        translate("未评", "unscored"),
        translate("花费", "cost"),
        translate("覆盖", "coverage"),
        "Spearman ρ",
        translate("准确率", "accuracy"),
    ]
    rows_by_version = (
        {(judge_row.judge, judge_row.version): judge_row for judge_row in agreement_board.rows}
        if agreement_board
        else {}
    )
    caption = (
        translate(f"一致性参照：{agreement_board.reference}", f"Agreement with: {agreement_board.reference}")
        if agreement_board
        else ""
    )
    judge_lines = [
        _judge_line(translate, judge_info, rows_by_version.get((judge_info.name, judge_info.version)))
        for judge_info in listed_judges
    ]
    return render(
        "judges/templates/judges.html",
        translate=translate,
        header_cells=header_cells,
        judge_lines=judge_lines,
        caption=caption,
    )


def _judge_line(translate: Translator, judge_info: JudgeInfo, judge_row: JudgeRow | None) -> dict[str, Any]:
    """What the template names of one judge; its agreement is “–” where it is not on the board."""
    judge_line = {
        "judge": judge_info,
        "name": judge_name(translate, judge_info.name),
        "created_on": f"{judge_info.created_at:%Y-%m-%d}",
        "kind_name": judge_kind_label(translate, judge_info.kind),
        "coverage": "–",
        "coverage_counts": "",
        "spearman": "–",
        "accuracy": "–",
    }
    if judge_row is None:
        return judge_line
    # Of the items with human labels alone; what the judge has scored elsewhere says nothing here.
    if judged_count := judge_row.n + judge_row.unscored:
        judge_line["coverage"] = f"{judge_row.n / judged_count:.0%}"
        judge_line["coverage_counts"] = f"{judge_row.n:,} / {judged_count:,}"
    judge_line["spearman"] = figure_with_interval(translate, judge_row.spearman, judge_row.n)
    judge_line["accuracy"] = figure_with_interval(translate, judge_row.accuracy, judge_row.n)
    return judge_line


def build_page(services: Services, translate: Translator) -> None:
    """Five tabs, each in a file of its own."""
    html_block(
        page_title(
            translate("裁判", "Judges"),
            translate(
                "接一个模型，写下原则，它就成了裁判。先拿几条祝福试试，再让它评一个数据集，"
                "最后到“一致性”看它和人有多像。没给出评判的叫“未评”，从不当作 0 分。",
                "Connect a model, write down principles, and it is a judge. Try it on a few greetings, let "
                "it score a data set, then see under Agreement how close it is to people. What it leaves "
                "open is “unscored”, never 0.",
            ),
        )
    )
    with gr.Tabs():
        with gr.Tab(translate("全部裁判", "All judges"), id="all") as judges_tab:
            build_list_tab(services, translate, judges_tab)
        with gr.Tab(translate("新建与试用", "Make and try"), id="edit") as judges_tab:
            editor.build_tab(services, translate, judges_tab)
        with gr.Tab(translate("并排看理由", "Side by side"), id="beside") as judges_tab:
            build_comparison_tab(services, translate, judges_tab)
        with gr.Tab(translate("评判任务", "Scoring runs"), id="runs") as judges_tab:
            runs.build_tab(services, translate, judges_tab)
        with gr.Tab(translate("模型端点", "Endpoints"), id="endpoints") as judges_tab:
            endpoints.build_tab(services, translate, judges_tab)
