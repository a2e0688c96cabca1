"""The panel without each of its agents, beside human labels: what it takes, start it, and the table."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.enums import CampaignKind
from backend.core.errors import UserError
from backend.judges.base import JudgeKind, JudgeSpec
from backend.judges.scoring.records import format_duration
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.preferences.ablation import AblationRow
from backend.services import Services
from ui.components.board import figure_with_interval
from ui.components.form import BoxForm, EnteredValues
from ui.components.judges import JUDGE_KIND_NAMES, PANEL_ROLE_NAMES, endpoint_choices, is_derived_judge
from ui.components.language import Translator
from ui.components.widgets import (
    caption_html,
    default_choice,
    empty_notice,
    fill_tab,
    friendly_errors,
    html_block,
    html_table,
    note,
)

INTRODUCTION = (
    "每次去掉一个角色，让评审团重评同一批有人工标签的祝福，看它离人更近还是更远。去掉评审，就由复核直接下结论；"
    "连复核也去掉，就数优缺点，优点多才算优秀。评过的不会再问。",
    "Leave one agent out at a time and let the panel judge greetings with human labels again. Without the "
    "judge the reviewer decides alone; without both, merits are counted against faults. What is scored is "
    "not asked again.",
)


class AblationTab:
    """The blocks of this tab."""

    def __init__(self, services: Services, translate: Translator, ablation_tab: gr.Tab) -> None:
        self._services, self._translate = services, translate
        html_block(caption_html(translate(*INTRODUCTION)))
        with gr.Row():
            reference_dropdown = gr.Dropdown(
                label=translate("和谁的标签比", "Compared with"), choices=[], elem_id="zf-ablation-reference"
            )
            panel_dropdown = gr.Dropdown(label=translate("评审团", "Panel"), choices=[], elem_id="zf-ablation-judge")
            endpoint_dropdown = gr.Dropdown(
                label=translate("模型端点", "Endpoint"),
                choices=[("", "")],
                value="",
                elem_id="zf-ablation-endpoint",
            )
        with gr.Row():
            estimate_button = gr.Button(translate("先估算", "Estimate first"), elem_id="zf-ablation-estimate")
            start_button = gr.Button(
                translate("开始五种评法", "Start the five variants"),
                variant="primary",
                elem_id="zf-ablation-start",
            )
            compare_button = gr.Button(
                translate("比较已有的结果", "Compare what is there"), elem_id="zf-ablation-compare"
            )
        message_block = html_block(elem_id="zf-ablation-told")
        table_block = html_block(elem_id="zf-ablation-table")
        box_form = BoxForm(reference=reference_dropdown, judge=panel_dropdown, endpoint=endpoint_dropdown)
        load_choices = friendly_errors(translate)(self._load_choices)
        fill_tab(ablation_tab, load_choices, box_form.outputs, panel_dropdown)
        estimate_button.click(
            friendly_errors(translate)(box_form.named(self._estimate_cost)), box_form.inputs, message_block
        )
        start_button.click(friendly_errors(translate)(box_form.named(self._start_runs)), box_form.inputs, message_block)
        compare_button.click(
            friendly_errors(translate)(box_form.named(self._compare_runs)),
            box_form.inputs,
            [message_block, table_block],
        )

    def _load_choices(self, chosen_judge: str | None) -> list[Any]:
        services, translate = self._services, self._translate
        dataset_choices = [
            (
                translate(f"数据集 · {catalog_entry.name}", f"data set · {catalog_entry.name}"),
                f"dataset:{catalog_entry.name}",
            )
            for catalog_entry in services.corpus.datasets()
            # Without human labels there is nothing to be nearer to.
            if catalog_entry.labels
        ]
        campaign_choices = [
            (
                translate(f"任务 · {catalog_entry.name}", f"campaign · {catalog_entry.name}"),
                f"campaign:{catalog_entry.name}",
            )
            for catalog_entry in services.annotation.campaigns()
            # A panel says of one greeting whether it is excellent, which comparisons do not ask.
            if catalog_entry.kind is CampaignKind.VALIDATE and catalog_entry.labels
        ]
        panel_names = [
            catalog_entry.name
            for catalog_entry in services.scoring.catalog.judges()
            if catalog_entry.newest
            and catalog_entry.spec
            and catalog_entry.spec.kind is JudgeKind.PANEL
            # What is left out is left out of the whole panel: an ablation of an ablation would stand as a
            # variant of its own.
            and not is_derived_judge(catalog_entry.name)
        ]
        kind_choices = (
            [] if "panel" in panel_names else [(translate(*JUDGE_KIND_NAMES[JudgeKind.PANEL]), JudgeKind.PANEL.value)]
        )
        panel_choices = [
            (
                translate(*JUDGE_KIND_NAMES[JudgeKind.PANEL]) if panel_name == "panel" else panel_name,
                panel_name,
            )
            for panel_name in panel_names
        ]
        return [
            gr.update(choices=[*dataset_choices, *campaign_choices]),
            gr.update(
                choices=[*kind_choices, *panel_choices],
                **default_choice(chosen_judge, ["panel", *panel_names]),
            ),
            gr.update(choices=endpoint_choices(services, translate)),
        ]

    def _selection(self, entered: EnteredValues) -> tuple[JudgeSpec, ScoringTarget]:
        """The panel and the labels that the boxes name. Raises UserError where one is missing."""
        if not entered["reference"] or not entered["judge"]:
            raise UserError("Choose labels and a panel.", "请选择人工标签和评审团。")
        target_kind, _, target_name = str(entered["reference"]).partition(":")
        # From the browser: anything else but a known kind is looked up as a data set, and not found there.
        target = ScoringTarget(TargetKind(target_kind if target_kind in set(TargetKind) else "dataset"), target_name)
        endpoint_name = str(entered["endpoint"] or "") or None
        return self._services.scoring.catalog.resolve(str(entered["judge"]), endpoint_name), target

    def _estimate_cost(self, entered: EnteredValues) -> str:
        translate = self._translate
        try:
            estimates = self._services.ablation.estimate(*self._selection(entered))
        except UserError as error:
            return note(translate.localize(error), "bad")
        calls, cost = (
            sum(estimate.calls for estimate in estimates),
            sum(estimate.cost for estimate in estimates),
        )
        duration = format_duration(sum(estimate.seconds for estimate in estimates))
        return note(
            translate(
                f"五种评法一共大约 {calls:,} 次调用、花费 {cost:.4f}、用时 {duration}（粗略估计）。",
                f"The five variants take about {calls:,} calls, cost {cost:.4f}, {duration} (a rough estimate).",
            ),
            "ok",
        )

    def _start_runs(self, entered: EnteredValues) -> str:
        translate = self._translate
        try:
            started_jobs = self._services.ablation.submit(*self._selection(entered))
        except UserError as error:
            return note(translate.localize(error), "bad")
        job_numbers = translate("、", ", ").join(str(started_job.id) for started_job in started_jobs)
        message = translate(
            f"已加入队列，任务 {job_numbers}；进度在“裁判 → 评判任务”。做完后点“比较已有的结果”。",
            f"Queued as jobs {job_numbers}; watch them under Judges → Scoring runs, then press Compare.",
        )
        return note(message, "ok")

    def _compare_runs(self, entered: EnteredValues) -> list[str]:
        translate = self._translate
        try:
            panel_spec, target = self._selection(entered)
            ablation_rows = self._services.ablation.table(panel_spec, target.name)
        except UserError as error:
            return [note(translate.localize(error), "bad"), ""]
        if not ablation_rows:
            return [
                "",
                empty_notice(
                    translate(
                        "这些祝福还没有评过，先点“开始五种评法”。",
                        "Nothing is scored yet; start the variants.",
                    )
                ),
            ]
        return ["", ablation_html(translate, ablation_rows)]


def ablation_html(translate: Translator, ablation_rows: list[AblationRow]) -> Markup:
    """One line a variant, each figure with its interval."""
    header_cells = [
        translate("评法", "Variant"),
        translate("条数", "n"),
        translate("未问", "Never asked"),
        translate("无结论", "No verdict"),
        translate("平", "Ties"),
        translate("准确率", "Accuracy"),
        "κ",
        "AUC",
        translate("等长 AUC", "Length-matched AUC"),
    ]
    body_rows = [
        [
            _variant_name(translate, ablation_row.off),
            f"{ablation_row.figures.n:,}",
            f"{ablation_row.figures.never_asked:,}",
            f"{ablation_row.figures.without_verdict:,}",
            f"{ablation_row.figures.ties:,}",
            *(
                figure_with_interval(translate, getattr(ablation_row.figures, metric_name), ablation_row.figures.n)
                for metric_name in ("accuracy", "kappa", "auc", "matched_auc")
            ),
        ]
        for ablation_row in ablation_rows
    ]
    return html_table(header_cells, body_rows)


def _variant_name(translate: Translator, excluded_role: str) -> str:
    if not excluded_role:
        return translate("完整的评审团", "The whole panel")
    agent_name = translate(*PANEL_ROLE_NAMES.get(excluded_role, (excluded_role, excluded_role)))
    return translate(f"去掉{agent_name}", f"Without {agent_name.lower()}")
