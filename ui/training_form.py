"""Start a training: three forms filled by presets, checked before anything is queued."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.jobs.records import JobInfo
from backend.services import Services
from backend.training_runs.checks import Problem
from backend.training_runs.config import DEFAULT_PRESET, presets
from backend.training_runs.service import PROGRAMS, TrainingService
from ui.say import Say
from ui.training_fields import LABELS, WIDE, box, entered, fields_of, shown
from ui.training_fill import filling, names, rewarding
from ui.training_words import LEADS, MACHINES, PRESETS
from ui.training_words import PROGRAMS as TITLES
from ui.widgets import esc, html_block, note

MAIN = {
    "sft": ("epochs", "max_steps", "learning_rate", "batch_size", "max_length", "lora_rank"),
    "reward_model": ("epochs", "max_steps", "learning_rate", "batch_size", "max_length", "lora_rank"),
    "grpo": ("max_steps", "learning_rate", "beta", "prompts", "generations", "max_new_tokens"),
}
SWITCHES: dict[str, tuple[str, ...]] = {
    "sft": ("composed",),
    "reward_model": ("composed", "length_balanced", "debias"),
}
SOURCES = (
    "不选数据集，就只学人标注、投票和导入的数据；“偏好对”页由裁判评出来的，选了那个数据集或勾选上面一项才会用。",
    "Without a data set only what people labelled, voted or imported is learnt from; pairs that a judge "
    "made on “Pairs” are used where their data set is chosen or the box above is ticked.",
)
MIX = (
    "reward_weight",
    "length_weight",
    "length_low",
    "length_high",
    "fit_weight",
    "repetition_weight",
    "diversity_weight",
    "format_weight",
)
Put = Callable[..., None]


@dataclass(frozen=True)
class Form:
    """The form of one program; `boxes` in the order of `fields_of`."""

    program: str
    boxes: list[Any]
    go: gr.Button
    told: gr.HTML


def build(services: Services, say: Say, tab: gr.Tab) -> tuple[gr.Tabs, list[Form]]:
    """One tab for each program."""
    forms = []
    with gr.Tabs(elem_id="zf-train-programs") as tabs:
        for program in PROGRAMS:
            with gr.Tab(say(*TITLES[program]), id=program):
                forms.append(_form(services, say, program, tab))
    return tabs, forms


def start(
    services: Services, trainings: TrainingService, say: Say, program: str, given: tuple[Any, ...]
) -> JobInfo | str:
    """The queued job, or what is wrong with the form as HTML."""
    try:
        values = entered(program, given)
        datasets = [info.name for info in services.corpus.datasets()]
        endpoints = [info.name for info in services.endpoints.endpoints()]
        if problems := trainings.problems(program, values, datasets, endpoints):
            return "".join(told(say, problem) for problem in problems)
        return trainings.submit(program, None, values)
    except UserError as error:
        return note(say.of(error), "bad")


def told(say: Say, problem: Problem) -> str:
    """A problem as one sentence that names the box."""
    known = LABELS.get(problem.field) or LABELS.get(problem.field.partition(".")[0])
    name = f"{say(*known)}{say('：', ': ')}" if known else ""
    return note(f"{name}{say.of(problem.message)}", "bad")


def _form(services: Services, say: Say, program: str, tab: gr.Tab) -> Form:
    made: dict[str, Any] = {}
    start_values = shown(program, presets(program)[DEFAULT_PRESET])
    values = dict(zip(fields_of(program), start_values, strict=True))

    def put(*wanted: str, **options: Any) -> None:
        for name in wanted:
            offered = {"choices": found} if (found := names(say, name)) else {}
            made[name] = box(say, program, name, value=values[name], **offered, **options)

    html_block(f'<p class="zf-note">{esc(say(*LEADS[program]))}</p>')
    preset, hint = _head(say, program, put)
    pick = _reward(say, put) if program == "grpo" else None
    with gr.Row():
        put(*MAIN[program])
    if program in SWITCHES:
        with gr.Row():
            put(*SWITCHES[program])
    rest = [name for name in fields_of(program) if name not in made]
    with gr.Accordion(say("更多设置", "More settings"), open=False):
        with gr.Row(elem_classes="zf-many"):
            put(*(name for name in rest if name not in WIDE))
        if program == "grpo":
            with gr.Row():
                put(*(name for name in rest if name in WIDE))
    heard = html_block(elem_id=f"zf-train-{program}-told")
    go = gr.Button(say("开始训练", "Start"), variant="primary", elem_id=f"zf-train-{program}-start")
    filling(services, say, program, tab, preset, hint, made)
    if pick is not None:
        rewarding(services, say, tab, pick, made)
    return Form(program, [made[name] for name in fields_of(program)], go, heard)


def _head(say: Say, program: str, put: Put) -> tuple[gr.Dropdown, gr.HTML]:
    with gr.Row():
        preset = gr.Dropdown(
            label=say("预设", "Preset"),
            choices=[(say(*PRESETS[name]), name) for name in presets(program)],
            value=DEFAULT_PRESET,
            elem_id=f"zf-train-{program}-preset",
        )
        put("base", "name")
    hint = html_block(f'<p class="zf-note">{esc(say(*MACHINES[DEFAULT_PRESET]))}</p>')
    with gr.Row():
        put("datasets", "exclude")
    put("panel_pairs")
    html_block(f'<p class="zf-note">{esc(say(*SOURCES))}</p>')
    return preset, hint


def _reward(say: Say, put: Put) -> gr.Dropdown:
    with gr.Row():
        put("reward", "reward_artifact")
        pick = gr.Dropdown(
            label=say("照搬已保存的裁判", "Copy a stored judge"),
            choices=[("–", 0)],
            value=0,
            visible=False,
            elem_id="zf-train-grpo-pick",
        )
        put("endpoint", "max_calls", visible=False)
    mix = say("混合奖励：字数、切题、重复、雷同与格式", "Mix: length, fit, repetition, sameness, form")
    with gr.Accordion(mix, open=False), gr.Row():
        put(*MIX, "binary")
    return pick
