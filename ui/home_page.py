"""The first page: what is here, and what to do next for each kind of user."""

from backend.errors import UserError
from backend.records import AgreementBoard
from backend.services import Services
from ui import home_starter
from ui.board_view import board_table
from ui.say import Translator
from ui.widgets import empty_notice, esc, fill_on_load, friendly_errors, html_block, note


def build_page(services: Services, translate: Translator) -> None:
    """Figures, three ways in, and the newest agreement board."""
    html_block(_hero_html(translate))
    home_starter.build_starter_card(services, translate)
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
