"""The starter on the first page: offered where there is no GPU and no model, followed while it is trained."""

from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.services import Services
from backend.starter_offer import Offer, State, offer
from backend.training_runs.service import TrainingService
from ui.say import Say
from ui.widgets import esc, fill, html_block, note, pace, polite

POLL_S = 5


def build(services: Services, say: Say) -> None:
    """A card that is there only while it has something to say, and a button while there is a choice."""
    with gr.Row(elem_classes="zf-starter", visible=False) as card:
        told = html_block(elem_id="zf-home-starter")
        with gr.Column(scale=0, min_width=200, visible=False) as choice:
            go = gr.Button(
                say("训练入门模型", "Train the starter"), variant="primary", elem_id="zf-home-train"
            )
    timer = gr.Timer(POLL_S, active=False)
    outputs = [card, told, choice, timer]

    @polite(say)
    def look() -> list[Any]:
        return _shown(say, offer(services.jobs, services.settings.starter))

    @polite(say)
    def begin() -> list[Any]:
        try:
            TrainingService(services.jobs).start_starter()
        except UserError as error:
            return [gr.skip(), note(say.of(error), "bad"), gr.skip(), gr.skip()]
        return look()  # type: ignore[no-any-return]

    fill(look, *outputs)
    timer.tick(look, None, outputs, queue=False, show_progress="hidden")
    go.click(begin, None, outputs, queue=False, show_progress="hidden")


def _shown(say: Say, found: Offer) -> list[Any]:
    """In the order of the outputs."""
    return [
        gr.update(visible=found.state in (State.OFFERED, State.TRAINING)),
        _html(say, found),
        gr.update(visible=found.state is State.OFFERED),
        pace(found.state is State.TRAINING, POLL_S),
    ]


def _html(say: Say, found: Offer) -> str:
    if found.state is State.TRAINING:
        return _training(say, found)
    if found.state is not State.OFFERED:
        return ""
    heading = say("没有显卡也能试一遍", "Try the whole way without a GPU")
    lead = say(
        "在后台从零训练一个小写作模型和一个奖励模型，两核电脑约六分钟。它写的大多通顺，四条里约三条切题。",
        "Train a small writer and a reward model from scratch in the background: about six minutes on two "
        "cores. Most of what it writes reads well, about three in four fit the request.",
    )
    failed = note(say.of(found.failed), "bad") if found.failed else ""
    return f"<h2>{esc(heading)}</h2><p>{esc(lead)}</p>{failed}"


def _training(say: Say, found: Offer) -> str:
    assert found.job is not None
    share = f"{found.progress:.0%}"
    heading = say("入门模型正在训练", "The starter model is being trained")
    waiting = say.of(found.job.waiting) if found.job.waiting else ""
    step = say("写作模型", "the writer") if found.job.kind == "sft" else say("奖励模型", "the reward model")
    link = f'<a href="/{say.lang}/training?job={found.job.id}">{esc(say("看进度", "Watch it"))}</a>'
    bar = f'<progress max="1" value="{found.progress:.4f}" aria-label="{share}">{share}</progress> {share}'
    return f"<h2>{esc(heading)}</h2><p>{bar} · {esc(waiting or step)} · {link}</p>"
