"""What judges say of greetings: one opinion with its reasons, and two judges' opinions side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.enums import Scale
from backend.judges.scoring.records import JudgeInfo, Opinion, OpinionPair
from backend.services import Services
from ui.components.judges import judge_name, list_judge_choices, verdict_mark
from ui.components.language import DIMENSION_NAMES, Translator
from ui.components.templates import render
from ui.components.widgets import empty_notice, fill_tab, friendly_errors, html_block

# Each row holds two whole explanations, of a panel with everything its agents brought forward.
PAGE_SIZE = 5


def build_comparison_tab(services: Services, translate: Translator, comparison_tab: gr.Tab) -> None:
    """Two judges' explanations of the same greetings."""
    with gr.Row(equal_height=True):
        first_choice = gr.Dropdown(label=translate("裁判一", "First judge"), choices=[], elem_id="zf-beside-first")
        second_choice = gr.Dropdown(label=translate("裁判二", "Second judge"), choices=[], elem_id="zf-beside-second")
        differ_checkbox = gr.Checkbox(label=translate("只看意见不同的", "Only where they part"), value=True)
    comparison_block = html_block(empty_notice(translate("请选两个裁判。", "Choose two judges.")), elem_id="zf-beside")
    page_state = gr.State(0)
    with gr.Row(visible=False) as pager_row:
        previous_button = gr.Button(translate("上一页", "Previous"), min_width=100)
        next_button = gr.Button(translate("下一页", "Next"), min_width=100)

    @friendly_errors(translate)
    def load_judges() -> list[Any]:
        judge_choices = list_judge_choices(services, translate)
        return [gr.update(choices=judge_choices), gr.update(choices=judge_choices)]

    @friendly_errors(translate)
    def show_page(page_number: int, first_id: int | None, second_id: int | None, only_different: bool) -> list[Any]:
        if not first_id or not second_id:
            return [
                empty_notice(translate("请选两个裁判。", "Choose two judges.")),
                0,
                gr.update(visible=False),
            ]
        offset = max(0, page_number) * PAGE_SIZE
        comparison_page = services.scoring.compare_judges(
            int(first_id),
            int(second_id),
            only_disagreements=bool(only_different),
            offset=offset,
            limit=PAGE_SIZE,
        )
        if not comparison_page.rows and page_number > 0:
            # Fewer rows than when the page was turned: the last one rather than an empty one.
            return show_page(max(0, (comparison_page.total - 1) // PAGE_SIZE), first_id, second_id, only_different)  # type: ignore[no-any-return]
        if not comparison_page.total:
            message = translate("没有两个裁判都评过、而且符合条件的祝福。", "Nothing that both judged fits.")
            return [empty_notice(message), 0, gr.update(visible=False)]
        judge_pair = [services.scoring.catalog.judge(int(judge_id)) for judge_id in (first_id, second_id)]
        last_page = max(0, (comparison_page.total - 1) // PAGE_SIZE)
        count_text = translate(
            f"共 {comparison_page.total:,} 条，第 {page_number + 1} / {last_page + 1} 页",
            f"{comparison_page.total:,} in all, page {page_number + 1} of {last_page + 1}",
        )
        return [
            _comparison_html(translate, judge_pair, comparison_page.rows, count_text),
            page_number,
            gr.update(visible=last_page > 0),
        ]

    input_boxes: list[Any] = [first_choice, second_choice, differ_checkbox]
    output_blocks = [comparison_block, page_state, pager_row]
    fill_tab(comparison_tab, load_judges, [first_choice, second_choice])
    gr.on(
        [input_box.change for input_box in input_boxes],
        lambda *chosen_values: show_page(0, *chosen_values),
        input_boxes,
        output_blocks,
        queue=False,
    )
    previous_button.click(
        lambda n, *chosen_values: show_page(max(0, n - 1), *chosen_values),
        [page_state, *input_boxes],
        output_blocks,
        queue=False,
    )
    next_button.click(
        lambda n, *chosen_values: show_page(n + 1, *chosen_values),
        [page_state, *input_boxes],
        output_blocks,
        queue=False,
    )


def _comparison_html(
    translate: Translator, judge_pair: Sequence[JudgeInfo], compared_rows: Sequence[OpinionPair], count_text: str
) -> Markup:
    """Greetings with the opinions of both judges, in the order of `judge_pair`."""
    return render(
        "judges/templates/comparison.html",
        compared_rows=[(row, _titled_opinions(translate, judge_pair, row)) for row in compared_rows],
        count_text=count_text,
    )


def _titled_opinions(
    translate: Translator, judge_pair: Sequence[JudgeInfo], compared_row: OpinionPair
) -> list[tuple[str, Markup]]:
    return [
        (judge_name(translate, judge_info.name), opinion_html(translate, judge_opinion, judge_info.scale))
        for judge_info, judge_opinion in zip(judge_pair, (compared_row.first, compared_row.second), strict=True)
    ]


def opinion_html(translate: Translator, judge_opinion: Opinion, verdict_scale: Scale | None) -> Markup:
    """A verdict with its reason and whatever stands behind it."""
    return render(
        "judges/templates/opinion.html",
        opinion=judge_opinion,
        verdict_text=verdict_mark(translate, judge_opinion.value, verdict_scale),
        dimension_cells=_dimension_cells(translate, judge_opinion.details),
        statement_lists=_statement_lists(translate, judge_opinion.details),
        panel_rounds=_panel_rounds(translate, judge_opinion.details),
    )


def _dimension_cells(translate: Translator, details: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """The points that a rubric gave for each dimension."""
    dimension_points = details.get("dimensions")
    # Details are what a model wrote, stored as it came: any shape may be in them.
    if not isinstance(dimension_points, Mapping):
        return []
    return [
        (dimension_points.get(dimension, "–"), translate(*name_pair))
        for dimension, name_pair in DIMENSION_NAMES.items()
    ]


def _statement_lists(translate: Translator, details: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """What the agents of a panel brought forward for and against a greeting."""
    agent_names = (("merits", ("褒方", "For")), ("faults", ("贬方", "Against")))
    return [
        (translate(*name_pair), details[detail_key])
        for detail_key, name_pair in agent_names
        if isinstance(details.get(detail_key), list)
    ]


def _panel_rounds(translate: Translator, details: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Verdict and explanation of a panel's judge, and of the review."""
    round_names = (("first", ("初判", "First verdict")), ("final", ("复核", "Review")))
    return [
        (translate(*name_pair), round_details.get("verdict", "–"), round_details.get("explanation", ""))
        for detail_key, name_pair in round_names
        if isinstance(round_details := details.get(detail_key), Mapping)
    ]
