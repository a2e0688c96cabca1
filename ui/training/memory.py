"""Under each form: how much memory the training needs by estimate, and the change that makes it fit as a button."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.errors import Message, UserError
from backend.training.checks import read_entries
from backend.training.memory_check import MemoryVerdict
from backend.training.service import TrainingService
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.widgets import caption_html, fill_tab, friendly_errors, html_block, note
from ui.training.fields import SETTING_LABELS, SILENT_EVENT, entered_settings

# Settings of which the estimate knows; a change of any other needs no new one.
MEMORY_SETTINGS = (
    "base", "shape", "batch_size", "max_length", "lora_rank", "lora_dropout", "device", "dtype",
    "gradient_checkpointing", "processes", "sharding", "offload", "quantization", "attention",
    "prompts", "generations", "max_new_tokens", "beta", "top_p", "vllm", "vllm_memory",
    "reward", "reward_artifact", "reward_weight", "memory_check",
)  # fmt: skip


def build_memory_row(translate: Translator, program: str) -> tuple[gr.HTML, gr.Button]:
    """The line with the estimate, and the button, hidden until there is something to change."""
    with gr.Row():
        memory_block = html_block(elem_id=f"zf-train-{program}-memory")
        change_button = gr.Button(
            translate("照此修改", "Change it"),
            visible=False,
            scale=0,
            min_width=200,
            elem_id=f"zf-train-{program}-memory-change",
        )
    return memory_block, change_button


def wire_memory(
    training_service: TrainingService,
    translate: Translator,
    program: str,
    form_tab: gr.Tab,
    box_form: BoxForm,
    memory_blocks: tuple[gr.HTML, gr.Button],
) -> None:
    """The estimate follows the boxes; the button puts its change into them."""
    memory_block, change_button = memory_blocks

    @friendly_errors(translate)
    @box_form.named
    def show_estimate(entered: EnteredValues) -> dict[Any, Any]:
        verdict = find_verdict(training_service, program, entered)
        button_text = change_label(translate, verdict)
        return {
            memory_block: estimate_html(translate, verdict),
            change_button: gr.update(visible=bool(button_text), value=button_text),
        }

    @friendly_errors(translate)
    @box_form.named
    def apply_change(entered: EnteredValues) -> dict[Any, Any]:
        # Computed anew: what the button shows may be older than the boxes.
        verdict = find_verdict(training_service, program, entered)
        change = verdict.change if isinstance(verdict, MemoryVerdict) else {}
        return {change_button: gr.update(visible=False), **box_form.fill(change)}

    outputs = [memory_block, change_button]
    watched_boxes = [box_form[setting_name] for setting_name in MEMORY_SETTINGS if setting_name in box_form.boxes]
    fill_tab(form_tab, show_estimate, outputs, box_form.inputs)
    gr.on(
        [form_box.change for form_box in watched_boxes],
        show_estimate,
        box_form.inputs,
        outputs,
        **SILENT_EVENT,
        # A preset changes many boxes at once, of which the last state counts.
        trigger_mode="always_last",
    )
    change_button.click(apply_change, box_form.inputs, [change_button, *box_form.outputs], **SILENT_EVENT)


def find_verdict(
    training_service: TrainingService, program: str, entered: EnteredValues
) -> MemoryVerdict | Message | None:
    """Of what the boxes hold; None while that is no setting, of which pressing “start” says what is wrong."""
    try:
        settings = read_entries(program, entered_settings(program, entered))
    except UserError:
        return None
    return None if isinstance(settings, list) else training_service.judge_memory(settings)


def estimate_html(translate: Translator, verdict: MemoryVerdict | Message | None) -> Markup:
    """The sentence: grey where it fits or cannot be known, else as a warning."""
    if verdict is None:
        return Markup()
    if isinstance(verdict, Message):
        return caption_html(translate.localize(verdict))
    sentence = translate.localize(verdict.message)
    return caption_html(sentence) if verdict.fits else note(sentence)


def change_label(translate: Translator, verdict: MemoryVerdict | Message | None) -> str:
    """What the button would change, by the labels of its boxes; empty where there is nothing to change."""
    if not isinstance(verdict, MemoryVerdict) or not verdict.change:
        return ""
    switches = {True: translate("是", "on"), False: translate("否", "off")}
    labels = {name: translate(*SETTING_LABELS.get(name, (name, name))) for name in verdict.change}
    changes = (
        f"{labels[name]} = {switches[value] if isinstance(value, bool) else value}"
        for name, value in verdict.change.items()
    )
    return f"{translate('改为：', 'Set ')}{translate('，', ', ').join(changes)}"
