"""The worst disagreements of a judge; each opens to the texts and to who said what of them."""

from backend.records import Board, Disagreement
from backend.services import Services
from backend.vocabulary import CampaignKind, Flaw
from ui.board_view import row_name
from ui.item_view import history_html
from ui.judge_names import judge_name
from ui.say import FLAWS, Say
from ui.widgets import empty, esc, table

SIDES = ("1", "tie", "0")
"""Columns of a confusion table in which the judge has decided."""


def worst_list(services: Services, say: Say, board: Board, judge: str) -> str:
    """Every listed disagreement as a line that opens to its item; `judge` is the key of its row."""
    found, row = board.worst[judge], next(row for row in board.rows if row.key == judge)
    heading = say("分歧最大的条目", "Worst disagreements")
    lead = say(
        "点一行，看全文、每位评判者的说法和标注记录。",
        "Open a line for the texts, every rater's word and the history.",
    )
    if not found:
        return f'<h3 class="zf-h">{esc(heading)}</h3>' + empty(_why_none(say, board.confusions[judge]))
    entries = "".join(_entry(services, say, board, row_name(say, row), entry) for entry in found)
    return f'<h3 class="zf-h">{esc(heading)}</h3><p class="zf-note">{esc(lead)}</p>{entries}'


def _why_none(say: Say, confusion: dict[str, dict[str, int]]) -> str:
    """Why no disagreement is listed: there is none, or the judge has decided nothing."""
    if any(count for row in confusion.values() for side, count in row.items() if side in SIDES):
        return say("人和这个裁判没有分歧。", "People and this judge do not disagree on anything.")
    return say(
        "条目太少，还分不出这个裁判判好还是判坏，无从比较。",
        "Too few items to tell what this judge decides, so there is nothing to compare.",
    )


def _entry(services: Services, say: Say, board: Board, judge: str, entry: Disagreement) -> str:
    people = _side(say, board.kind, entry.human)
    told = say(
        f"人：{people} · {judge}：{entry.judge:.2f}",
        f"people: {people} · {judge}: {entry.judge:.2f}",
    )
    return (
        f'<details class="zf-entry"><summary><b>{esc(entry.prompt)}</b><span>{esc(told)}</span></summary>'
        f"{_texts(entry)}"
        f'<p class="zf-note">{esc(say("裁判理由：", "Judge: "))}{esc(entry.reason)}</p>'
        f"{_verdicts(services, say, entry)}{_history(services, say, entry)}</details>"
    )


def _texts(entry: Disagreement) -> str:
    texts = [("A", entry.a)] if entry.b is None else [("A", entry.a), ("B", entry.b)]
    cards = "".join(
        f'<div class="zf-card"><small>{mark if entry.b is not None else ""}</small>{esc(text)}</div>'
        for mark, text in texts
    )
    return f'<div class="zf-cards">{cards}</div>'


def _side(say: Say, kind: str, human: float) -> str:
    if human == 0.5:
        return say("平", "tie")
    if kind == CampaignKind.COMPARE:
        return "A" if human > 0.5 else "B"
    return say("好", "good") if human > 0.5 else say("不好", "bad")


def _verdicts(services: Services, say: Say, entry: Disagreement) -> str:
    rows = [
        [esc(_rater(say, said.rater)), _value(say, said.value), esc(_reason(say, said.reason))]
        for said in services.board.said_of(entry.greeting_id)
    ]
    head = [say("评判者", "Rater"), say("对 A 的评判", "Verdict on A"), say("理由", "Reason")]
    return table(head, rows, ("", "", "zf-text"))


def _rater(say: Say, rater: str) -> str:
    name, gap, version = rater.partition(" ")
    return f"{judge_name(say, name)}{gap}{version}"


def _reason(say: Say, reason: str) -> str:
    """A reason that is the name of a flaw, as the built-in corpus has them, in the reader's language."""
    return say(*FLAWS[Flaw(reason)]) if reason in set(Flaw) else reason


def _history(services: Services, say: Say, entry: Disagreement) -> str:
    if entry.item_id is None:
        return ""
    number = say(f"标注记录（第 {entry.item_id} 题）", f"Annotation history (item {entry.item_id})")
    return f'<p class="zf-note">{esc(number)}</p>' + history_html(
        say, services.annotation.history(entry.item_id)
    )


def _value(say: Say, value: float | None) -> str:
    return esc(say("未评", "unscored")) if value is None else f"{value:.2f}"
