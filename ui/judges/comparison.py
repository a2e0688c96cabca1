"""What judges say of greetings: one opinion with its reasons, and two judges' opinions side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from backend.core.enums import Scale
from backend.judges.scoring.records import JudgeInfo, Opinion, OpinionPair
from backend.services import Services
from ui.components.judges import judge_name, list_judge_choices, verdict_mark
from ui.components.language import DIMENSION_NAMES, Translator
from ui.components.widgets import empty_notice, esc, fill_tab, friendly_errors, html_block, note

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
            return show_page(max(0, (comparison_page.total - 1) // PAGE_SIZE), first_id, second_id, only_different)  # type: ignore[no-any-return]
        if not comparison_page.total:
            message = translate("没有两个裁判都评过、而且符合条件的祝福。", "Nothing that both judged fits.")
            return [empty_notice(message), 0, gr.update(visible=False)]
        judge_pair = [services.scoring.catalog.judge(int(judge_id)) for judge_id in (first_id, second_id)]
        cards_html = "".join(
            _comparison_card(translate, judge_pair, compared_row) for compared_row in comparison_page.rows
        )
        last_page = max(0, (comparison_page.total - 1) // PAGE_SIZE)
        count_text = translate(
            f"共 {comparison_page.total:,} 条，第 {page_number + 1} / {last_page + 1} 页",
            f"{comparison_page.total:,} in all, page {page_number + 1} of {last_page + 1}",
        )
        return [
            f'{cards_html}<p class="zf-note">{esc(count_text)}</p>',
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


def _comparison_card(translate: Translator, judge_pair: Sequence[JudgeInfo], compared_row: OpinionPair) -> str:
    judge_cards = "".join(
        f'<div class="zf-card"><h3>{esc(judge_name(translate, judge_info.name))}</h3>'
        f"{opinion_html(translate, judge_opinion, judge_info.scale)}</div>"
        for judge_info, judge_opinion in zip(judge_pair, (compared_row.first, compared_row.second), strict=True)
    )
    return (
        f'<h3>{esc(compared_row.prompt)}</h3><p class="zf-greeting">{esc(compared_row.greeting)}</p>'
        f'<div class="zf-cards">{judge_cards}</div>'
    )


def opinion_html(translate: Translator, judge_opinion: Opinion, verdict_scale: Scale | None) -> str:
    """A verdict with its reason and whatever stands behind it."""
    note_kind = "warn" if judge_opinion.value is None else "ok"
    verdict_note = note(verdict_mark(translate, judge_opinion.value, verdict_scale), note_kind)
    reason_html = f"<p>{esc(judge_opinion.reason)}</p>" if judge_opinion.reason else ""
    return (
        verdict_note
        + reason_html
        + _dimension_figures(translate, judge_opinion.details)
        + _statement_blocks(translate, judge_opinion.details)
    )


def _dimension_figures(translate: Translator, details: Mapping[str, Any]) -> str:
    dimensions = details.get("dimensions")
    if not isinstance(dimensions, Mapping):
        return ""
    dimension_cells = (
        f"<div><b>{esc(dimensions.get(dimension, '–'))}</b><span>{translate(*name_pair)}</span></div>"
        for dimension, name_pair in DIMENSION_NAMES.items()
    )
    return f'<div class="zf-figures">{"".join(dimension_cells)}</div>'


def _statement_blocks(translate: Translator, details: Mapping[str, Any]) -> str:
    html_blocks = []
    for detail_key, name_pair in (("merits", ("褒方", "For")), ("faults", ("贬方", "Against"))):
        if isinstance(details.get(detail_key), list):
            line_items = "".join(f"<li>{esc(statement)}</li>" for statement in details[detail_key]) or "<li>–</li>"
            html_blocks.append(f"<h4>{translate(*name_pair)}</h4><ul>{line_items}</ul>")
    for detail_key, name_pair in (("first", ("初判", "First verdict")), ("final", ("复核", "Review"))):
        if isinstance(details.get(detail_key), Mapping):
            round_details = details[detail_key]
            verdict_text = f"{esc(round_details.get('verdict', '–'))} · {esc(round_details.get('explanation', ''))}"
            html_blocks.append(f"<h4>{translate(*name_pair)}</h4><p>{verdict_text}</p>")
    return "".join(html_blocks)
