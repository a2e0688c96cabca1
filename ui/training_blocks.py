"""The blocks of the jobs tab, and how a fact becomes what Gradio takes."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.say import Translator
from ui.training_jobs import OPEN_SCRIPT
from ui.training_views import points_frame
from ui.training_words import PLOT_CURVES, Curve
from ui.widgets import html_block, timer_update

POLL_SECONDS = 2.5
BUTTON_NAMES = ("cancel", "pause", "resume", "again", "changed", "serve", "stop")


@dataclass(frozen=True)
class TrainingWatchBlocks:
    """The blocks of the tab; `parts` are what a poll may send, by name."""

    job_dropdown: gr.Dropdown
    seen_facts: gr.State
    poll_timer: gr.Timer
    message_block: gr.HTML
    parts_by_name: dict[str, Any]

    @property
    def outputs(self) -> list[Any]:
        """What `Watcher.look` returns values for."""
        return [self.seen_facts, *self.parts_by_name.values()]


def build_watch_blocks(translate: Translator, other_parts: dict[str, Any]) -> TrainingWatchBlocks:
    """Everything that is shown, empty; `more` stands elsewhere on the page and is kept up to date too."""
    parts_by_name = dict(other_parts)
    parts_by_name["timer"] = poll_timer = gr.Timer(POLL_SECONDS, active=False)
    parts_by_name["listed"] = html_block(elem_id="zf-trainings", js_on_load=OPEN_SCRIPT)
    parts_by_name["which"] = job_dropdown = gr.Dropdown(
        label=translate("看哪个任务", "Watch"),
        choices=[],
        visible=False,
        elem_id="zf-train-which",
        filterable=False,
    )
    message_block = html_block(elem_id="zf-train-told")
    parts_by_name["head"] = html_block(elem_id="zf-train-head")
    with gr.Row(elem_classes="zf-acts"):
        parts_by_name |= _build_buttons(translate)
    parts_by_name["remarks"] = html_block(elem_id="zf-train-remarks")
    parts_by_name["artifact"] = html_block(elem_id="zf-train-artifact", js_on_load=OPEN_SCRIPT)
    with gr.Accordion(translate("模型卡", "Model card"), open=False, visible=False) as card_accordion:
        parts_by_name["card"] = gr.Markdown(elem_id="zf-train-card")
    parts_by_name["has_card"] = card_accordion
    with gr.Row(elem_classes="zf-plots"):
        for plot_number, plot_curve in enumerate(PLOT_CURVES):
            parts_by_name[f"plot{plot_number}"] = _build_plot(translate, plot_curve)
    parts_by_name["samples"] = html_block(elem_id="zf-train-samples")
    log_accordion = gr.Accordion(
        translate("日志（最后 80 行）", "Log (last 80 lines)"),
        open=False,
        visible=False,
        elem_id="zf-train-logs",
    )
    with log_accordion:
        parts_by_name["log"] = html_block(elem_id="zf-train-log")
    parts_by_name["has_log"] = log_accordion
    return TrainingWatchBlocks(job_dropdown, gr.State({}), poll_timer, message_block, parts_by_name)


def _build_buttons(translate: Translator) -> dict[str, gr.Button]:
    button_labels = {
        "cancel": translate("取消", "Cancel"),
        "pause": translate("暂停", "Pause"),
        "resume": translate("继续", "Resume"),
        "again": translate("再跑一次", "Run again"),
        "changed": translate("改设置再跑", "Run changed"),
        "serve": translate("启动服务", "Serve"),
        "stop": translate("停止服务", "Stop serving"),
    }
    return {
        button_name: gr.Button(
            button_labels[button_name],
            min_width=96,
            visible=False,
            variant="stop" if button_name in ("cancel", "stop") else "secondary",
            elem_id=f"zf-train-{button_name}",
        )
        for button_name in BUTTON_NAMES
    }


def _build_plot(translate: Translator, plot_curve: Curve) -> gr.LinePlot:
    axis_limits: Any = [0, 1] if plot_curve.is_share else None
    return gr.LinePlot(
        x="step",
        y="value",
        color="series",
        title=translate(*plot_curve.bilingual_title),
        x_title=translate("步", "step"),
        y_title=" ",
        color_title=" ",
        y_lim=axis_limits,
        height=240,
        min_width=300,
        visible=False,
        show_label=False,
        buttons=[],
        elem_id=f"zf-plot-{plot_curve.plot_key}",
    )


def part_update(part_name: str, part_fact: Any) -> Any:
    """The fact as Gradio takes it."""
    if part_name == "timer":
        return timer_update(part_fact, POLL_SECONDS)
    if part_name == "which":
        return gr.update(choices=part_fact, visible=bool(part_fact))
    if part_name in BUTTON_NAMES:
        return gr.update(visible=part_fact)
    if part_name == "starter":
        return gr.update(interactive=part_fact)
    if part_name in ("has_card", "has_log"):
        return gr.update(visible=part_fact)
    if part_name.startswith("plot"):
        return (
            gr.update(value=points_frame(part_fact), visible=bool(part_fact)) if part_fact else gr.update(visible=False)
        )
    return part_fact
