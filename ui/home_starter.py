"""The starter on the first page: offered where there is no GPU and no model, followed while it is trained."""

from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.services import Services
from backend.starter_offer import OfferState, StarterOffer, decide_offer
from backend.training_runs.service import TrainingService
from ui.say import Translator
from ui.widgets import esc, fill_on_load, friendly_errors, html_block, note, timer_update

POLL_INTERVAL_S = 5


def build_starter_card(services: Services, translate: Translator) -> None:
    """A card that is there only while it has something to say, and a button while there is a choice."""
    with gr.Row(elem_classes="zf-starter", visible=False) as starter_row:
        message_block = html_block(elem_id="zf-home-starter")
        with gr.Column(scale=0, min_width=200, visible=False) as button_column:
            train_button = gr.Button(
                translate("训练入门模型", "Train the starter"), variant="primary", elem_id="zf-home-train"
            )
    poll_timer = gr.Timer(POLL_INTERVAL_S, active=False)
    outputs = [starter_row, message_block, button_column, poll_timer]

    @friendly_errors(translate)
    def refresh_card() -> list[Any]:
        return _card_updates(translate, decide_offer(services.jobs, services.settings.starter))

    @friendly_errors(translate)
    def start_training() -> list[Any]:
        try:
            TrainingService(services.jobs).start_starter()
        except UserError as error:
            return [gr.skip(), note(translate.localize(error), "bad"), gr.skip(), gr.skip()]
        return refresh_card()  # type: ignore[no-any-return]

    fill_on_load(refresh_card, *outputs)
    poll_timer.tick(refresh_card, None, outputs, queue=False, show_progress="hidden")
    train_button.click(start_training, None, outputs, queue=False, show_progress="hidden")


def _card_updates(translate: Translator, starter_offer: StarterOffer) -> list[Any]:
    """In the order of the outputs."""
    return [
        gr.update(visible=starter_offer.state in (OfferState.OFFERED, OfferState.TRAINING)),
        _offer_html(translate, starter_offer),
        gr.update(visible=starter_offer.state is OfferState.OFFERED),
        timer_update(starter_offer.state is OfferState.TRAINING, POLL_INTERVAL_S),
    ]


def _offer_html(translate: Translator, starter_offer: StarterOffer) -> str:
    if starter_offer.state is OfferState.TRAINING:
        return _progress_html(translate, starter_offer)
    if starter_offer.state is not OfferState.OFFERED:
        return ""
    heading = translate("没有显卡也能试一遍", "Try the whole way without a GPU")
    lead_text = translate(
        "在后台从零训练一个小写作模型和一个奖励模型，两核电脑约六分钟。它写的大多通顺，四条里约三条切题。",
        "Train a small writer and a reward model from scratch in the background: about six minutes on two "
        "cores. Most of what it writes reads well, about three in four fit the request.",
    )
    failure_note = note(translate.localize(starter_offer.failed), "bad") if starter_offer.failed else ""
    return f"<h2>{esc(heading)}</h2><p>{esc(lead_text)}</p>{failure_note}"


def _progress_html(translate: Translator, starter_offer: StarterOffer) -> str:
    assert starter_offer.job is not None
    percentage = f"{starter_offer.progress:.0%}"
    heading = translate("入门模型正在训练", "The starter model is being trained")
    waiting_text = translate.localize(starter_offer.job.waiting) if starter_offer.job.waiting else ""
    step_name = (
        translate("写作模型", "the writer")
        if starter_offer.job.kind == "sft"
        else translate("奖励模型", "the reward model")
    )
    job_link = (
        f'<a href="/{translate.lang}/training?job={starter_offer.job.id}">{esc(translate("看进度", "Watch it"))}</a>'
    )
    progress_bar = f'<progress max="1" value="{starter_offer.progress:.4f}" aria-label="{percentage}">{percentage}</progress> {percentage}'
    return f"<h2>{esc(heading)}</h2><p>{progress_bar} · {esc(waiting_text or step_name)} · {job_link}</p>"
