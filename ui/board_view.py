"""The agreement board as HTML, for the home page and the agreement page."""

from backend.agreement.board import JudgeRow
from backend.agreement.figures import Figure
from backend.records import Board, ModelRow
from backend.scoring import TRIVIAL
from ui.judge_names import judge_name
from ui.say import Say
from ui.widgets import esc, figure, note, table

SHOWN = ("spearman", "kendall", "accuracy", "kappa", "auc", "matched_auc")


def kind_name(say: Say, kind: str) -> str:
    """What kind of reference it is."""
    names = {
        "dataset": ("导入的标签", "imported labels"),
        "compare": ("两条对比", "comparisons"),
        "validate": ("逐条评判", "blind verdicts"),
    }
    return say(*names[kind])


def row_name(say: Say, row: JudgeRow) -> str:
    """A judge on the board for people, with its version where it stands there twice."""
    name = judge_name(say, row.judge)
    return say(f"{name}（新版 {row.version[:8]}）", f"{name} (new {row.version[:8]})") if row.newer else name


def board_table(say: Say, board: Board) -> str:
    """One row per judge, the trivial ones marked; undefined figures are “–” with the reason."""
    head = [
        say("裁判", "Judge"),
        "n",
        say("未问", "never asked"),
        say("无结论", "no verdict"),
        say("平", "ties"),
        "Spearman ρ",
        "Kendall τ-b",
        say("准确率", "accuracy"),
        "Cohen κ",
        "AUC",
        say("等长 AUC", "length-matched AUC"),
    ]
    rows = [_row(say, row) for row in board.rows]
    caption = say(
        f"参照：{board.reference}（{kind_name(say, board.kind)}，{board.items} 条有标签）",
        f"Reference: {board.reference} ({kind_name(say, board.kind)}, {board.items} labelled)",
    )
    return f'<p class="zf-note">{esc(caption)}</p>{table(head, rows)}{_versions(say, board)}'


def figure_on(say: Say, value: Figure, n: int | None) -> str:
    """A figure with its interval, and with its own number of items where that is not the row's `n`."""
    if value.value is None:
        return figure(say, value)
    none = (
        f'<small title="{esc(say.of(value.why))}">{say("无区间", "no interval")}</small>' if value.why else ""
    )
    own = "" if value.n in (None, n) else f"<small>n = {value.n:,}</small>"
    return figure(say, value) + none + own


def _row(say: Say, row: JudgeRow) -> list[str]:
    mark = f"<small>{esc(say('对照基线', 'baseline'))}</small>" if row.judge in TRIVIAL else ""
    return [
        f'<b title="{esc(row.version)}">{esc(row_name(say, row))}</b>{mark}',
        *(f"{count:,}" for count in (row.n, row.never_asked, row.without_verdict, row.ties)),
        *(figure_on(say, getattr(row, name), row.n) for name in SHOWN),
    ]


def _versions(say: Say, board: Board) -> str:
    """Which version a row is, where a judge has a newer one that has judged less."""
    newer = [judge_name(say, row.judge) for row in board.rows if row.newer]
    if not newer:
        return ""
    return note(
        say(
            f"{'、'.join(newer)}：新版在这份参照上评得还少，以评得全的那一版为准，新版另列一行。",
            f"{', '.join(newer)}: the new version has judged fewer of these items so far; the complete one "
            "stands for the judge, the new one has a row of its own.",
        )
    )


def models_table(say: Say, board: Board) -> str:
    """What people and judges think of each model that wrote here; empty where none did."""
    if not board.models:
        return ""
    compare = board.kind == "compare"
    head = [
        say("模型", "Model"),
        say("谁的看法", "By whom"),
        say("胜率", "wins") if compare else say("优秀率", "excellent"),
        "n",
        say("平", "ties"),
        say("未问", "never asked"),
        say("没有看法", "no opinion"),
    ]
    rows = [_model_row(say, row) for row in board.models]
    lead = say(
        "同一批题里，人和每个裁判各自的看法；平局算半胜，小字是 95% 区间。",
        "The same items in the eyes of people and of each judge; a tie is half a win, intervals are 95 %.",
    )
    return (
        f'<h2 class="zf-h">{esc(say("各模型写得怎样", "How well each model writes"))}</h2>'
        f'<p class="zf-note">{esc(lead)}</p><div id="zf-models">{table(head, rows, ("", "zf-by"))}</div>'
    )


def _model_row(say: Say, row: ModelRow) -> list[str]:
    by = judge_name(say, row.by) if row.by else say("人", "people")
    return [
        f"<b>{esc(row.model)}</b><small>{esc(row.generator)}</small>",
        f"<b>{esc(by)}</b>" if not row.by else esc(by),
        figure(say, row.figure),
        *(f"{count:,}" for count in (row.n, row.ties, row.never_asked, row.missing - row.never_asked)),
    ]
