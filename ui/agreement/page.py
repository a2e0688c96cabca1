"""The agreement page: a human reference, every judge beside it, and the worst disagreements."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
from markupsafe import Markup

from backend.agreement.board_values import format_board_csv
from backend.agreement.records import AgreementBoard
from backend.agreement.statistics import minimums
from backend.core.errors import UserError
from backend.core.files import write_atomically
from backend.corpus.export import new_export_path
from backend.services import Services
from ui.agreement.views import models_table, worst_disagreements
from ui.components.board import board_row_name, board_table, reference_kind_name
from ui.components.language import Translator
from ui.components.templates import render, render_part
from ui.components.widgets import (
    caption_html,
    empty_notice,
    figure_html,
    friendly_errors,
    html_block,
    html_table,
    note,
    page_title,
)

# At most: with MIN_FIGURE_ITEMS in each, a hundred labels fill them.
SCORE_BINS = 10
# More bars than these leave no room for the names under them.
MOST_OCCASIONS = 12
# From here on a label is told by length in seven of ten pairs of a good and a weak greeting.
LEAKING_LENGTH_AUC = 0.7


@dataclass(frozen=True)
class AgreementBlocks:
    """The page's blocks that handlers read or fill."""

    reference_choice: gr.Dropdown
    refresh_button: gr.Button
    download_button: gr.DownloadButton
    board_block: gr.HTML
    judge_choice: gr.Dropdown
    score_curve: gr.BarPlot
    occasion_chart: gr.BarPlot
    confusion_block: gr.HTML
    disagreement_block: gr.HTML


def build_page(services: Services, translate: Translator) -> None:
    """Reference → board → one judge in detail → its worst disagreements."""
    html_block(
        page_title(
            translate("一致性", "Agreement"),
            translate(
                "选一个人工参照，看每个裁判和人有多一致。字数、表面特征、n-gram 三条基线始终在场："
                "赢不过它们的裁判，多半只是在数字数。",
                "Choose a human reference and see every judge beside it. Three baselines are always there: "
                "a judge that does not beat them is probably counting characters.",
            ),
        ),
    )
    _wire_events(services, translate, _build_blocks(translate))


def _build_blocks(translate: Translator) -> AgreementBlocks:
    with gr.Row(elem_classes="zf-tools-row"):
        reference_choice = gr.Dropdown(
            label=translate("人工参照", "Human reference"), choices=[], scale=3, elem_id="zf-reference"
        )
        refresh_button = gr.Button(translate("刷新", "Refresh"), scale=1, min_width=100, elem_id="zf-agreement-refresh")
        download_button = gr.DownloadButton(
            translate("下载 CSV", "Download CSV"), scale=1, min_width=120, elem_id="zf-agreement-csv"
        )
    board_block = html_block(elem_id="zf-board")
    judge_choice = gr.Dropdown(
        label=translate("细看一个裁判", "One judge in detail"), choices=[], visible=False, elem_id="zf-judge"
    )
    with gr.Row():
        score_curve, occasion_chart = _score_curve(translate), _occasion_chart(translate)
    confusion_block = html_block(elem_id="zf-confusion")
    disagreement_block = html_block(elem_id="zf-worst")
    return AgreementBlocks(
        reference_choice,
        refresh_button,
        download_button,
        board_block,
        judge_choice,
        score_curve,
        occasion_chart,
        confusion_block,
        disagreement_block,
    )


def _score_curve(translate: Translator) -> gr.BarPlot:
    return gr.BarPlot(
        x="group",
        y="share",
        title=translate("裁判分数越高，人越喜欢吗", "People's view by judge score"),
        x_title=translate("裁判分数，由低到高分组（条数）", "judge score, low to high (n)"),
        tooltip=["group", "share", "n"],
        y_title=translate("人说好的比例", "share people call good"),
        y_lim=[0, 1],
        height=260,
        min_width=320,
        visible=False,
        sort=None,
    )


def _occasion_chart(translate: Translator) -> gr.BarPlot:
    return gr.BarPlot(
        x="occasion",
        y="accuracy",
        title=translate("各场合的准确率", "Accuracy by occasion"),
        # An empty title would be replaced by the name of the column.
        x_title=" ",
        tooltip=["occasion", "accuracy", "n"],
        x_label_angle=-40,
        y_title=translate("准确率", "accuracy"),
        y_lim=[0, 1],
        height=260,
        min_width=320,
        visible=False,
        sort="-y",
    )


def _wire_events(services: Services, translate: Translator, page_blocks: AgreementBlocks) -> None:
    @friendly_errors(translate)
    def load_references() -> Any:
        choices = [
            (
                f"{reference_info.name} · {reference_kind_name(translate, reference_info.kind)} · "
                f"{reference_info.labels}",
                reference_info.name,
            )
            for reference_info in services.board.references()
        ]
        return gr.update(choices=choices, value=choices[0][1] if choices else None)

    @friendly_errors(translate)
    def show_board(reference_name: str | None, progress: gr.Progress = gr.Progress()) -> list[Any]:
        try:
            agreement_board = services.board.board(
                reference_name, progress=lambda fraction, step_text: progress(fraction, desc=step_text)
            )
        except UserError as error:
            return [
                empty_notice(translate.localize(error)),
                gr.update(choices=[], visible=False),
                gr.update(visible=False),
            ]
        judge_choices = [(board_row_name(translate, judge_row), judge_row.key) for judge_row in agreement_board.rows]
        # Baselines stand first: the last row is a judge that somebody made, where there is one.
        last_judge = [judge_row.key for judge_row in agreement_board.rows if not judge_row.newer][-1]
        return [
            _summary_figures(translate, agreement_board)
            + board_table(translate, agreement_board)
            + _remarks(translate, agreement_board)
            + models_table(translate, agreement_board),
            gr.update(choices=judge_choices, value=last_judge, visible=True),
            gr.update(value=str(_write_csv(services, agreement_board)), visible=True),
        ]

    @friendly_errors(translate)
    def explain_judge(reference_name: str | None, judge_key: str | None) -> list[Any]:
        hidden_updates = [gr.update(visible=False), gr.update(visible=False), "", ""]
        if not reference_name or not judge_key:
            return hidden_updates
        agreement_board = services.board.board(reference_name)
        # The board may have been computed anew since the page opened, without this version of the judge.
        if judge_key not in agreement_board.points:
            return hidden_updates
        score_groups, occasion_shares = (
            _score_groups(agreement_board, judge_key),
            _occasion_shares(agreement_board, judge_key),
        )
        return [
            _group_chart(score_groups),
            gr.update(value=occasion_shares, visible=bool(len(occasion_shares))),
            _undrawn_note(translate, agreement_board, judge_key)
            + _confusion_table(translate, agreement_board, judge_key),
            worst_disagreements(services, translate, agreement_board, judge_key),
        ]

    gr.on(None, load_references, None, page_blocks.reference_choice, queue=False)
    board_outputs = [page_blocks.board_block, page_blocks.judge_choice, page_blocks.download_button]
    selection_inputs = [page_blocks.reference_choice, page_blocks.judge_choice]
    detail_outputs = [
        page_blocks.score_curve,
        page_blocks.occasion_chart,
        page_blocks.confusion_block,
        page_blocks.disagreement_block,
    ]
    for board_event in (
        page_blocks.reference_choice.change(show_board, page_blocks.reference_choice, board_outputs),
        page_blocks.refresh_button.click(show_board, page_blocks.reference_choice, board_outputs),
    ):
        # After the board, which sets the judge that is explained; by `change` of that box it would run once
        # more for each answer.
        board_event.then(explain_judge, selection_inputs, detail_outputs)
    # By people alone, since the chain above follows what the server sets.
    page_blocks.judge_choice.input(explain_judge, selection_inputs, detail_outputs)


def _summary_figures(translate: Translator, agreement_board: AgreementBoard) -> Markup:
    alpha_figure = agreement_board.alpha.ordinal
    alpha_html = render(
        "components/templates/board_figure.html",
        translate=translate,
        figure=figure_html(translate, alpha_figure),
        missing_interval="",
        differing_count=None if alpha_figure.value is None else agreement_board.alpha.items,
    )
    summary_cells = [
        (str(agreement_board.items), translate("有人工标签的条目", "items with human labels")),
        (str(agreement_board.raters), translate("标注者", "raters")),
        (alpha_html, translate("标注者之间 Krippendorff α（有序）", "Krippendorff α among raters (ordinal)")),
    ]
    return render_part("figures", summary_cells)


def _remarks(translate: Translator, agreement_board: AgreementBoard) -> Markup:
    """Sentences about what the table alone would hide."""
    remarks = []
    rows_by_judge = {judge_row.judge: judge_row for judge_row in agreement_board.rows}
    length_row = rows_by_judge.get("length")
    if length_row and length_row.auc.value is not None and _length_leaks(length_row.auc.value):
        remarks.append(
            translate(
                f"只数字数，AUC 就有 {length_row.auc.value:.2f}：长短本身就透露答案，请看“等长 AUC”。",
                f"Counting characters alone reaches AUC {length_row.auc.value:.2f}: length gives these "
                "labels away; look at the length-matched AUC.",
            )
        )
    if any(judge_row.unscored for judge_row in agreement_board.rows):
        remarks.append(
            translate(
                "没有评判不算 0 分：“未问”是没拿去问过的条目（两条对比要两条都问过才算问过），"
                "“无结论”是问了却没给出评判的。",
                "What has no verdict is not counted as zero: “never asked” items were not put to the judge "
                "(of a comparison both greetings must have been), “no verdict” ones were, and it gave none.",
            )
        )
    if agreement_board.reference == "seed":
        remarks.append(
            translate(
                "自带语料的标签是作者写作时的意图，不是读者投票。",
                "Labels of the built-in corpus are its authors' intent, not readers' votes.",
            )
        )
    return Markup().join(note(remark) for remark in remarks)


def _length_leaks(length_auc: float) -> bool:
    """Whether length tells good from weak, be it that good ones are longer or that they are shorter."""
    return max(length_auc, 1 - length_auc) >= LEAKING_LENGTH_AUC


def _write_csv(services: Services, agreement_board: AgreementBoard) -> Path:
    # The reference may be named by a person, and a `/` in it would be a folder.
    safe_name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in agreement_board.reference)
    csv_path = new_export_path(services.settings.home, f"agreement-{safe_name[:60]}.csv")
    # With a byte order mark: without one, spreadsheets read Chinese in UTF-8 as another encoding.
    write_atomically(csv_path, format_board_csv(agreement_board), "utf-8-sig")
    return csv_path


def _group_chart(score_groups: pd.DataFrame) -> Any:
    """The chart of the groups in their order: left to itself it puts “10” after “1”."""
    return gr.update(value=score_groups, sort=list(score_groups["group"]), visible=bool(len(score_groups)))


def _score_groups(agreement_board: AgreementBoard, judge_key: str) -> pd.DataFrame:
    """Mean human value in up to ten groups by the judge's score; equal scores stay in one group.

    No group is smaller than `minimums.MIN_FIGURE_ITEMS`; empty where that leaves fewer than two.
    """
    score_points = agreement_board.points[judge_key]
    group_limit = min(SCORE_BINS, len(score_points) // minimums.MIN_FIGURE_ITEMS)
    if group_limit < 2:
        return pd.DataFrame({"group": [], "share": [], "n": []})
    score_frame = pd.DataFrame(
        {"judge": [point.judge for point in score_points], "human": [point.human for point in score_points]}
    )
    # Ranks, and the mean one for ties: a judge that gives few values would else have equal scores in
    # different groups.
    rank_share = score_frame["judge"].rank(method="average", pct=True)
    # Just below: the best has a share of 1 and would otherwise be a group of its own.
    bin_index = (rank_share * group_limit).clip(upper=group_limit - 1e-9).astype(int)
    score_frame["group"] = bin_index.map(_join_small_bins(bin_index.value_counts().sort_index().to_dict()))
    group_table = score_frame.groupby("group", as_index=False).agg(share=("human", "mean"), n=("human", "size"))
    group_table["group"] = [
        f"{group_index + 1} ({group_size})" for group_index, group_size in enumerate(group_table["n"])
    ]
    return group_table if len(group_table) > 1 else group_table.iloc[:0]


def _join_small_bins(bin_sizes: dict[int, int]) -> dict[int, int]:
    """The group of each place, given its items in rising order: small places join their neighbours."""
    group_index, item_count, group_by_bin = 0, 0, {}
    for bin_index, bin_size in bin_sizes.items():
        if item_count >= minimums.MIN_FIGURE_ITEMS:
            group_index, item_count = group_index + 1, 0
        group_by_bin[bin_index], item_count = group_index, item_count + bin_size
    # What is left at the end may be too few for a group and joins the one before.
    last_group = group_index - 1 if group_index and item_count < minimums.MIN_FIGURE_ITEMS else group_index
    return {bin_index: min(group_number, last_group) for bin_index, group_number in group_by_bin.items()}


def _occasion_shares(agreement_board: AgreementBoard, judge_key: str) -> pd.DataFrame:
    """The occasions that have enough items for a share, the most frequent first."""
    measured_cells = [
        occasion_cell
        for occasion_cell in agreement_board.occasions[judge_key]
        if occasion_cell.occasion and occasion_cell.accuracy is not None
    ]
    return pd.DataFrame(
        {
            "occasion": f"{occasion_cell.occasion} ({occasion_cell.n})",
            "accuracy": occasion_cell.accuracy,
            "n": occasion_cell.n,
        }
        for occasion_cell in measured_cells[:MOST_OCCASIONS]
    )


def _undrawn_note(translate: Translator, agreement_board: AgreementBoard, judge_key: str) -> Markup:
    """How many occasions have too few items for a bar."""
    small_cells = [
        occasion_cell
        for occasion_cell in agreement_board.occasions[judge_key]
        if occasion_cell.occasion and occasion_cell.accuracy is None
    ]
    if not small_cells:
        return Markup()
    item_count = sum(occasion_cell.n for occasion_cell in small_cells)
    message = translate(
        f"另有 {len(small_cells)} 个场合不足 {minimums.MIN_FIGURE_ITEMS} 条（共 {item_count} 条），不画准确率。",
        f"Not drawn: {len(small_cells)} occasions with fewer than {minimums.MIN_FIGURE_ITEMS} items each "
        f"({item_count} in all).",
    )
    return caption_html(message)


def _confusion_table(translate: Translator, agreement_board: AgreementBoard, judge_key: str) -> Markup:
    verdict_names = {
        "1": translate("A 更好", "A better") if agreement_board.kind == "compare" else translate("好", "good"),
        "tie": translate("平", "tie"),
        "0": translate("B 更好", "B better") if agreement_board.kind == "compare" else translate("不好", "bad"),
        "undecided": translate("分不出", "undecided"),
        "without_verdict": translate("无结论", "no verdict"),
        "never_asked": translate("未问", "never asked"),
    }
    verdict_counts = agreement_board.confusions[judge_key]
    # The judge's ties stand even where there are none: that nobody tied is an answer too.
    permanent_columns = ("1", "tie", "0")
    columns = [
        verdict_key
        for verdict_key in verdict_names
        if verdict_key in permanent_columns
        or any(verdict_counts[human_verdict][verdict_key] for human_verdict in verdict_counts)
    ]
    table_rows = [
        [
            verdict_names[human_verdict],
            *(str(verdict_counts[human_verdict][judge_verdict]) for judge_verdict in columns),
        ]
        for human_verdict in verdict_counts
        if any(verdict_counts[human_verdict].values())
    ]
    header_cells = [
        translate("人 ＼ 裁判", "people \\ judge"),
        *(verdict_names[judge_verdict] for judge_verdict in columns),
    ]
    return render_part("subheading", translate("混淆表", "Confusion")) + html_table(header_cells, table_rows)
