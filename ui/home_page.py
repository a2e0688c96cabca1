"""The first page: what is here, and what to do next for each kind of user."""

from backend.errors import UserError
from backend.records import Board
from backend.services import Services
from ui.board_view import board_table
from ui.say import Say
from ui.widgets import empty, esc, fill, html_block, note, polite


def build(services: Services, say: Say) -> None:
    """Figures, three ways in, and the newest agreement board."""
    html_block(_hero(say))
    figures = html_block(elem_id="zf-home-figures")
    html_block(_roles(say))
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
            say("我来标注", "I annotate"),
            (
                say("写下名字，选一个任务", "Give your name and choose a campaign"),
                say("看两条祝福，按 ← 或 → 选更好的", "Read two greetings, press ← or → for the better one"),
                say("按错了？按 Z 撤销", "Wrong key? Z takes it back"),
            ),
            "annotate",
            say("开始标注", "Start annotating"),
        ),
        (
            say("我做研究", "I do research"),
            (
                say("导入自己的数据，格式自动识别", "Import your data; the format is recognised"),
                say("新建任务，请几个人来标", "Make a campaign and invite raters"),
                say("看每个裁判和人差多远", "See how far each judge is from people"),
            ),
            "agreement",
            say("看一致性", "See agreement"),
        ),
        (
            say("我管数据", "I keep the data"),
            (
                say("看看语料里有什么", "Look at what the corpus holds"),
                say("导入、去重，坏行有行号和原因", "Import; bad rows come with line and reason"),
                say("导出成 TRL、ShareGPT、CSV、Parquet", "Export to TRL, ShareGPT, CSV, Parquet"),
            ),
            "corpus",
            say("打开语料", "Open the corpus"),
        ),
    )
    return '<div class="zf-cards">' + "".join(_card(say, *card) for card in cards) + "</div>"


def _card(say: Say, heading: str, steps: tuple[str, ...], path: str, action: str) -> str:
    items = "".join(f"<li>{esc(step)}</li>" for step in steps)
    return (
        f'<div class="zf-card"><h2>{esc(heading)}</h2><ol>{items}</ol>'
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
