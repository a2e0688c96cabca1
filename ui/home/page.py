"""The first page: what is here, what to do next for each kind of user, and the starter model in one click."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.agreement.records import AgreementBoard
from backend.core.errors import UserError
from backend.services import Services
from backend.training.service import OfferState, StarterOffer, TrainingService, decide_offer
from ui.components.board import board_table
from ui.components.jobs import progress_bar
from ui.components.language import Translator
from ui.components.templates import render, render_part
from ui.components.widgets import (
    caption_html,
    empty_notice,
    fill_on_load,
    friendly_errors,
    html_block,
    note,
    timer_update,
)

# The starter trains for minutes: a bar that moves every five seconds is lively enough.
POLL_INTERVAL_S = 5


def build_starter_card(services: Services, translate: Translator) -> None:
    """A card that is there only while it has something to say, and a button while there is a choice."""
    with gr.Row(elem_classes="zf-starter", visible=False) as starter_row:
        message_block = html_block(elem_id="zf-home-starter")
        with gr.Column(scale=0, min_width=200, visible=False) as button_column:
            train_button = gr.Button(
                translate("训练入门模型", "Train the starter"), variant="primary", elem_id="zf-home-train"
            )
    # Off until the first answer says that something trains: most visitors of the first page need no poll.
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
        # Read anew and not assumed: another browser may have started the training in the same moment.
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


def _offer_html(translate: Translator, starter_offer: StarterOffer) -> Markup:
    if starter_offer.state is OfferState.TRAINING:
        return _progress_html(translate, starter_offer)
    if starter_offer.state is not OfferState.OFFERED:
        return Markup()
    failure_text = translate.localize(starter_offer.failed) if starter_offer.failed else ""
    return render("home/templates/starter_offer.html", translate=translate, failure=failure_text)


def _progress_html(translate: Translator, starter_offer: StarterOffer) -> Markup:
    assert starter_offer.job is not None
    waiting_text = translate.localize(starter_offer.job.waiting) if starter_offer.job.waiting else ""
    step_name = (
        translate("写作模型", "the writer")
        if starter_offer.job.kind == "sft"
        else translate("奖励模型", "the reward model")
    )
    return render(
        "home/templates/starter_progress.html",
        translate=translate,
        progress=progress_bar(starter_offer.progress),
        step_text=waiting_text or step_name,
        job_id=starter_offer.job.id,
    )


def build_page(services: Services, translate: Translator) -> None:
    """Figures, three ways in, and the newest agreement board."""
    html_block(render("home/templates/hero.html", translate=translate))
    build_starter_card(services, translate)
    html_block(_role_cards(translate, services.settings.starter == "shipped"))
    figures_block = html_block(elem_id="zf-home-figures")
    html_block(render_part("heading", translate("裁判和人有多一致", "How far judges agree with people")))
    # After new labels the board is computed anew, which takes seconds: the page opens without it.
    board_block = html_block(caption_html(translate("正在计算……", "Computing …")), elem_id="zf-home-board")
    # Two events: the figures are there at once, the board after seconds.
    fill_on_load(friendly_errors(translate)(lambda: _corpus_figures(services, translate)), figures_block)
    fill_on_load(friendly_errors(translate)(lambda: _board_html(services, translate)), board_block)


def _corpus_figures(services: Services, translate: Translator) -> Markup:
    corpus_counts = services.corpus.counts()
    count_names = {
        "prompts": ("请求", "prompts"),
        "greetings": ("祝福", "greetings"),
        "pairs": ("偏好对", "preference pairs"),
        "datasets": ("数据集", "data sets"),
        "labels": ("人工与导入标签", "human and imported labels"),
        "comparisons": ("人工对比", "human comparisons"),
    }
    figure_cells = [
        (f"{corpus_counts[count_key]:,}", translate(*name_pair))
        for count_key, name_pair in count_names.items()
        if count_key in corpus_counts
    ]
    return render_part("figures", figure_cells)


def _role_cards(translate: Translator, has_writer: bool) -> Markup:
    """What to do next for each kind of visitor; `has_writer` says that the starter came along."""
    writer_text = (
        translate("自带一个小模型，打开就能写。", " A small model comes along and writes at once.")
        if has_writer
        else ""
    )
    role_texts = (
        (
            translate("我要一条祝福", "I need a greeting"),
            translate(
                "说说写给谁、为了什么事，模型写几条，你来挑；不满意就换一条。",
                "Say whom it is for and why; models write a few, you choose, or ask for another.",
            )
            + writer_text,
            "write",
            translate("写一条祝福", "Write a greeting"),
        ),
        (
            translate("我来标注", "I annotate"),
            translate(
                "读祝福，说哪条更好。不用懂技术，一条一个键，十分钟就能标几十条。",
                "Read greetings and say which is better. No technical knowledge; one key each, dozens in ten minutes.",
            ),
            "annotate",
            translate("开始标注", "Start annotating"),
        ),
        (
            translate("我做研究", "I do research"),
            translate(
                "带来自己的数据和模型，看每个裁判和人差多远，再用信得过的裁判造数据、训模型。",
                "Bring data and models, see how far each judge is from people, then make data and train with "
                "the ones you trust.",
            ),
            "agreement",
            translate("看一致性", "See agreement"),
        ),
    )
    return render("home/templates/roles.html", translate=translate, roles=role_texts)


def _board_html(services: Services, translate: Translator) -> Markup:
    try:
        agreement_board: AgreementBoard = services.board.board()
    except UserError as error:
        return empty_notice(translate.localize(error))
    seed_note = (
        note(
            translate(
                "自带语料的标签是作者写作时的意图，不是读者投票；想知道读者怎么看，请先标注。",
                "Labels of the built-in corpus are its authors' intent, not readers' votes; annotate to learn those.",
            )
        )
        if agreement_board.reference == "seed"
        else Markup()
    )
    return board_table(translate, agreement_board) + seed_note
