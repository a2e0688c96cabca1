"""The first page: what is here, what to do next for each kind of user, and the starter model in one click."""

from typing import Any

import gradio as gr

from backend.agreement.records import AgreementBoard
from backend.core.errors import UserError
from backend.services import Services
from backend.training.service import OfferState, StarterOffer, TrainingService, decide_offer
from ui.components.board import board_table
from ui.components.language import Translator
from ui.components.widgets import empty_notice, esc, fill_on_load, friendly_errors, html_block, note, timer_update

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


def build_page(services: Services, translate: Translator) -> None:
    """Figures, three ways in, and the newest agreement board."""
    html_block(_hero_html(translate))
    build_starter_card(services, translate)
    html_block(_role_cards(translate))
    figures_block = html_block(elem_id="zf-home-figures")
    html_block(f'<h2 class="zf-h">{translate("裁判和人有多一致", "How far judges agree with people")}</h2>')
    board_block = html_block(_computing_note(translate), elem_id="zf-home-board")
    fill_on_load(friendly_errors(translate)(lambda: _corpus_figures(services, translate)), figures_block)
    fill_on_load(friendly_errors(translate)(lambda: _board_html(services, translate)), board_block)


def _computing_note(translate: Translator) -> str:
    return f'<p class="zf-note">{esc(translate("正在计算……", "Computing …"))}</p>'


def _hero_html(translate: Translator) -> str:
    return (
        '<div class="zf-hero"><h1>'
        + esc(translate("让小模型写出人们喜欢的祝福，", "Small models that write greetings people like,"))
        + "<br>"
        + esc(translate("也看清教它的裁判值不值得信。", "and judges you can check before you trust them."))
        + "</h1><p>"
        + esc(
            translate(
                "请人比较祝福，再拿自动裁判和人对照：它是真懂祝福，还是只在数字数？先看清裁判，再用它造数据、训模型。",
                "People compare greetings; automatic judges are held against them. Does a judge know a good "
                "greeting, or does it count characters? Find out before you train on it.",
            )
        )
        + "</p></div>"
    )


def _corpus_figures(services: Services, translate: Translator) -> str:
    corpus_counts = services.corpus.counts()
    count_names = {
        "prompts": ("请求", "prompts"),
        "greetings": ("祝福", "greetings"),
        "pairs": ("偏好对", "preference pairs"),
        "datasets": ("数据集", "data sets"),
        "labels": ("人工与导入标签", "human and imported labels"),
        "comparisons": ("人工对比", "human comparisons"),
    }
    figure_cells = "".join(
        f"<div><b>{corpus_counts[count_key]:,}</b><span>{esc(translate(*name_pair))}</span></div>"
        for count_key, name_pair in count_names.items()
        if count_key in corpus_counts
    )
    return f'<div class="zf-figures">{figure_cells}</div>'


def _role_cards(translate: Translator) -> str:
    role_texts = (
        (
            translate("我要一条祝福", "I need a greeting"),
            translate(
                "说说写给谁、为了什么事，模型写几条，你来挑；不满意就换一条。",
                "Say whom it is for and why; models write a few, you choose, or ask for another.",
            ),
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
    return (
        '<div class="zf-cards">' + "".join(_role_card(translate, *card_texts) for card_texts in role_texts) + "</div>"
    )


def _role_card(translate: Translator, heading: str, lead_text: str, page_path: str, action_label: str) -> str:
    return (
        f'<div class="zf-card"><h2>{esc(heading)}</h2><p>{esc(lead_text)}</p>'
        f'<a class="zf-go" href="/{translate.lang}/{page_path}">{esc(action_label)}</a></div>'
    )


def _board_html(services: Services, translate: Translator) -> str:
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
        else ""
    )
    return board_table(translate, agreement_board) + seed_note
