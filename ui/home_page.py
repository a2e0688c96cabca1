"""The first page: what is here, and what to do next for each kind of user."""

from backend.errors import UserError
from backend.records import Board
from backend.services import Services
from ui import home_starter
from ui.board_view import board_table
from ui.say import Say
from ui.widgets import empty, esc, fill, html_block, note, polite


def build(services: Services, say: Say) -> None:
    """Figures, three ways in, and the newest agreement board."""
    html_block(_hero(say))
    home_starter.build(services, say)
    html_block(_roles(say))
    figures = html_block(elem_id="zf-home-figures")
    html_block(f'<h2 class="zf-h">{say("裁判和人有多一致", "How far judges agree with people")}</h2>')
    board = html_block(_waiting(say), elem_id="zf-home-board")
    fill(polite(say)(lambda: _figures(services, say)), figures)
    fill(polite(say)(lambda: _board(services, say)), board)


def _waiting(say: Say) -> str:
    return f'<p class="zf-note">{esc(say("正在计算……", "Computing …"))}</p>'


def _hero(say: Say) -> str:
    return (
        '<div class="zf-hero"><h1>'
        + esc(say("让小模型写出人们喜欢的祝福，", "Small models that write greetings people like,"))
        + "<br>"
        + esc(say("也看清教它的裁判值不值得信。", "and judges you can check before you trust them."))
        + "</h1><p>"
        + esc(
            say(
                "请人比较祝福，再拿自动裁判和人对照：它是真懂祝福，还是只在数字数？"
                "先看清裁判，再用它造数据、训模型。",
                "People compare greetings; automatic judges are held against them. Does a judge know a good "
                "greeting, or does it count characters? Find out before you train on it.",
            )
        )
        + "</p></div>"
    )


def _figures(services: Services, say: Say) -> str:
    counts = services.corpus.counts()
    names = {
        "prompts": ("请求", "prompts"),
        "greetings": ("祝福", "greetings"),
        "pairs": ("偏好对", "preference pairs"),
        "datasets": ("数据集", "data sets"),
        "labels": ("人工与导入标签", "human and imported labels"),
        "comparisons": ("人工对比", "human comparisons"),
    }
    cells = "".join(
        f"<div><b>{counts[key]:,}</b><span>{esc(say(*name))}</span></div>"
        for key, name in names.items()
        if key in counts
    )
    return f'<div class="zf-figures">{cells}</div>'


def _roles(say: Say) -> str:
    cards = (
        (
            say("我要一条祝福", "I need a greeting"),
            say(
                "说说写给谁、为了什么事，模型写几条，你来挑；不满意就换一条。",
                "Say whom it is for and why; models write a few, you choose, or ask for another.",
            ),
            "write",
            say("写一条祝福", "Write a greeting"),
        ),
        (
            say("我来标注", "I annotate"),
            say(
                "读祝福，说哪条更好。不用懂技术，一条一个键，十分钟就能标几十条。",
                "Read greetings and say which is better. No technical knowledge; one key each, dozens in ten "
                "minutes.",
            ),
            "annotate",
            say("开始标注", "Start annotating"),
        ),
        (
            say("我做研究", "I do research"),
            say(
                "带来自己的数据和模型，看每个裁判和人差多远，再用信得过的裁判造数据、训模型。",
                "Bring data and models, see how far each judge is from people, then make data and train with "
                "the ones you trust.",
            ),
            "agreement",
            say("看一致性", "See agreement"),
        ),
    )
    return '<div class="zf-cards">' + "".join(_card(say, *card) for card in cards) + "</div>"


def _card(say: Say, heading: str, lead: str, path: str, action: str) -> str:
    return (
        f'<div class="zf-card"><h2>{esc(heading)}</h2><p>{esc(lead)}</p>'
        f'<a class="zf-go" href="/{say.lang}/{path}">{esc(action)}</a></div>'
    )


def _board(services: Services, say: Say) -> str:
    try:
        board: Board = services.board.board()
    except UserError as error:
        return empty(say.of(error))
    seed = (
        note(
            say(
                "自带语料的标签是作者写作时的意图，不是读者投票；想知道读者怎么看，请先标注。",
                "Labels of the built-in corpus are its authors' intent, not readers' votes; annotate to "
                "learn those.",
            )
        )
        if board.reference == "seed"
        else ""
    )
    return board_table(say, board) + seed
