"""The export tab: pairs or labels as a file."""

from typing import Any

import gradio as gr

from backend.core.errors import UserError
from backend.corpus.export import new_export_path
from backend.corpus.records import ExportReport
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.widgets import (
    friendly_errors,
    html_block,
    note,
)
from ui.corpus.datasets import format_name

# The formats offered, with how their files end.
EXPORT_SUFFIXES = {"trl": "jsonl", "sharegpt": "json", "csv": "csv", "parquet": "parquet"}


def build_export_tab(services: Services, translate: Translator) -> None:
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
            choices=[(format_name(translate, export_format), export_format) for export_format in EXPORT_SUFFIXES],
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
