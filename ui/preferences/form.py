"""A new run: requests, who writes, who judges, how pairs are made; estimated first, then started as a job."""

from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import UserError
from backend.judges.base import JudgeKind, JudgeSpec
from backend.judges.scoring.records import format_duration
from backend.preferences.ablation import without_agents
from backend.preferences.emit import AGAIN_SUFFIX, redrawn_judge
from backend.preferences.pairing import PairingMode
from backend.preferences.plan import MAX_CANDIDATES, CandidatePlan, RequestedLength
from backend.preferences.records import HumanChecking, PairEstimate, PairRequest, PromptSource, SourceKind
from backend.services import Services
from ui.components.judges import JUDGE_KIND_NAMES, PANEL_ROLE_NAMES, endpoint_choices, generator_label
from ui.components.language import Translator
from ui.components.routes import uploaded_file
from ui.components.widgets import default_choice, fill_tab, friendly_errors, html_block, html_table, note
from ui.preferences.views import PAIRING_WAYS, loss_reason

LABELING_KINDS = (JudgeKind.PANEL, JudgeKind.PRINCIPLE, JudgeKind.RUBRIC)
"""Kinds that say of a single greeting whether it is excellent."""
SAME_JUDGE, NO_SECOND_JUDGE = "again", "none"
SECOND_JUDGE_NAMES = {
    SAME_JUDGE: ("同一裁判换个随机种子再评", "the same judge at another draw"),
    NO_SECOND_JUDGE: ("不再评", "nobody"),
}
SECOND_JUDGE_INDEX = 15
"""Its place among the boxes."""
MIXED_EXAMPLES, WITH_EXAMPLES, NO_EXAMPLES = "mixed", "with", "none"
EXAMPLE_MODES = {MIXED_EXAMPLES: (False, True), WITH_EXAMPLES: (True,), NO_EXAMPLES: (False,)}


class PairRunForm:
    """The boxes, in the order in which `request` reads them."""

    def __init__(self, services: Services, translate: Translator, form_tab: gr.Tab) -> None:
        self._services, self._translate = services, translate
        self.input_boxes: list[Any] = [
            *self._build_source_boxes(),
            *self._build_model_boxes(),
            *self._build_pairing_boxes(),
        ]
        with gr.Row():
            self.estimate_button = gr.Button(translate("先估算", "Estimate first"), elem_id="zf-pairs-estimate")
            self.start_button = gr.Button(translate("开始", "Start"), variant="primary", elem_id="zf-pairs-start")
        self.message_block = html_block(elem_id="zf-pairs-form-told")
        filled_boxes = [self.input_boxes[0], *self.input_boxes[3:6], self.input_boxes[SECOND_JUDGE_INDEX]]
        fill_tab(
            form_tab,
            friendly_errors(translate)(self._load_choices),
            filled_boxes,
            [self.input_boxes[0], self.input_boxes[4], self.input_boxes[SECOND_JUDGE_INDEX]],
        )
        self.estimate_button.click(
            friendly_errors(translate)(self._show_estimate), self.input_boxes, self.message_block
        )

    def read_request(self, page_request: gr.Request, *box_values: Any) -> PairRequest:
        """The run that the boxes describe. Raises UserError naming what is missing or wrong."""
        (
            dataset_name,
            file_path,
            request_limit,
            generator_names,
            judge_name,
            endpoint_name,
            candidate_count,
            check_percent,
            *later_values,
        ) = box_values
        (
            pairing_way,
            present_roles,
            temperature_text,
            example_mode,
            vary_length,
            rater_count,
            is_balanced,
            second_name,
            cost_cap,
            call_cap,
            run_name,
        ) = later_values
        if not judge_name or not generator_names:
            raise UserError("Choose at least one model that writes, and a judge.", "请选择至少一个写作模型和一个裁判。")
        judge_spec = self._services.scoring.catalog.resolve(str(judge_name), str(endpoint_name) or None)
        excluded_roles = (
            [agent_role for agent_role in PANEL_ROLE_NAMES if agent_role not in (present_roles or ())]
            if judge_spec.kind is JudgeKind.PANEL
            else []
        )
        ablated_spec = without_agents(judge_spec, excluded_roles)
        return PairRequest(
            source=_read_source(dataset_name, uploaded_file(page_request, file_path), request_limit),
            plan=CandidatePlan(
                tuple(map(str, generator_names)),
                _whole_number(candidate_count),
                _parse_numbers(temperature_text),
                EXAMPLE_MODES.get(str(example_mode), EXAMPLE_MODES[MIXED_EXAMPLES]),
                tuple(RequestedLength) if vary_length else (RequestedLength.FREE,),
            ),
            judge=ablated_spec,
            second=self._second_judge(ablated_spec, str(second_name or ""), str(endpoint_name) or None)
            if is_balanced
            else None,
            name=str(run_name or ""),
            way=PairingMode(pairing_way) if pairing_way in set(PairingMode) else PairingMode.ALL,
            balance_length=bool(is_balanced),
            balance_style=bool(is_balanced),
            checking=HumanChecking(float(check_percent or 0) / 100, _whole_number(rater_count)),
            max_calls=_whole_number(call_cap) or None,
            max_cost=float(cost_cap) if cost_cap else None,
        )

    def _second_judge(self, first_judge: JudgeSpec, second_name: str, endpoint_name: str | None) -> JudgeSpec | None:
        if second_name == NO_SECOND_JUDGE:
            return None
        return (
            redrawn_judge(first_judge)
            if second_name in ("", SAME_JUDGE)
            else self._services.scoring.catalog.resolve(second_name, endpoint_name)
        )

    def _show_estimate(self, page_request: gr.Request, *box_values: Any) -> str:
        try:
            estimate = self._services.pairs.estimate(self.read_request(page_request, *box_values))
        except UserError as error:
            return note(self._translate.localize(error), "bad")
        return estimate_html(self._translate, estimate)

    def _build_source_boxes(self) -> list[Any]:
        translate = self._translate
        with gr.Row():
            dataset_dropdown = gr.Dropdown(
                label=translate("请求来自数据集", "Requests of a data set"),
                choices=[],
                elem_id="zf-pairs-dataset",
            )
            limit_box = gr.Number(
                label=translate("只取前几个（0 为全部）", "Only the first (0: all)"),
                value=0,
                minimum=0,
                precision=0,
                elem_id="zf-pairs-limit",
            )
        file_upload = gr.File(
            label=translate(
                "或者拖入文件：TXT 一行一个，或 JSON、CSV 等",
                "Or drop a file: TXT, one a line; JSON, CSV …",
            ),
            height=150,
            elem_id="zf-pairs-file",
        )
        return [dataset_dropdown, file_upload, limit_box]

    def _build_model_boxes(self) -> list[Any]:
        translate = self._translate
        with gr.Row():
            generator_dropdown = gr.Dropdown(
                label=translate("谁来写（可多选）", "Who writes (several are fine)"),
                choices=[],
                multiselect=True,
                elem_id="zf-pairs-generators",
            )
            judge_dropdown = gr.Dropdown(label=translate("谁来评", "Who judges"), choices=[], elem_id="zf-pairs-judge")
            endpoint_dropdown = gr.Dropdown(
                label=translate("裁判用的模型", "The judge's model"),
                choices=[("", "")],
                value="",
                elem_id="zf-pairs-endpoint",
            )
        with gr.Row():
            candidate_slider = gr.Slider(
                2,
                MAX_CANDIDATES,
                4,
                step=1,
                label=translate("每个请求写几条", "Candidates a request"),
                elem_id="zf-pairs-candidates",
            )
            check_slider = gr.Slider(
                0,
                100,
                5,
                step=1,
                label=translate("先请人盲评多少（%）", "Share that people check first (%)"),
                elem_id="zf-pairs-check",
            )
        return [generator_dropdown, judge_dropdown, endpoint_dropdown, candidate_slider, check_slider]

    def _build_pairing_boxes(self) -> list[Any]:
        translate = self._translate
        with gr.Accordion(translate("更多设置", "More settings"), open=False, elem_id="zf-pairs-more"):
            with gr.Row():
                pairing_radio = gr.Radio(
                    label=translate("怎么配对", "How to pair"),
                    choices=[
                        (translate(*bilingual_label), pairing_way.value)
                        for pairing_way, bilingual_label in PAIRING_WAYS.items()
                    ],
                    value=PairingMode.ALL.value,
                )
                role_checkboxes = gr.CheckboxGroup(
                    label=translate(
                        "评审团里谁在场（去掉一个就是消融）", "Agents of the panel (leave one out to ablate)"
                    ),
                    choices=[
                        (translate(*bilingual_label), agent_role)
                        for agent_role, bilingual_label in PANEL_ROLE_NAMES.items()
                    ],
                    value=list(PANEL_ROLE_NAMES),
                    elem_id="zf-pairs-agents",
                )
            with gr.Row():
                temperature_box = gr.Textbox(
                    label=translate("温度（逗号隔开）", "Temperatures (by commas)"), value="0.7, 1.0"
                )
                example_radio = gr.Radio(
                    label=translate("写之前看范例", "Examples before writing"),
                    choices=[
                        (translate("有的看有的不看", "some"), MIXED_EXAMPLES),
                        (translate("都看", "all"), WITH_EXAMPLES),
                        (translate("都不看", "none"), NO_EXAMPLES),
                    ],
                    value=MIXED_EXAMPLES,
                )
                length_checkbox = gr.Checkbox(label=translate("变着长短写", "Vary the length"), value=True)
            with gr.Row():
                rater_box = gr.Number(
                    label=translate("每条给几人看", "People a greeting"), value=2, minimum=1, precision=0
                )
                balance_checkbox = gr.Checkbox(
                    label=translate("配平：不让字数和样子泄底", "Balance length and style"), value=True
                )
            second_dropdown = gr.Dropdown(
                label=translate(
                    "和字数对着来的对，谁来再评一次（两次都认才留）",
                    "Who judges again the pairs that go against length (both must agree)",
                ),
                choices=[
                    (translate(*SECOND_JUDGE_NAMES[SAME_JUDGE]), SAME_JUDGE),
                    (translate(*SECOND_JUDGE_NAMES[NO_SECOND_JUDGE]), NO_SECOND_JUDGE),
                ],
                value=SAME_JUDGE,
                elem_id="zf-pairs-second",
            )
            with gr.Row():
                cost_box = gr.Number(
                    label=translate("花费上限（0 为不限）", "Cap on cost (0: none)"), value=0, minimum=0
                )
                call_box = gr.Number(
                    label=translate("调用上限（0 为不限）", "Cap on calls (0: none)"),
                    value=0,
                    minimum=0,
                    precision=0,
                )
            name_box = gr.Textbox(
                label=translate("名字（可不填）", "Name (may stay empty)"),
                max_length=50,
                elem_id="zf-pairs-name",
            )
        return [
            pairing_radio,
            role_checkboxes,
            temperature_box,
            example_radio,
            length_checkbox,
            rater_box,
            balance_checkbox,
            second_dropdown,
            cost_box,
            call_box,
            name_box,
        ]

    def _load_choices(
        self, chosen_dataset: str | None, chosen_judge: str | None, chosen_second: str | None
    ) -> list[Any]:
        services, translate = self._services, self._translate
        dataset_choices = [(translate("（不用）", "(none)"), "")]
        dataset_choices += [
            (
                translate(
                    f"{catalog_entry.name}（{catalog_entry.prompts:,} 个请求）",
                    f"{catalog_entry.name} ({catalog_entry.prompts:,})",
                ),
                catalog_entry.name,
            )
            for catalog_entry in services.corpus.datasets()
            if catalog_entry.prompts
        ]
        writer_choices = [
            (generator_label(translate, catalog_entry), catalog_entry.name)
            for catalog_entry in services.generators.generators()
        ]
        judge_choices = _judge_choices(services, translate)
        judge_names = [choice_name for _, choice_name in judge_choices]
        default_judge = "panel" if "panel" in judge_names else None
        second_choices = [
            *(
                (translate(*bilingual_label), choice_value)
                for choice_value, bilingual_label in SECOND_JUDGE_NAMES.items()
            ),
            *judge_choices,
        ]
        return [
            gr.update(
                choices=dataset_choices,
                **default_choice(chosen_dataset, [choice_name for _, choice_name in dataset_choices]),
            ),
            gr.update(choices=writer_choices),
            gr.update(choices=judge_choices, **default_choice(chosen_judge, [default_judge, *judge_names])),
            gr.update(choices=endpoint_choices(services, translate)),
            gr.update(
                choices=second_choices,
                **default_choice(chosen_second, [choice_value for _, choice_value in second_choices]),
            ),
        ]


def estimate_html(translate: Translator, estimate: PairEstimate) -> str:
    """What a run will take, and which lines it will leave out."""
    message = note(
        translate(
            f"{estimate.prompts:,} 行里有 {estimate.kept:,} 个可用的请求，写 {estimate.candidates:,} 条候选：大约 "
            f"{estimate.calls:,} 次调用、{estimate.tokens:,} 个 token、花费 {estimate.cost:.4f}、"
            f"用时 {format_duration(estimate.seconds)}（粗略估计）。",
            f"{estimate.kept:,} of {estimate.prompts:,} lines are requests for a greeting, {estimate.candidates:,} "
            f"candidates: about {estimate.calls:,} calls, {estimate.tokens:,} tokens, cost {estimate.cost:.4f}, "
            f"{format_duration(estimate.seconds)} (a rough estimate).",
        ),
        "ok" if estimate.kept else "warn",
    )
    if not estimate.lost:
        return message
    excluded_counts = sorted(estimate.lost.items(), key=lambda reason_count: -reason_count[1])
    table_rows = [
        [loss_reason(translate, f"prompt_{reason}"), f"{line_count:,}"] for reason, line_count in excluded_counts
    ]
    return message + html_table([translate("不取的请求", "Left out"), translate("行数", "Lines")], table_rows)


def _judge_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    stored_names = [
        judge_info.name
        for judge_info in services.scoring.catalog.judges()
        if judge_info.newest
        and judge_info.spec
        and judge_info.spec.kind in LABELING_KINDS
        and not judge_info.name.endswith(AGAIN_SUFFIX)
    ]
    kind_choices = [
        (translate(*JUDGE_KIND_NAMES[judge_kind]), judge_kind.value)
        for judge_kind in LABELING_KINDS
        if judge_kind.value not in stored_names
    ]
    named_choices = [
        (
            translate(*JUDGE_KIND_NAMES[JudgeKind(judge_name)]) if judge_name in set(JudgeKind) else judge_name,
            judge_name,
        )
        for judge_name in stored_names
    ]
    return [*kind_choices, *named_choices]


def _read_source(dataset_name: Any, file_path: Path | None, limit_number: Any) -> PromptSource:
    request_limit = _whole_number(limit_number) or None
    if file_path:
        return PromptSource(SourceKind.FILE, str(file_path), request_limit)
    if dataset_name:
        return PromptSource(SourceKind.DATASET, str(dataset_name), request_limit)
    raise UserError("Choose a data set, or drop a file with requests.", "请选择一个数据集，或放一个装着请求的文件。")


def _whole_number(box_value: Any) -> int:
    return int(box_value) if isinstance(box_value, int | float) else 0


def _parse_numbers(number_text: Any) -> tuple[float, ...]:
    try:
        return tuple(
            float(number_part) for number_part in str(number_text).replace("，", ",").split(",") if number_part.strip()
        )
    except ValueError as error:
        raise UserError(
            "Write temperatures as numbers with commas, such as 0.7, 1.0.",
            "温度请写成用逗号隔开的数，例如 0.7, 1.0。",
        ) from error
