"""The agreement board as HTML, for the home page and the agreement page."""

from backend.agreement.board import JudgeRow
from backend.records import Board
from backend.scoring import TRIVIAL
from ui.say import Say
from ui.widgets import esc, figure, table

NAMES = {
    "length": ("字数", "length"),
    "style": ("表面特征", "style"),
    "ngram": ("字符 n-gram", "char n-gram"),
}


def judge_name(say: Say, name: str) -> str:
    """A judge's name for people: trivial judges are named in the reader's language."""
    return say(*NAMES[name]) if name in NAMES else name


def kind_name(say: Say, kind: str) -> str:
    """What kind of reference it is."""
    names = {
        "dataset": ("导入的标签", "imported labels"),
        "compare": ("两条对比", "comparisons"),
        "validate": ("逐条评判", "blind verdicts"),
    }
    return say(*names[kind])


def board_table(say: Say, board: Board) -> str:
    """One row per judge, the trivial ones shaded; undefined figures are “–” with the reason."""
    head = [
        say("裁判", "Judge"),
        "n",
        say("未评", "unscored"),
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
    return f'<p class="zf-note">{esc(caption)}</p>{table(head, rows)}'


def _row(say: Say, row: JudgeRow) -> list[str]:
    mark = f"<small>{esc(say('对照基线', 'baseline'))}</small>" if row.judge in TRIVIAL else ""
    return [
        f'<b title="{esc(row.version)}">{esc(judge_name(say, row.judge))}</b>{mark}',
        str(row.n),
        str(row.unscored),
        *(
            figure(say, value)
            for value in (
                row.spearman,
                row.kendall,
                row.accuracy,
                row.kappa,
                row.auc,
                row.matched_auc,
            )
        ),
    ]
