"""The starter model in one click: for machines without a GPU, policy and reward model on the corpus."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.training_runs.service import TrainingService
from ui.say import Say
from ui.training_blocks import Watch
from ui.training_watch import Watcher
from ui.widgets import esc, html_block, note, polite


@dataclass(frozen=True)
class Card:
    """The blocks of the card; the watch keeps `parts` up to date."""

    parts: dict[str, Any]
    told: gr.HTML


def blocks(say: Say) -> Card:
    """What it is, how long it takes, and the button with why it is off."""
    heading = say("没有显卡？先训练一个入门模型", "No GPU? Train the starter model")
    lead = say(
        "用为本项目写的写作语料从零训练一个小写作模型，再训练一个奖励模型，两核电脑约六分钟。"
        "它写的大多通顺，四条里约三条切题，但只会说这份语料里的话；想要更多变化，先导入几千条祝福，或者连接一个大模型。",
        "A small writer from scratch on a writing corpus made for this project, then a reward model: about "
        "six minutes on two cores. Most of what it writes reads well and about three in four fit the "
        "request, but it says nothing beyond that corpus. For more variety import a few thousand greetings "
        "first, or connect a language model.",
    )
    with gr.Row(elem_classes="zf-starter"):
        html_block(f"<h2>{esc(heading)}</h2><p>{esc(lead)}</p>")
        with gr.Column(scale=0, min_width=200):
            go = gr.Button(say("训练入门模型", "Train the starter"), variant="primary", elem_id="zf-starter")
            why = html_block(elem_id="zf-starter-why")
    return Card({"starter": go, "why": why}, html_block(elem_id="zf-starter-told"))


def starting(
    trainings: TrainingService, watcher: Watcher, say: Say, card: Card, watch: Watch, tabs: gr.Tabs
) -> None:
    """The click: both jobs queued, the first one opened."""

    @polite(say)
    def begin(job_id: int | None, known: dict[str, str]) -> list[Any]:
        try:
            policy, judge = trainings.start_starter()
        except UserError as error:
            return [note(say.of(error), "bad"), "", gr.skip(), *watcher.look(watch, job_id, known)]
        told = say(
            f"已加入队列：先是写作模型（任务 {policy.id}），再是奖励模型（任务 {judge.id}）。",
            f"Queued: the writer first (job {policy.id}), then the reward model (job {judge.id}).",
        )
        shown = watcher.look(watch, job_id, known, choose=policy.id)
        return [note(told, "ok"), "", gr.update(selected="jobs"), *shown]

    outputs = [card.told, watch.told, tabs, *watch.outputs]
    card.parts["starter"].click(begin, [watch.which, watch.seen], outputs, queue=False)
