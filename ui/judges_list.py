"""Every judge with version, cost, coverage and agreement at a glance; two judges side by side."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from backend.agreement.board import JudgeRow
from backend.errors import UserError
from backend.records import Board
from backend.scoring.records import Beside, JudgeInfo
from backend.services import Services
from ui.board_view import figure_on
from ui.judge_names import judge_name
from ui.judges_words import choices, kind_of, opinion
from ui.say import Say
from ui.widgets import empty, esc, fill_tab, html_block, note, polite, table

PAGE = 5


def build(services: Services, say: Say, tab: gr.Tab) -> None:
    """The list: at once without agreement, which may have to be computed, then with it."""
    with gr.Row():
        older = gr.Checkbox(label=say("也显示旧版本", "Show older versions too"), elem_id="zf-judges-older")
        refresh = gr.Button(say("刷新", "Refresh"), min_width=100, scale=0, elem_id="zf-judges-refresh")
    listed = html_block(elem_id="zf-judges")

    @polite(say)
    def at_once(with_older: bool = False) -> str:
        return _list(say, _shown(services, with_older), None)

    @polite(say)
    def with_agreement(with_older: bool = False) -> str:
        try:
            board = services.board.board()
        except UserError as error:
            return _list(say, _shown(services, with_older), None) + note(say.of(error))
        return _list(say, _shown(services, with_older, board), board)

    gr.on(None, at_once, older, listed, queue=False, show_progress="hidden").then(
        with_agreement, older, listed, show_progress="hidden"
    )
    gr.on([refresh.click, older.change, tab.select], with_agreement, older, listed, show_progress="hidden")


def _shown(services: Services, with_older: bool, board: Board | None = None) -> list[JudgeInfo]:
    """The newest version of every judge, and the one that stands for it on the board."""
    standing = {(row.judge, row.version) for row in board.rows} if board else set()
    return [
        info
        for info in services.scoring.catalog.judges()
        if with_older or info.newest or (info.name, info.version) in standing
    ]


def _list(say: Say, found: Sequence[JudgeInfo], board: Board | None) -> str:
    if not found:
        return empty(say("还没有裁判评判过，请新建一个。", "No judge has judged anything yet; make one."))
    head = [
        say("裁判", "Judge"),
        say("类型", "Kind"),
        say("已评", "scored"),
        say("未评", "unscored"),
        say("花费", "cost"),
        say("覆盖", "coverage"),
        "Spearman ρ",
        say("准确率", "accuracy"),
    ]
    known = {(row.judge, row.version): row for row in board.rows} if board else {}
    rows = [_row(say, info, known.get((info.name, info.version))) for info in found]
    caption = say(f"一致性参照：{board.reference}", f"Agreement with: {board.reference}") if board else ""
    return table(head, rows, ("zf-text", "zf-left")) + f'<p class="zf-note">{esc(caption)}</p>'


def _row(say: Say, info: JudgeInfo, row: JudgeRow | None) -> list[str]:
    where = f" · {info.endpoint}" if info.endpoint else ""
    older = "" if info.newest else say("（旧版）", " (older)")
    name = (
        f"<b>{esc(judge_name(say, info.name))}</b>{older}<small>{esc(info.version)}{esc(where)} · "
        f"{info.created_at:%Y-%m-%d}</small>"
    )
    cells = [name, esc(kind_of(say, info.kind)), f"{info.scored:,}", f"{info.unscored:,}", f"{info.cost:.4f}"]
    if row is None:
        return [*cells, "–", "–", "–"]
    judged = row.n + row.unscored
    return [
        *cells,
        f"{row.n / judged:.0%}<small>{row.n:,} / {judged:,}</small>" if judged else "–",
        figure_on(say, row.spearman, row.n),
        figure_on(say, row.accuracy, row.n),
    ]


def build_beside(services: Services, say: Say, tab: gr.Tab) -> None:
    """Two judges' explanations of the same greetings."""
    with gr.Row(equal_height=True):
        first = gr.Dropdown(label=say("裁判一", "First judge"), choices=[], elem_id="zf-beside-first")
        second = gr.Dropdown(label=say("裁判二", "Second judge"), choices=[], elem_id="zf-beside-second")
        differ = gr.Checkbox(label=say("只看意见不同的", "Only where they part"), value=True)
    shown = html_block(empty(say("请选两个裁判。", "Choose two judges.")), elem_id="zf-beside")
    page = gr.State(0)
    with gr.Row(visible=False) as pager:
        back = gr.Button(say("上一页", "Previous"), min_width=100)
        forth = gr.Button(say("下一页", "Next"), min_width=100)

    @polite(say)
    def load() -> list[Any]:
        known = choices(services, say)
        return [gr.update(choices=known), gr.update(choices=known)]

    @polite(say)
    def show(number: int, one: int | None, other: int | None, parted: bool) -> list[Any]:
        if not one or not other:
            return [empty(say("请选两个裁判。", "Choose two judges.")), 0, gr.update(visible=False)]
        offset = max(0, number) * PAGE
        found = services.scoring.beside(int(one), int(other), differ=bool(parted), offset=offset, limit=PAGE)
        if not found.rows and number > 0:
            return show(max(0, (found.total - 1) // PAGE), one, other, parted)  # type: ignore[no-any-return]
        if not found.total:
            told = say("没有两个裁判都评过、而且符合条件的祝福。", "Nothing that both judged fits.")
            return [empty(told), 0, gr.update(visible=False)]
        pair = [services.scoring.catalog.judge(int(judge)) for judge in (one, other)]
        cards = "".join(_beside(say, pair, row) for row in found.rows)
        last = max(0, (found.total - 1) // PAGE)
        count = say(
            f"共 {found.total:,} 条，第 {number + 1} / {last + 1} 页",
            f"{found.total:,} in all, page {number + 1} of {last + 1}",
        )
        return [f'{cards}<p class="zf-note">{esc(count)}</p>', number, gr.update(visible=last > 0)]

    asked: list[Any] = [first, second, differ]
    given = [shown, page, pager]
    fill_tab(tab, load, [first, second])
    gr.on([item.change for item in asked], lambda *a: show(0, *a), asked, given, queue=False)
    back.click(lambda n, *a: show(max(0, n - 1), *a), [page, *asked], given, queue=False)
    forth.click(lambda n, *a: show(n + 1, *a), [page, *asked], given, queue=False)


def _beside(say: Say, pair: Sequence[JudgeInfo], row: Beside) -> str:
    sides = "".join(
        f'<div class="zf-card"><h3>{esc(judge_name(say, info.name))}</h3>'
        f"{opinion(say, said, info.scale)}</div>"
        for info, said in zip(pair, (row.first, row.second), strict=True)
    )
    return (
        f'<h3>{esc(row.prompt)}</h3><p class="zf-greeting">{esc(row.greeting)}</p>'
        f'<div class="zf-cards">{sides}</div>'
    )
