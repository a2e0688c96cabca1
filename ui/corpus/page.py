"""The corpus page: what is here, and looking at it; import and export have tabs of their own."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.corpus.records import PromptPage, PromptRow
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import (
    empty_notice,
    fill_on_load,
    friendly_errors,
    html_block,
    page_title,
)
from ui.corpus.datasets import dataset_table
from ui.corpus.exports import build_export_tab
from ui.corpus.imports import build_import_tab

PAGE_SIZE = 20


def build_page(services: Services, translate: Translator) -> None:
    """Three tabs: browse, import, export."""
    html_block(
        page_title(
            translate("语料", "Corpus"),
            translate(
                "请求、祝福、偏好对和标签都在这里。导入自动识别格式，同一份文件导两次也不会重复。",
                "Prompts, greetings, preference pairs and labels. Imports recognise the format; "
                "the same file twice adds nothing.",
            ),
        ),
    )
    dataset_list = html_block(elem_id="zf-datasets")
    fill_on_load(friendly_errors(translate)(lambda: dataset_table(services, translate)), dataset_list)
    with gr.Tabs():
        with gr.Tab(translate("浏览", "Browse"), id="browse"):
            _build_browse_tab(services, translate)
        with gr.Tab(translate("导入", "Import"), id="import"):
            build_import_tab(services, translate, dataset_list)
        with gr.Tab(translate("导出", "Export"), id="export"):
            build_export_tab(services, translate)


def _build_browse_tab(services: Services, translate: Translator) -> None:
    all_label = translate("全部", "All")
    with gr.Row():
        dataset_choice = gr.Dropdown(label=translate("数据集", "Data set"), choices=[(all_label, "")], value="")
        occasion_choice = gr.Dropdown(label=translate("场合", "Occasion"), choices=[(all_label, "")], value="")
        recipient_choice = gr.Dropdown(label=translate("对象", "Recipient"), choices=[(all_label, "")], value="")
        style_choice = gr.Dropdown(label=translate("风格", "Style"), choices=[(all_label, "")], value="")
        search_box = gr.Textbox(label=translate("包含文字", "Contains"), elem_id="zf-search")
    prompt_list = html_block(elem_id="zf-browse")
    page_state = gr.State(0)
    with gr.Row():
        previous_button = gr.Button(translate("上一页", "Previous"), min_width=100)
        next_button = gr.Button(translate("下一页", "Next"), min_width=100)
    filter_boxes: list[Any] = [dataset_choice, occasion_choice, recipient_choice, style_choice, search_box]
    browse_form = BoxForm(
        dataset=dataset_choice,
        occasion=occasion_choice,
        recipient=recipient_choice,
        style=style_choice,
        search=search_box,
        page=page_state,
    )

    @friendly_errors(translate)
    def load_filters() -> list[Any]:
        facets = services.corpus.facets()
        dataset_choices = [(dataset_info.name, dataset_info.name) for dataset_info in services.corpus.datasets()]
        return [
            gr.update(choices=[(all_label, ""), *dataset_choices]),
            *(
                gr.update(
                    choices=[
                        (all_label, ""),
                        *((f"{tag_name}（{tag_count}）", tag_name) for tag_name, tag_count in tag_counts.items()),
                    ]
                )
                for tag_counts in (facets.occasions, facets.recipients, facets.styles)
            ),
        ]

    def page_handler(page_step: int | None) -> Callable[..., tuple[str, int]]:
        """Shows the page so many steps from the one that is open; None: the first."""

        @friendly_errors(translate)
        @browse_form.named
        def show_page(entered: EnteredValues) -> tuple[str, int]:
            page_number = 0 if page_step is None else max(0, entered["page"] + page_step)
            return _browsed_page(services, translate, entered, page_number)

        return show_page

    gr.on(
        None,
        load_filters,
        None,
        [dataset_choice, occasion_choice, recipient_choice, style_choice],
        queue=False,
    )
    page_blocks = [prompt_list, page_state]
    filter_events = [filter_box.change for filter_box in filter_boxes]
    gr.on(None, page_handler(0), browse_form.inputs, page_blocks, queue=False)
    gr.on(filter_events, page_handler(None), browse_form.inputs, page_blocks, queue=False)
    previous_button.click(page_handler(-1), browse_form.inputs, page_blocks, queue=False)
    next_button.click(page_handler(1), browse_form.inputs, page_blocks, queue=False)


def _browsed_page(
    services: Services, translate: Translator, entered: EnteredValues, page_number: int
) -> tuple[str, int]:
    """A page of what the filters leave, or the last one, with its number."""
    prompt_page = services.corpus.browse(
        dataset=entered["dataset"] or None,
        occasion=entered["occasion"] or None,
        recipient=entered["recipient"] or None,
        style=entered["style"] or None,
        # A substring of a kilobyte finds nothing, and the database compares it with every prompt.
        search=(entered["search"] or "")[:100],
        page=page_number,
        size=PAGE_SIZE,
    )
    last_page = max(0, (prompt_page.total - 1) // PAGE_SIZE)
    # Filters were narrowed or rows went since: the last page rather than an empty one.
    if page_number > last_page:
        return _browsed_page(services, translate, entered, last_page)
    return _prompt_table(translate, prompt_page, page_number, last_page), page_number


def _prompt_table(translate: Translator, prompt_page: PromptPage, page_number: int, last_page: int) -> Markup:
    if not prompt_page.rows:
        return empty_notice(translate("没有符合条件的祝福，换个条件试试。", "Nothing matches; try other filters."))
    count_text = translate(
        f"共 {prompt_page.total:,} 个请求，第 {page_number + 1} / {last_page + 1} 页",
        f"{prompt_page.total:,} prompts, page {page_number + 1} of {last_page + 1}",
    )
    return render(
        "corpus/templates/prompts.html",
        translate=translate,
        prompt_lines=[_prompt_line(translate, prompt_row) for prompt_row in prompt_page.rows],
        count_text=count_text,
    )


def _prompt_line(translate: Translator, prompt_row: PromptRow) -> dict[str, Any]:
    """What the template names of one prompt; a greeting is its mark, its text and its length in characters."""
    # Ends of the scale alone: a share of raters between them is neither, and stands as a dot.
    label_marks: dict[float | None, str] = {1.0: translate("好", "good"), 0.0: translate("弱", "weak")}
    return {
        "text": prompt_row.text,
        "tags": _tag_text(prompt_row),
        "greetings": [
            (label_marks.get(greeting.label, "·"), greeting.text, len(greeting.text))
            for greeting in prompt_row.greetings
        ],
        "hidden_count": prompt_row.greeting_count - len(prompt_row.greetings),
    }


def _tag_text(prompt_row: PromptRow) -> str:
    return " · ".join(
        tag_name for tag_name in (prompt_row.occasion, prompt_row.recipient, prompt_row.style) if tag_name
    )
