"""The import tab: a preview of what a file is, the import, and every row that was not taken."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.errors import UserError
from backend.corpus.records import FilePreview, ImportReport
from backend.corpus.service import ImportRefused
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.routes import uploaded_file
from ui.components.widgets import (
    friendly_errors,
    html_block,
    html_table,
    note,
)
from ui.corpus.datasets import dataset_table, format_name

# What a table can mean; a person maps a field at a time to a column, never a column to several fields.
MAPPED_FIELDS = ("prompt", "greeting", "label", "chosen", "rejected")


def build_import_tab(services: Services, translate: Translator, dataset_list: gr.HTML) -> None:
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
        return [_import_summary(translate, import_report), dataset_table(services, translate)]

    preview_blocks = [preview_block, *import_form.pick_outputs(MAPPED_FIELDS)]
    upload_box.change(show_preview, upload_box, preview_blocks, queue=False)
    # Through the queue, which shows progress, and one at a time: two imports would only wait for each other's
    # lock.
    import_button.click(import_upload, import_form.inputs, [report_block, dataset_list], concurrency_limit=1)


def _preview_html(translate: Translator, file_preview: FilePreview) -> Markup:
    """What a file was recognised as, and its first rows."""
    zh, en = (f"（{file_preview.encoding}）", f" ({file_preview.encoding})") if file_preview.encoding else ("", "")
    named_format = format_name(translate, file_preview.kind)
    message = (
        note(translate(f"识别为：{named_format}{zh}", f"Recognised as {named_format}{en}"), "ok")
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
    named_format = format_name(translate, import_report.kind)
    summary = translate(
        f"格式：{named_format}，数据集“{import_report.dataset}”：读取 {import_report.read:,} 行，"
        f"新增 {import_report.added:,}，重复 {import_report.duplicate:,}，拒绝 {import_report.rejected:,}。",
        f"Format: {named_format}, data set “{import_report.dataset}”: {import_report.read:,} read, "
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
