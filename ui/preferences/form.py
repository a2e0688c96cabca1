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
from ui.components.form import BoxForm, EnteredValues
from ui.components.judges import JUDGE_KIND_NAMES, PANEL_ROLE_NAMES, endpoint_choices, generator_label
from ui.components.language import Translator
from ui.components.routes import uploaded_file
from ui.components.widgets import default_choice, fill_tab, friendly_errors, html_block, html_table, note
from ui.preferences.names import PAIRING_WAYS, loss_reason

# Kinds that say of a single greeting whether it is excellent.
LABELING_KINDS = (JudgeKind.PANEL, JudgeKind.PRINCIPLE, JudgeKind.RUBRIC)
SAME_JUDGE, NO_SECOND_JUDGE = "again", "none"
SECOND_JUDGE_NAMES = {
    SAME_JUDGE: ("同一裁判换个随机种子再评", "the same judge at another draw"),
    NO_SECOND_JUDGE: ("不再评", "nobody"),
}
MIXED_EXAMPLES, WITH_EXAMPLES, NO_EXAMPLES = "mixed", "with", "none"
EXAMPLE_MODES = {MIXED_EXAMPLES: (False, True), WITH_EXAMPLES: (True,), NO_EXAMPLES: (False,)}


class PairRunForm:
    """The boxes of a new run by name, the estimate, and the start button."""

    def __init__(self, services: Services, translate: Translator, form_tab: gr.Tab) -> None:
        self._services, self._translate = services, translate
        self.box_form = BoxForm()
        self._build_source_boxes()
        self._build_model_boxes()
        self._build_pairing_boxes()
        with gr.Row():
            self.estimate_button = gr.Button(translate("先估算", "Estimate first"), elem_id="zf-pairs-estimate")
            self.start_button = gr.Button(translate("开始", "Start"), variant="primary", elem_id="zf-pairs-start")
        self.message_block = html_block(elem_id="zf-pairs-form-told")
        self._wire_events(form_tab)

    def _wire_events(self, form_tab: gr.Tab) -> None:
        box_form, translate = self.box_form, self._translate
        fill_tab(
            form_tab,
            friendly_errors(translate)(box_form.named(self._load_choices)),
            box_form.pick_outputs(("dataset", "generators", "judge", "endpoint", "second_judge")),
            box_form.pick_inputs(("dataset", "judge", "second_judge")),
        )
        show_estimate = friendly_errors(translate)(box_form.named(self._show_estimate))
        self.estimate_button.click(show_estimate, box_form.inputs, self.message_block)

    def read_request(self, page_request: gr.Request, entered: EnteredValues) -> PairRequest:
        """The run that the boxes describe. Raises UserError naming what is missing or wrong."""
        if not entered["judge"] or not entered["generators"]:
            raise UserError("Choose at least one model that writes, and a judge.", "请选择至少一个写作模型和一个裁判。")
        judge_spec = self._judge_spec(entered)
        is_balanced = bool(entered["is_balanced"])
        pairing_mode = entered["pairing"]
        checked_share = float(entered["check_percent"] or 0) / 100
        return PairRequest(
            source=_read_source(entered, uploaded_file(page_request, entered["file"])),
            plan=_read_plan(entered),
            judge=judge_spec,
            # Only where pairs are balanced: it is what balance would keep against the odds that is judged
            # again.
            second=self._second_judge(judge_spec, entered) if is_balanced else None,
            name=str(entered["name"] or ""),
            way=PairingMode(pairing_mode) if pairing_mode in set(PairingMode) else PairingMode.ALL,
            balance_length=is_balanced,
            balance_style=is_balanced,
            checking=HumanChecking(checked_share, _whole_number(entered["raters"])),
            max_calls=_whole_number(entered["call_cap"]) or None,
            max_cost=float(entered["cost_cap"]) if entered["cost_cap"] else None,
        )

    def _judge_spec(self, entered: EnteredValues) -> JudgeSpec:
        """The chosen judge, a panel without the agents that are not ticked."""
        judge_spec = self._services.scoring.catalog.resolve(str(entered["judge"]), str(entered["endpoint"]) or None)
        # Only a panel has agents to leave out: the boxes stay ticked on the page whatever the judge.
        if judge_spec.kind is not JudgeKind.PANEL:
            return without_agents(judge_spec, [])
        present_roles = entered["panel_roles"] or ()
        return without_agents(judge_spec, [role for role in PANEL_ROLE_NAMES if role not in present_roles])

    def _second_judge(self, first_judge: JudgeSpec, entered: EnteredValues) -> JudgeSpec | None:
        second_name = str(entered["second_judge"] or "")
        if second_name == NO_SECOND_JUDGE:
            return None
        # The same judge by default: what length speaks against is judged twice unless somebody decides
        # otherwise.
        if second_name in ("", SAME_JUDGE):
            return redrawn_judge(first_judge)
        return self._services.scoring.catalog.resolve(second_name, str(entered["endpoint"]) or None)

    def _show_estimate(self, page_request: gr.Request, entered: EnteredValues) -> str:
        try:
            estimate = self._services.pairs.estimate(self.read_request(page_request, entered))
        except UserError as error:
            return note(self._translate.localize(error), "bad")
        return estimate_html(self._translate, estimate)

    def _build_source_boxes(self) -> None:
        translate, add_box = self._translate, self.box_form.add
        with gr.Row():
            add_box(
                "dataset",
                gr.Dropdown(
                    label=translate("请求来自数据集", "Requests of a data set"),
                    choices=[],
                    elem_id="zf-pairs-dataset",
                ),
            )
            add_box(
                "limit",
                gr.Number(
                    label=translate("只取前几个（0 为全部）", "Only the first (0: all)"),
                    value=0,
                    minimum=0,
                    precision=0,
                    elem_id="zf-pairs-limit",
                ),
            )
        add_box(
            "file",
            gr.File(
                label=translate(
                    "或者拖入文件：TXT 一行一个，或 JSON、CSV 等",
                    "Or drop a file: TXT, one a line; JSON, CSV …",
                ),
                height=150,
                elem_id="zf-pairs-file",
            ),
        )

    def _build_model_boxes(self) -> None:
        translate, add_box = self._translate, self.box_form.add
        with gr.Row():
            add_box(
                "generators",
                gr.Dropdown(
                    label=translate("谁来写（可多选）", "Who writes (several are fine)"),
                    choices=[],
                    multiselect=True,
                    elem_id="zf-pairs-generators",
                ),
            )
            add_box("judge", gr.Dropdown(label=translate("谁来评", "Who judges"), choices=[], elem_id="zf-pairs-judge"))
            add_box(
                "endpoint",
                gr.Dropdown(
                    label=translate("裁判用的模型", "The judge's model"),
                    choices=[("", "")],
                    value="",
                    elem_id="zf-pairs-endpoint",
                ),
            )
        with gr.Row():
            add_box(
                "candidates",
                gr.Slider(
                    2,
                    MAX_CANDIDATES,
                    4,
                    step=1,
                    label=translate("每个请求写几条", "Candidates a request"),
                    elem_id="zf-pairs-candidates",
                ),
            )
            add_box(
                "check_percent",
                gr.Slider(
                    0,
                    100,
                    5,
                    step=1,
                    label=translate("先请人盲评多少（%）", "Share that people check first (%)"),
                    elem_id="zf-pairs-check",
                ),
            )

    def _build_pairing_boxes(self) -> None:
        translate, add_box = self._translate, self.box_form.add
        with gr.Accordion(translate("更多设置", "More settings"), open=False, elem_id="zf-pairs-more"):
            self._build_mode_row()
            self._build_variety_row()
            self._build_check_row()
            self._build_second_judge_box()
            self._build_cap_row()
            add_box(
                "name",
                gr.Textbox(
                    label=translate("名字（可不填）", "Name (may stay empty)"),
                    max_length=50,
                    elem_id="zf-pairs-name",
                ),
            )

    def _build_mode_row(self) -> None:
        """How pairs are made, and which agents of a panel judge."""
        translate, add_box = self._translate, self.box_form.add
        with gr.Row():
            add_box(
                "pairing",
                gr.Radio(
                    label=translate("怎么配对", "How to pair"),
                    choices=[
                        (translate(*bilingual_label), pairing_way.value)
                        for pairing_way, bilingual_label in PAIRING_WAYS.items()
                    ],
                    value=PairingMode.ALL.value,
                ),
            )
            add_box(
                "panel_roles",
                gr.CheckboxGroup(
                    label=translate(
                        "评审团里谁在场（去掉一个就是消融）", "Agents of the panel (leave one out to ablate)"
                    ),
                    choices=[
                        (translate(*bilingual_label), agent_role)
                        for agent_role, bilingual_label in PANEL_ROLE_NAMES.items()
                    ],
                    value=list(PANEL_ROLE_NAMES),
                    elem_id="zf-pairs-agents",
                ),
            )

    def _build_variety_row(self) -> None:
        """What makes the candidates of a request differ."""
        translate, add_box = self._translate, self.box_form.add
        with gr.Row():
            add_box(
                "temperatures",
                gr.Textbox(label=translate("温度（逗号隔开）", "Temperatures (by commas)"), value="0.7, 1.0"),
            )
            add_box(
                "examples",
                gr.Radio(
                    label=translate("写之前看范例", "Examples before writing"),
                    choices=[
                        (translate("有的看有的不看", "some"), MIXED_EXAMPLES),
                        (translate("都看", "all"), WITH_EXAMPLES),
                        (translate("都不看", "none"), NO_EXAMPLES),
                    ],
                    value=MIXED_EXAMPLES,
                ),
            )
            add_box("vary_length", gr.Checkbox(label=translate("变着长短写", "Vary the length"), value=True))

    def _build_check_row(self) -> None:
        """People who check, and the balance of pairs."""
        translate, add_box = self._translate, self.box_form.add
        with gr.Row():
            add_box(
                "raters",
                gr.Number(label=translate("每条给几人看", "People a greeting"), value=2, minimum=1, precision=0),
            )
            add_box(
                "is_balanced",
                gr.Checkbox(label=translate("配平：不让字数和样子泄底", "Balance length and style"), value=True),
            )

    def _build_second_judge_box(self) -> None:
        """Who judges a second time the pairs in which length speaks for the other greeting."""
        translate, add_box = self._translate, self.box_form.add
        add_box(
            "second_judge",
            gr.Dropdown(
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
            ),
        )

    def _build_cap_row(self) -> None:
        """Where the run stops by cost or calls."""
        translate, add_box = self._translate, self.box_form.add
        with gr.Row():
            add_box(
                "cost_cap",
                gr.Number(label=translate("花费上限（0 为不限）", "Cap on cost (0: none)"), value=0, minimum=0),
            )
            add_box(
                "call_cap",
                gr.Number(
                    label=translate("调用上限（0 为不限）", "Cap on calls (0: none)"),
                    value=0,
                    minimum=0,
                    precision=0,
                ),
            )

    def _load_choices(self, chosen: EnteredValues) -> dict[Any, Any]:
        services, translate = self._services, self._translate
        dataset_choices = [(translate("（不用）", "(none)"), ""), *_dataset_choices(services, translate)]
        writer_choices = [
            (generator_label(translate, generator_info), generator_info.name)
            for generator_info in services.generators.generators()
        ]
        judge_choices = _judge_choices(services, translate)
        judge_names = _choice_values(judge_choices)
        # The panel where there is one: its debates are what the page of a pair shows.
        default_judge = "panel" if "panel" in judge_names else None
        second_choices = [
            *((translate(*shown_name), second_name) for second_name, shown_name in SECOND_JUDGE_NAMES.items()),
            *judge_choices,
        ]
        dataset_value = default_choice(chosen["dataset"], _choice_values(dataset_choices))
        judge_value = default_choice(chosen["judge"], [default_judge, *judge_names])
        second_value = default_choice(chosen["second_judge"], _choice_values(second_choices))
        return self.box_form.fill(
            {
                "dataset": gr.update(choices=dataset_choices, **dataset_value),
                "generators": gr.update(choices=writer_choices),
                "judge": gr.update(choices=judge_choices, **judge_value),
                "endpoint": gr.update(choices=endpoint_choices(services, translate)),
                "second_judge": gr.update(choices=second_choices, **second_value),
            }
        )


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


def _choice_values(choices: list[tuple[str, str]]) -> list[str]:
    return [choice_value for _, choice_value in choices]


def _dataset_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    """The data sets that hold requests, with how many."""
    return [
        (
            translate(f"{dataset.name}（{dataset.prompts:,} 个请求）", f"{dataset.name} ({dataset.prompts:,})"),
            dataset.name,
        )
        for dataset in services.corpus.datasets()
        if dataset.prompts
    ]


def _judge_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    stored_names = [
        judge_info.name
        for judge_info in services.scoring.catalog.judges()
        if judge_info.newest
        and judge_info.spec
        and judge_info.spec.kind in LABELING_KINDS
        # A judge asked again exists for the second opinion of one run, and is no choice for another.
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


def _read_source(entered: EnteredValues, file_path: Path | None) -> PromptSource:
    request_limit = _whole_number(entered["limit"]) or None
    if file_path:
        return PromptSource(SourceKind.FILE, str(file_path), request_limit)
    if entered["dataset"]:
        return PromptSource(SourceKind.DATASET, str(entered["dataset"]), request_limit)
    raise UserError("Choose a data set, or drop a file with requests.", "请选择一个数据集，或放一个装着请求的文件。")


def _read_plan(entered: EnteredValues) -> CandidatePlan:
    return CandidatePlan(
        tuple(map(str, entered["generators"])),
        _whole_number(entered["candidates"]),
        _parse_numbers(entered["temperatures"]),
        EXAMPLE_MODES.get(str(entered["examples"]), EXAMPLE_MODES[MIXED_EXAMPLES]),
        tuple(RequestedLength) if entered["vary_length"] else (RequestedLength.FREE,),
    )


def _whole_number(box_value: Any) -> int:
    # A box of numbers that is emptied gives None.
    return int(box_value) if isinstance(box_value, int | float) else 0


def _parse_numbers(number_text: Any) -> tuple[float, ...]:
    # Full-width commas too, which a Chinese keyboard types.
    try:
        return tuple(
            float(number_part) for number_part in str(number_text).replace("，", ",").split(",") if number_part.strip()
        )
    except ValueError as error:
        raise UserError(
            "Write temperatures as numbers with commas, such as 0.7, 1.0.",
            "温度请写成用逗号隔开的数，例如 0.7, 1.0。",
        ) from error
