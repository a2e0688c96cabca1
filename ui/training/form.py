"""Start a training: forms built from the typed settings, filled by presets, checked before anything is queued."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.errors import UserError
from backend.jobs.records import JobInfo
from backend.services import Services
from backend.training.checks import SettingProblem, read_entries
from backend.training.presets import DEFAULT_PRESET
from backend.training.service import TRAINING_PROGRAMS, TrainingService
from backend.training.settings import find_presets
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.widgets import caption_html, html_block, note
from ui.training.fields import (
    JSON_SETTINGS,
    SETTING_LABELS,
    entered_settings,
    fixed_choices,
    setting_box,
    setting_names,
    shown_values,
    wire_preset,
    wire_reward,
)
from ui.training.memory import build_memory_row, wire_memory
from ui.training.names import PRESET_MACHINES, PRESET_NAMES, PROGRAM_LEADS
from ui.training.names import PROGRAM_NAMES as TITLES

# What people change from one training to the next; all the rest is under “more settings”.
MAIN_SETTINGS = {
    "sft": ("epochs", "max_steps", "learning_rate", "batch_size", "max_length", "lora_rank"),
    "reward_model": ("epochs", "max_steps", "learning_rate", "batch_size", "max_length", "lora_rank"),
    "dpo": ("epochs", "max_steps", "learning_rate", "beta", "loss_type", "batch_size", "max_length", "lora_rank"),
    "grpo": ("max_steps", "learning_rate", "beta", "prompts", "generations", "max_new_tokens"),
}
SWITCH_SETTINGS: dict[str, tuple[str, ...]] = {
    "sft": ("composed",),
    "reward_model": ("composed", "length_balanced", "debias"),
    "dpo": ("composed", "length_balanced", "precompute_reference"),
}
SOURCES_NOTE = (
    "不选数据集，就只学人标注、投票和导入的数据；“偏好对”页由裁判评出来的，选了那个数据集或勾选上面一项才会用。",
    "Without a data set only what people labelled, voted or imported is learnt from; pairs that a judge "
    "made on “Pairs” are used where their data set is chosen or the box above is ticked.",
)
MIX_SETTINGS = (
    "reward_weight",
    "length_weight",
    "length_low",
    "length_high",
    "fit_weight",
    "repetition_weight",
    "diversity_weight",
    "format_weight",
)
AddBoxes = Callable[..., None]


@dataclass(frozen=True)
class TrainingForm:
    """The form of one program; its boxes bear the names of `setting_names`."""

    program: str
    box_form: BoxForm
    start_button: gr.Button
    message_block: gr.HTML


def build_tab(services: Services, translate: Translator, form_tab: gr.Tab) -> tuple[gr.Tabs, list[TrainingForm]]:
    """One tab for each program."""
    program_forms = []
    with gr.Tabs(elem_id="zf-train-programs") as program_tabs:
        for program in TRAINING_PROGRAMS:
            with gr.Tab(translate(*TITLES[program]), id=program):
                program_forms.append(_build_form(services, translate, program, form_tab))
    return program_tabs, program_forms


def start_training(
    services: Services,
    training_service: TrainingService,
    translate: Translator,
    program: str,
    entered: EnteredValues,
) -> JobInfo | str:
    """The queued job, or what is wrong with the form as HTML."""
    try:
        # Two steps: values first, by the types alone; then what only the database can say, such as names.
        settings = read_entries(program, entered_settings(program, entered))
        if isinstance(settings, list):
            return _problems_html(translate, settings)
        dataset_names = [catalog_entry.name for catalog_entry in services.corpus.datasets()]
        endpoint_names = [catalog_entry.name for catalog_entry in services.endpoints.endpoints()]
        if problems := training_service.find_problems(settings, dataset_names, endpoint_names):
            return _problems_html(translate, problems)
        return training_service.queue(settings)
    except UserError as error:
        return note(translate.localize(error), "bad")


def _problems_html(translate: Translator, problems: list[SettingProblem]) -> Markup:
    return Markup().join(problem_html(translate, problem) for problem in problems)


def problem_html(translate: Translator, problem: SettingProblem) -> Markup:
    """A problem as one sentence that names the box."""
    # A problem inside of a setting is named by both, with a dot; where the inner one has no box, the outer
    # one is named.
    setting_label = SETTING_LABELS.get(problem.field) or SETTING_LABELS.get(problem.field.partition(".")[0])
    label_prefix = f"{translate(*setting_label)}{translate('：', ': ')}" if setting_label else ""
    return note(f"{label_prefix}{translate.localize(problem.message)}", "bad")


def _build_form(services: Services, translate: Translator, program: str, form_tab: gr.Tab) -> TrainingForm:
    box_form = BoxForm()
    preset_values = shown_values(program, find_presets(program)[DEFAULT_PRESET])

    def add_boxes(*wanted_names: str, **options: Any) -> None:
        for setting_name in wanted_names:
            choice_options = {"choices": choices} if (choices := fixed_choices(translate, setting_name)) else {}
            box_options = {"value": preset_values[setting_name], **choice_options, **options}
            box_form.add(setting_name, setting_box(translate, program, setting_name, **box_options))

    html_block(caption_html(translate(*PROGRAM_LEADS[program])))
    preset_dropdown, hint_block = _build_preset_row(translate, program, add_boxes)
    judge_dropdown = _build_reward_row(translate, add_boxes) if program == "grpo" else None
    with gr.Row():
        add_boxes(*MAIN_SETTINGS[program])
    if program in SWITCH_SETTINGS:
        with gr.Row():
            add_boxes(*SWITCH_SETTINGS[program])
    # Whatever is not placed above: no setting can be forgotten on the page.
    remaining_names = [name for name in setting_names(program) if name not in box_form.boxes]
    with gr.Accordion(translate("更多设置", "More settings"), open=False):
        with gr.Row(elem_classes="zf-many"):
            add_boxes(*(name for name in remaining_names if name not in JSON_SETTINGS))
        if program == "grpo":
            with gr.Row():
                add_boxes(*(name for name in remaining_names if name in JSON_SETTINGS))
    memory_blocks = build_memory_row(translate, program)
    message_block = html_block(elem_id=f"zf-train-{program}-told")
    start_button = gr.Button(translate("开始训练", "Start"), variant="primary", elem_id=f"zf-train-{program}-start")
    wire_preset(services, translate, program, form_tab, preset_dropdown, hint_block, box_form)
    wire_memory(TrainingService(services.jobs), translate, program, form_tab, box_form, memory_blocks)
    if judge_dropdown is not None:
        wire_reward(services, translate, form_tab, judge_dropdown, box_form)
    return TrainingForm(program, box_form, start_button, message_block)


def _build_preset_row(translate: Translator, program: str, add_boxes: AddBoxes) -> tuple[gr.Dropdown, gr.HTML]:
    with gr.Row():
        preset_dropdown = gr.Dropdown(
            label=translate("预设", "Preset"),
            choices=[(translate(*PRESET_NAMES[preset_name]), preset_name) for preset_name in find_presets(program)],
            value=DEFAULT_PRESET,
            elem_id=f"zf-train-{program}-preset",
        )
        add_boxes("base", "name")
    hint_block = html_block(caption_html(translate(*PRESET_MACHINES[DEFAULT_PRESET])))
    with gr.Row():
        add_boxes("datasets", "exclude", "test_datasets")
    add_boxes("panel_pairs")
    html_block(caption_html(translate(*SOURCES_NOTE)))
    return preset_dropdown, hint_block


def _build_reward_row(translate: Translator, add_boxes: AddBoxes) -> gr.Dropdown:
    with gr.Row():
        add_boxes("reward", "reward_artifact")
        judge_dropdown = gr.Dropdown(
            label=translate("照搬已保存的裁判", "Copy a stored judge"),
            choices=[("–", 0)],
            value=0,
            visible=False,
            elem_id="zf-train-grpo-pick",
        )
        add_boxes("endpoint", "max_calls", visible=False)
    mix_label = translate("混合奖励：字数、切题、重复、雷同与格式", "Mix: length, fit, repetition, sameness, form")
    with gr.Accordion(mix_label, open=False), gr.Row():
        add_boxes(*MIX_SETTINGS, "binary")
    return judge_dropdown
