"""The blocks of the jobs tab, and how a fact becomes what Gradio takes."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.say import Say
from ui.training_jobs import OPEN
from ui.training_views import frame
from ui.training_words import CURVES, Curve
from ui.widgets import html_block, pace

POLL_S = 2.5
BUTTONS = ("cancel", "pause", "resume", "again", "changed", "serve", "stop")


@dataclass(frozen=True)
class Watch:
    """The blocks of the tab; `parts` are what a poll may send, by name."""

    which: gr.Dropdown
    seen: gr.State
    timer: gr.Timer
    told: gr.HTML
    parts: dict[str, Any]

    @property
    def outputs(self) -> list[Any]:
        """What `Watcher.look` returns values for."""
        return [self.seen, *self.parts.values()]


def blocks(say: Say, more: dict[str, Any]) -> Watch:
    """Everything that is shown, empty; `more` stands elsewhere on the page and is kept up to date too."""
    parts = dict(more)
    parts["timer"] = timer = gr.Timer(POLL_S, active=False)
    parts["listed"] = html_block(elem_id="zf-trainings", js_on_load=OPEN)
    parts["which"] = which = gr.Dropdown(
        label=say("看哪个任务", "Watch"),
        choices=[],
        visible=False,
        elem_id="zf-train-which",
        filterable=False,
    )
    told = html_block(elem_id="zf-train-told")
    parts["head"] = html_block(elem_id="zf-train-head")
    with gr.Row(elem_classes="zf-acts"):
        parts |= _buttons(say)
    parts["remarks"] = html_block(elem_id="zf-train-remarks")
    parts["artifact"] = html_block(elem_id="zf-train-artifact", js_on_load=OPEN)
    with gr.Accordion(say("模型卡", "Model card"), open=False, visible=False) as card:
        parts["card"] = gr.Markdown(elem_id="zf-train-card")
    parts["has_card"] = card
    with gr.Row(elem_classes="zf-plots"):
        for number, curve in enumerate(CURVES):
            parts[f"plot{number}"] = _plot(say, curve)
    parts["samples"] = html_block(elem_id="zf-train-samples")
    logs = gr.Accordion(
        say("日志（最后 80 行）", "Log (last 80 lines)"), open=False, visible=False, elem_id="zf-train-logs"
    )
    with logs:
        parts["log"] = html_block(elem_id="zf-train-log")
    parts["has_log"] = logs
    return Watch(which, gr.State({}), timer, told, parts)


def _buttons(say: Say) -> dict[str, gr.Button]:
    words = {
        "cancel": say("取消", "Cancel"),
        "pause": say("暂停", "Pause"),
        "resume": say("继续", "Resume"),
        "again": say("再跑一次", "Run again"),
        "changed": say("改设置再跑", "Run changed"),
        "serve": say("启动服务", "Serve"),
        "stop": say("停止服务", "Stop serving"),
    }
    return {
        name: gr.Button(
            words[name],
            min_width=96,
            visible=False,
            variant="stop" if name in ("cancel", "stop") else "secondary",
            elem_id=f"zf-train-{name}",
        )
        for name in BUTTONS
    }


def _plot(say: Say, curve: Curve) -> gr.LinePlot:
    limits: Any = [0, 1] if curve.share else None
    return gr.LinePlot(
        x="step",
        y="value",
        color="series",
        title=say(*curve.name),
        x_title=say("步", "step"),
        y_title=" ",
        color_title=" ",
        y_lim=limits,
        height=240,
        min_width=300,
        visible=False,
        show_label=False,
        buttons=[],
        elem_id=f"zf-plot-{curve.key}",
    )


def update(name: str, fact: Any) -> Any:
    """The fact as Gradio takes it."""
    if name == "timer":
        return pace(fact, POLL_S)
    if name == "which":
        return gr.update(choices=fact, visible=bool(fact))
    if name in BUTTONS:
        return gr.update(visible=fact)
    if name == "starter":
        return gr.update(interactive=fact)
    if name in ("has_card", "has_log"):
        return gr.update(visible=fact)
    if name.startswith("plot"):
        return gr.update(value=frame(fact), visible=bool(fact)) if fact else gr.update(visible=False)
    return fact
