"""The starter model in one click: for machines without a GPU, policy and reward model on the corpus."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.training_runs.service import TrainingService
from ui.say import Translator
from ui.training_blocks import TrainingWatchBlocks
from ui.training_watch import TrainingWatcher
from ui.widgets import esc, friendly_errors, html_block, note


@dataclass(frozen=True)
class StarterCard:
    """The blocks of the card; the watch keeps `parts` up to date."""

    parts_by_name: dict[str, Any]
    message_block: gr.HTML


def build_starter_card(translate: Translator) -> StarterCard:
    """What it is, how long it takes, and the button with why it is off."""
    heading = translate("没有显卡？先训练一个入门模型", "No GPU? Train the starter model")
    lead_text = translate(
        "用为本项目写的写作语料从零训练一个小写作模型，再训练一个奖励模型，两核电脑约六分钟。"
        "它写的大多通顺，四条里约三条切题，但只会说这份语料里的话；想要更多变化，先导入几千条祝福，或者连接一个大模型。",
        "A small writer from scratch on a writing corpus made for this project, then a reward model: about "
        "six minutes on two cores. Most of what it writes reads well and about three in four fit the "
        "request, but it says nothing beyond that corpus. For more variety import a few thousand greetings "
        "first, or connect a language model.",
    )
    with gr.Row(elem_classes="zf-starter"):
        html_block(f"<h2>{esc(heading)}</h2><p>{esc(lead_text)}</p>")
        with gr.Column(scale=0, min_width=200):
            start_button = gr.Button(
                translate("训练入门模型", "Train the starter"), variant="primary", elem_id="zf-starter"
            )
            reason_block = html_block(elem_id="zf-starter-why")
    return StarterCard({"starter": start_button, "why": reason_block}, html_block(elem_id="zf-starter-told"))


def wire_starter(
    training_service: TrainingService,
    watcher: TrainingWatcher,
    translate: Translator,
    starter_card: StarterCard,
    watch_blocks: TrainingWatchBlocks,
    page_tabs: gr.Tabs,
) -> None:
    """The click: both jobs queued, the first one opened."""

    @friendly_errors(translate)
    def begin_starter(job_id: int | None, known_facts: dict[str, str]) -> list[Any]:
        try:
            policy_job, reward_job = training_service.start_starter()
        except UserError as error:
            return [
                note(translate.localize(error), "bad"),
                "",
                gr.skip(),
                *watcher.poll_updates(watch_blocks, job_id, known_facts),
            ]
        message = translate(
            f"已加入队列：先是写作模型（任务 {policy_job.id}），再是奖励模型（任务 {reward_job.id}）。",
            f"Queued: the writer first (job {policy_job.id}), then the reward model (job {reward_job.id}).",
        )
        block_updates = watcher.poll_updates(watch_blocks, job_id, known_facts, choose=policy_job.id)
        return [note(message, "ok"), "", gr.update(selected="jobs"), *block_updates]

    outputs = [starter_card.message_block, watch_blocks.message_block, page_tabs, *watch_blocks.outputs]
    starter_card.parts_by_name["starter"].click(
        begin_starter, [watch_blocks.job_dropdown, watch_blocks.seen_facts], outputs, queue=False
    )
