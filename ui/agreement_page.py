"""The agreement page: a human reference, every judge beside it, and the worst disagreements."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from backend.agreement import minimums
from backend.board import board_csv
from backend.corpus.export_folders import export_path
from backend.errors import UserError
from backend.files import write_whole
from backend.records import Board
from backend.services import Services
from ui.board_view import board_table, kind_name, models_table, row_name
from ui.say import Say
from ui.unit_view import worst_list
from ui.widgets import empty, esc, figure, html_block, note, polite, table, title

BINS = 10
OCCASIONS = 12


@dataclass(frozen=True)
class Blocks:
    """The page's blocks that handlers read or fill."""

    reference: gr.Dropdown
    refresh: gr.Button
    download: gr.DownloadButton
    board: gr.HTML
    judge: gr.Dropdown
    curve: gr.BarPlot
    occasions: gr.BarPlot
    confusion: gr.HTML
    worst: gr.HTML


def build(services: Services, say: Say) -> None:
    """Reference → board → one judge in detail → its worst disagreements."""
    html_block(
        title(
            say("一致性", "Agreement"),
            say(
                "选一个人工参照，看每个裁判和人有多一致。字数、表面特征、n-gram 三条基线始终在场："
                "赢不过它们的裁判，多半只是在数字数。",
                "Choose a human reference and see every judge beside it. Three baselines are always there: "
                "a judge that does not beat them is probably counting characters.",
            ),
        ),
    )
    _wire(services, say, _blocks(say))


def _blocks(say: Say) -> Blocks:
    with gr.Row(elem_classes="zf-tools-row"):
        reference = gr.Dropdown(
            label=say("人工参照", "Human reference"), choices=[], scale=3, elem_id="zf-reference"
        )
        refresh = gr.Button(say("刷新", "Refresh"), scale=1, min_width=100, elem_id="zf-agreement-refresh")
        download = gr.DownloadButton(
            say("下载 CSV", "Download CSV"), scale=1, min_width=120, elem_id="zf-agreement-csv"
        )
    board = html_block(elem_id="zf-board")
    judge = gr.Dropdown(
        label=say("细看一个裁判", "One judge in detail"), choices=[], visible=False, elem_id="zf-judge"
    )
    with gr.Row():
        curve, occasions = _curve(say), _by_occasion(say)
    confusion = html_block(elem_id="zf-confusion")
    worst = html_block(elem_id="zf-worst")
    return Blocks(reference, refresh, download, board, judge, curve, occasions, confusion, worst)


def _curve(say: Say) -> gr.BarPlot:
    return gr.BarPlot(
        x="group",
        y="share",
        title=say("裁判分数越高，人越喜欢吗", "People's view by judge score"),
        x_title=say("裁判分数，由低到高分组（条数）", "judge score, low to high (n)"),
        tooltip=["group", "share", "n"],
        y_title=say("人说好的比例", "share people call good"),
        y_lim=[0, 1],
        height=260,
        min_width=320,
        visible=False,
        sort=None,
    )


def _by_occasion(say: Say) -> gr.BarPlot:
    return gr.BarPlot(
        x="occasion",
        y="accuracy",
        title=say("各场合的准确率", "Accuracy by occasion"),
        x_title=" ",
        tooltip=["occasion", "accuracy", "n"],
        x_label_angle=-40,
        y_title=say("准确率", "accuracy"),
        y_lim=[0, 1],
        height=260,
        min_width=320,
        visible=False,
        sort="-y",
    )


def _wire(services: Services, say: Say, blocks: Blocks) -> None:
    @polite(say)
    def load() -> Any:
        choices = [
            (f"{info.name} · {kind_name(say, info.kind)} · {info.labels}", info.name)
            for info in services.board.references()
        ]
        return gr.update(choices=choices, value=choices[0][1] if choices else None)

    @polite(say)
    def show(name: str | None, progress: gr.Progress = gr.Progress()) -> list[Any]:
        try:
            board = services.board.board(name, progress=lambda share, what: progress(share, desc=what))
        except UserError as error:
            return [
                empty(say.of(error)),
                gr.update(choices=[], visible=False),
                gr.update(visible=False),
            ]
        names = [(row_name(say, row), row.key) for row in board.rows]
        last = [row.key for row in board.rows if not row.newer][-1]
        return [
            _summary(say, board) + board_table(say, board) + _remarks(say, board) + models_table(say, board),
            gr.update(choices=names, value=last, visible=True),
            gr.update(value=str(_csv_file(services, board)), visible=True),
        ]

    @polite(say)
    def explain(name: str | None, chosen: str | None) -> list[Any]:
        hidden = [gr.update(visible=False), gr.update(visible=False), "", ""]
        if not name or not chosen:
            return hidden
        board = services.board.board(name)
        if chosen not in board.points:
            return hidden
        groups, cells = _groups(board, chosen), _cells(board, chosen)
        return [
            _drawn(groups),
            gr.update(value=cells, visible=bool(len(cells))),
            _not_drawn(say, board, chosen) + _confusion(say, board, chosen),
            worst_list(services, say, board, chosen),
        ]

    gr.on(None, load, None, blocks.reference, queue=False)
    shown = [blocks.board, blocks.judge, blocks.download]
    chosen = [blocks.reference, blocks.judge]
    details = [blocks.curve, blocks.occasions, blocks.confusion, blocks.worst]
    for ready in (
        blocks.reference.change(show, blocks.reference, shown),
        blocks.refresh.click(show, blocks.reference, shown),
    ):
        ready.then(explain, chosen, details)
    blocks.judge.input(explain, chosen, details)


def _summary(say: Say, board: Board) -> str:
    alpha = figure(say, board.alpha.ordinal)
    if board.alpha.ordinal.value is not None:
        alpha += f"<small>n = {board.alpha.items:,}</small>"
    cells = (
        (str(board.items), say("有人工标签的条目", "items with human labels")),
        (str(board.raters), say("标注者", "raters")),
        (alpha, say("标注者之间 Krippendorff α（有序）", "Krippendorff α among raters (ordinal)")),
    )
    inside = "".join(f"<div><b>{value}</b><span>{esc(name)}</span></div>" for value, name in cells)
    return f'<div class="zf-figures">{inside}</div>'


def _remarks(say: Say, board: Board) -> str:
    """Sentences about what the table alone would hide."""
    told = []
    by_name = {row.judge: row for row in board.rows}
    length = by_name.get("length")
    if length and length.auc.value is not None and max(length.auc.value, 1 - length.auc.value) >= 0.7:
        told.append(
            say(
                f"只数字数，AUC 就有 {length.auc.value:.2f}：长短本身就透露答案，请看“等长 AUC”。",
                f"Counting characters alone reaches AUC {length.auc.value:.2f}: length gives these "
                "labels away; look at the length-matched AUC.",
            )
        )
    if any(row.unscored for row in board.rows):
        told.append(
            say(
                "没有评判不算 0 分：“未问”是没拿去问过的条目（两条对比要两条都问过才算问过），"
                "“无结论”是问了却没给出评判的。",
                "What has no verdict is not counted as zero: “never asked” items were not put to the judge "
                "(of a comparison both greetings must have been), “no verdict” ones were, and it gave none.",
            )
        )
    if board.reference == "seed":
        told.append(
            say(
                "自带语料的标签是作者写作时的意图，不是读者投票。",
                "Labels of the built-in corpus are its authors' intent, not readers' votes.",
            )
        )
    return "".join(note(text) for text in told)


def _csv_file(services: Services, board: Board) -> Path:
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in board.reference)
    path = export_path(services.settings.home, f"agreement-{safe[:60]}.csv")
    write_whole(path, board_csv(board), "utf-8-sig")
    return path


def _drawn(groups: pd.DataFrame) -> Any:
    """The chart of the groups in their order: left to itself it puts “10” after “1”."""
    return gr.update(value=groups, sort=list(groups["group"]), visible=bool(len(groups)))


def _groups(board: Board, judge: str) -> pd.DataFrame:
    """Mean human value in up to ten groups by the judge's score; equal scores stay in one group.

    No group is smaller than `minimums.ITEMS`; empty where that leaves fewer than two.
    """
    points = board.points[judge]
    most = min(BINS, len(points) // minimums.ITEMS)
    if most < 2:
        return pd.DataFrame({"group": [], "share": [], "n": []})
    frame = pd.DataFrame({"judge": [p.judge for p in points], "human": [p.human for p in points]})
    rank = frame["judge"].rank(method="average", pct=True)
    place = (rank * most).clip(upper=most - 1e-9).astype(int)
    frame["group"] = place.map(_joined(place.value_counts().sort_index().to_dict()))
    found = frame.groupby("group", as_index=False).agg(share=("human", "mean"), n=("human", "size"))
    found["group"] = [f"{number + 1} ({n})" for number, n in enumerate(found["n"])]
    return found if len(found) > 1 else found.iloc[:0]


def _joined(sizes: dict[int, int]) -> dict[int, int]:
    """The group of each place, given its items in rising order: small places join their neighbours."""
    group, held, group_of = 0, 0, {}
    for place, size in sizes.items():
        if held >= minimums.ITEMS:
            group, held = group + 1, 0
        group_of[place], held = group, held + size
    last = group - 1 if group and held < minimums.ITEMS else group
    return {place: min(one, last) for place, one in group_of.items()}


def _cells(board: Board, judge: str) -> pd.DataFrame:
    """The occasions that have enough items for a share, the most frequent first."""
    known = [c for c in board.occasions[judge] if c.occasion and c.accuracy is not None]
    return pd.DataFrame(
        {"occasion": f"{c.occasion} ({c.n})", "accuracy": c.accuracy, "n": c.n} for c in known[:OCCASIONS]
    )


def _not_drawn(say: Say, board: Board, judge: str) -> str:
    """How many occasions have too few items for a bar."""
    few = [c for c in board.occasions[judge] if c.occasion and c.accuracy is None]
    if not few:
        return ""
    items = sum(c.n for c in few)
    told = say(
        f"另有 {len(few)} 个场合不足 {minimums.ITEMS} 条（共 {items} 条），不画准确率。",
        f"Not drawn: {len(few)} occasions with fewer than {minimums.ITEMS} items each ({items} in all).",
    )
    return f'<p class="zf-note">{esc(told)}</p>'


def _confusion(say: Say, board: Board, judge: str) -> str:
    names = {
        "1": say("A 更好", "A better") if board.kind == "compare" else say("好", "good"),
        "tie": say("平", "tie"),
        "0": say("B 更好", "B better") if board.kind == "compare" else say("不好", "bad"),
        "undecided": say("分不出", "undecided"),
        "without_verdict": say("无结论", "no verdict"),
        "never_asked": say("未问", "never asked"),
    }
    counts = board.confusions[judge]
    always = ("1", "tie", "0")
    columns = [name for name in names if name in always or any(counts[side][name] for side in counts)]
    rows = [
        [esc(names[side]), *(str(counts[side][column]) for column in columns)]
        for side in counts
        if any(counts[side].values())
    ]
    head = [say("人 ＼ 裁判", "people \\ judge"), *(esc(names[column]) for column in columns)]
    return f"<h3 class='zf-h'>{say('混淆表', 'Confusion')}</h3>{table(head, rows)}"
