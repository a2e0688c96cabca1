"""The corpus page: what is here, bring data in, take data out."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.errors import UserError
from backend.corpus.export import new_export_path
from backend.corpus.records import ExportReport, FilePreview, ImportReport, PromptPage, PromptRow
from backend.corpus.service import ImportRefused
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import FORMAT_NAMES, Translator
from ui.components.routes import uploaded_file
from ui.components.templates import render
from ui.components.widgets import (
    empty_notice,
    fill_on_load,
    friendly_errors,
    html_block,
    html_table,
    note,
    page_title,
)

PAGE_SIZE = 20
# What a table can mean; a person maps a field at a time to a column, never a column to several fields.
MAPPED_FIELDS = ("prompt", "greeting", "label", "chosen", "rejected")
# The formats offered, with how their files end.
EXPORT_SUFFIXES = {"trl": "jsonl", "sharegpt": "json", "csv": "csv", "parquet": "parquet"}


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
    fill_on_load(friendly_errors(translate)(lambda: _dataset_table(services, translate)), dataset_list)
    with gr.Tabs():
        with gr.Tab(translate("浏览", "Browse"), id="browse"):
            _build_browse_tab(services, translate)
        with gr.Tab(translate("导入", "Import"), id="import"):
            _build_import_tab(services, translate, dataset_list)
        with gr.Tab(translate("导出", "Export"), id="export"):
            _build_export_tab(services, translate)


def _dataset_table(services: Services, translate: Translator) -> Markup:
    datasets = services.corpus.datasets()
    if not datasets:
        return empty_notice(translate("还没有数据，请先导入。", "No data yet; import some."))
    header_cells = [
        translate("数据集", "Data set"),
        translate("格式", "Kind"),
        translate("请求", "Prompts"),
        translate("祝福", "Greetings"),
        translate("偏好对", "Pairs"),
        translate("标签", "Labels"),
    ]
    return render(
        "corpus/templates/datasets.html",
        translate=translate,
        header_cells=header_cells,
        dataset_lines=[(dataset, _format_name(translate, dataset.kind)) for dataset in datasets],
    )


def _format_name(translate: Translator, file_format: str | None) -> str:
    return translate(*FORMAT_NAMES[file_format]) if file_format in FORMAT_NAMES else file_format or "–"


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


def _build_import_tab(services: Services, translate: Translator, dataset_list: gr.HTML) -> None:
    upload_box = gr.File(
        label=translate(
            "拖入文件：JSON、JSONL、CSV、TSV、XLSX、Parquet、TXT（最大 200 MB）",
            "Drop a file: JSON, JSONL, CSV, TSV, XLSX, Parquet, TXT (up to 200 MB)",
        ),
        elem_id="zf-upload",
    )
    preview_block = html_block()
    with gr.Row():
        name_box = gr.Textbox(
            label=translate("数据集名称（可不填，默认用文件名）", "Data set name (default: the file's name)"),
            elem_id="zf-dataset-name",
        )
        skip_checkbox = gr.Checkbox(
            label=translate("跳过坏行（否则有一行坏就整份不导）", "Skip bad rows (else one bad row refuses the file)"),
            elem_id="zf-skip-bad",
        )
    mapping_title = translate("列对应（表格列名认不出时用）", "Column mapping (for unusual tables)")
    with gr.Accordion(mapping_title, open=False), gr.Row():
        column_choices = {field: gr.Dropdown(label=field, choices=[""], value="") for field in MAPPED_FIELDS}
    import_form = BoxForm(file=upload_box, dataset=name_box, skip_bad=skip_checkbox, **column_choices)
    import_button = gr.Button(translate("导入", "Import"), variant="primary", elem_id="zf-import")
    report_block = html_block(elem_id="zf-import-report")

    @friendly_errors(translate)
    def show_preview(request: gr.Request, upload_path: str | None) -> dict[Any, Any]:
        column_names: list[str] = []
        try:
            preview_html = ""
            if (uploaded := uploaded_file(request, upload_path)) is not None:
                file_preview = services.corpus.preview(uploaded)
                preview_html, column_names = _preview_html(translate, file_preview), list(file_preview.columns)
        except UserError as error:
            preview_html = note(translate.localize(error), "bad")
        # Emptied with each file: a column of the last one may be missing in this, or mean something else.
        column_update = gr.update(choices=["", *column_names], value="")
        return {preview_block: preview_html, **import_form.fill(dict.fromkeys(MAPPED_FIELDS, column_update))}

    @friendly_errors(translate)
    @import_form.named
    def import_upload(request: gr.Request, entered: EnteredValues, progress: Any = gr.Progress()) -> list[Any]:
        column_mapping = {field_name: entered[field_name] for field_name in MAPPED_FIELDS if entered[field_name]}
        try:
            # Asked again here: the preview has checked a path, and this call may name another.
            if (uploaded := uploaded_file(request, entered["file"])) is None:
                return [note(translate("请先选择一个文件。", "Choose a file first.")), gr.skip()]
            import_report = services.corpus.import_file(
                uploaded,
                dataset=entered["dataset"].strip() or None,
                skip_bad=bool(entered["skip_bad"]),
                mapping=column_mapping or None,
                progress=lambda fraction, step_text: progress(fraction, desc=step_text),
            )
        # Before UserError, of which it is one: it knows the rows that are bad.
        except ImportRefused as refused:
            refused_note = note(translate.localize(refused), "bad")
            return [refused_note + _rejected_rows(translate, refused.report), gr.skip()]
        except UserError as error:
            return [note(translate.localize(error), "bad"), gr.skip()]
        return [_import_summary(translate, import_report), _dataset_table(services, translate)]

    preview_blocks = [preview_block, *import_form.pick_outputs(MAPPED_FIELDS)]
    upload_box.change(show_preview, upload_box, preview_blocks, queue=False)
    # Through the queue, which shows progress, and one at a time: two imports would only wait for each other's
    # lock.
    import_button.click(import_upload, import_form.inputs, [report_block, dataset_list], concurrency_limit=1)


def _preview_html(translate: Translator, file_preview: FilePreview) -> Markup:
    """What a file was recognised as, and its first rows."""
    zh, en = (f"（{file_preview.encoding}）", f" ({file_preview.encoding})") if file_preview.encoding else ("", "")
    format_name = _format_name(translate, file_preview.kind)
    message = (
        note(translate(f"识别为：{format_name}{zh}", f"Recognised as {format_name}{en}"), "ok")
        if file_preview.kind
        else note(translate("认不出各列的含义，请在下面指定。", "The columns are not recognised; map them below."))
    )
    if not file_preview.rows:
        return message
    sample_rows = [
        # A cell of a foreign file may be a whole book.
        [str(sample_row.get(column_name, ""))[:80] for column_name in file_preview.columns]
        for sample_row in file_preview.rows
    ]
    return message + html_table(file_preview.columns, sample_rows, ["zf-text"] * len(file_preview.columns))


def _import_summary(translate: Translator, import_report: ImportReport) -> Markup:
    format_name = _format_name(translate, import_report.kind)
    summary = translate(
        f"格式：{format_name}，数据集“{import_report.dataset}”：读取 {import_report.read:,} 行，"
        f"新增 {import_report.added:,}，重复 {import_report.duplicate:,}，拒绝 {import_report.rejected:,}。",
        f"Format: {format_name}, data set “{import_report.dataset}”: {import_report.read:,} read, "
        f"{import_report.added:,} added, {import_report.duplicate:,} duplicate, {import_report.rejected:,} rejected.",
    )
    note_kind = (
        "ok" if not import_report.rejected else ("warn" if import_report.added or import_report.duplicate else "bad")
    )
    return note(summary, note_kind) + _rejected_rows(translate, import_report)


def _rejected_rows(translate: Translator, import_report: ImportReport) -> Markup:
    # What is wrong with the whole file has no line, and stands above already.
    line_errors = [error for error in import_report.errors if error.line is not None]
    if not line_errors:
        return Markup()
    # A file may have a million bad rows, which no browser shows.
    table_rows = [[str(error.line), translate.localize(error.reason)] for error in line_errors[:200]]
    return html_table([translate("行", "Line"), translate("原因", "Reason")], table_rows, ("", "zf-text"))


def _build_export_tab(services: Services, translate: Translator) -> None:
    export_form = _build_export_form(translate)
    export_button = gr.Button(translate("导出", "Export"), variant="primary", elem_id="zf-export")
    report_block = html_block(elem_id="zf-export-report")
    file_block = gr.File(label=translate("文件", "File"), interactive=False, visible=False, elem_id="zf-export-file")

    @friendly_errors(translate)
    def load_sources() -> Any:
        return gr.update(choices=_source_choices(services, translate))

    @friendly_errors(translate)
    @export_form.named
    def export_corpus(entered: EnteredValues) -> list[Any]:
        try:
            export_report = _write_export(services, entered)
        except UserError as error:
            return [note(translate.localize(error), "bad"), gr.update(visible=False)]
        if export_report is None:
            return [note(translate("请选择内容和格式。", "Choose content and format.")), gr.update(visible=False)]
        return [
            note(_export_summary(translate, export_report), "ok"),
            gr.update(value=str(export_report.path), visible=True),
        ]

    gr.on(None, load_sources, None, export_form["source"], queue=False)
    export_button.click(
        export_corpus,
        export_form.inputs,
        [report_block, file_block],
    )


def _build_export_form(translate: Translator) -> BoxForm:
    """What to export, in which format, from where."""
    with gr.Row():
        content_choice = gr.Radio(
            label=translate("内容", "What"),
            choices=[
                (translate("偏好对", "Preference pairs"), "pairs"),
                (translate("标签", "Labels"), "labels"),
            ],
            value="pairs",
        )
        format_choice = gr.Radio(
            label=translate("格式", "Format"),
            choices=[(_format_name(translate, export_format), export_format) for export_format in EXPORT_SUFFIXES],
            value="trl",
        )
        source_choice = gr.Dropdown(
            label=translate("来源", "From"),
            choices=[(translate("全部", "Everything"), "")],
            value="",
            elem_id="zf-export-source",
        )
    panel_checkbox = gr.Checkbox(
        label=translate(
            "选“全部”时，也要只有裁判评过的偏好对", "With “Everything”: also pairs that only a judge labelled"
        ),
        elem_id="zf-export-panel",
    )
    return BoxForm(content=content_choice, format=format_choice, source=source_choice, judged=panel_checkbox)


def _source_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    """All, each data set (`d:name`) and each campaign (`c:name`)."""
    dataset_choices = [(source_info.name, f"d:{source_info.name}") for source_info in services.corpus.datasets()]
    campaign_choices = [
        (f"{translate('任务', 'campaign')} · {source_info.name}", f"c:{source_info.name}")
        for source_info in services.annotation.campaigns()
    ]
    return [(translate("全部", "Everything"), ""), *dataset_choices, *campaign_choices]


def _write_export(services: Services, entered: EnteredValues) -> ExportReport | None:
    """Export what is chosen; None where content or format is none of those offered. Raises UserError."""
    content, chosen_format = entered["content"], entered["format"]
    # Looked up and not taken from the browser: it becomes the end of a path.
    file_suffix = EXPORT_SUFFIXES.get(chosen_format)
    if file_suffix is None or content not in ("pairs", "labels"):
        return None
    source_kind, _, source_name = entered["source"].partition(":")
    return services.corpus.export(
        content,
        chosen_format,
        # A folder of its own for each export: with one name for all, two at once would mix or hand
        # out each other's file.
        new_export_path(services.settings.home, f"zhufu-{content}-{chosen_format}.{file_suffix}"),
        dataset=source_name if source_kind == "d" else None,
        campaign=source_name if source_kind == "c" else None,
        panel=bool(entered["judged"]),
    )


def _export_summary(translate: Translator, export_report: ExportReport) -> str:
    """Rows by split, and how many were left out and why."""
    split_text = " · ".join(f"{split_name} {row_count:,}" for split_name, row_count in export_report.splits.items())
    message = translate(
        f"已导出 {export_report.rows:,} 行（{split_text}）。",
        f"{export_report.rows:,} rows exported ({split_text}).",
    )
    # Not in the sum below: these are left out by choice, not for ties or leakage.
    judged_dropped = export_report.dropped.get("panel", 0)
    dropped_count = sum(export_report.dropped.values()) - judged_dropped
    if dropped_count:
        message += translate(
            f" 为防泄漏或平票未导出 {dropped_count:,} 行。",
            f" {dropped_count:,} rows left out (ties, leakage).",
        )
    if judged_dropped:
        message += translate(
            f" 只有裁判评过的 {judged_dropped:,} 对没有导出。",
            f" {judged_dropped:,} pairs of judges alone left out.",
        )
    return message
