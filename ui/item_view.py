"""One item for the researcher: its texts, where they come from, and every answer ever given."""

from backend.records import HistoryEntry
from backend.services import Services
from backend.vocabulary import Flaw, Outcome
from ui.say import FLAWS, OUTCOMES, Say
from ui.widgets import empty, esc, table


def item_html(services: Services, say: Say, item_id: int) -> str:
    """The item and its history. Raises NotFound."""
    item = services.annotation.item(item_id)
    sides = [("A", item.a)] if item.b is None else [("A", item.a), ("B", item.b)]
    cards = "".join(
        f'<div class="zf-card"><small>{mark} · {esc(side.source)}</small>{esc(side.text)}</div>'
        for mark, side in sides
    )
    return (
        f'<h3 class="zf-h">{esc(item.prompt)}</h3><p class="zf-note">{esc(item.campaign)}</p>'
        f'<div class="zf-cards">{cards}</div>{history_html(say, services.annotation.history(item_id))}'
    )


def history_html(say: Say, history: list[HistoryEntry]) -> str:
    """Every answer, the superseded ones too, in the order they were given."""
    if not history:
        return empty(say("还没有人标过这道题。", "Nobody has answered this item yet."))
    head = [
        say("标注者", "Rater"),
        say("回答", "Answer"),
        say("当时左边是", "Left was"),
        say("原因", "Reasons"),
        say("时间（UTC）", "When (UTC)"),
        say("状态", "State"),
    ]
    return table(head, [_row(say, given) for given in history], ("", "", "", "zf-text"))


def _row(say: Say, given: HistoryEntry) -> list[str]:
    state = say("已被取代", "superseded") if given.superseded else say("有效", "current")
    if given.withdrawn:
        state = say("撤销", "withdrawal")
    reasons = [say(*FLAWS[Flaw(reason)]) for reason in given.reasons] + ([given.note] if given.note else [])
    return [
        esc(given.rater),
        esc(_answer(say, given)),
        given.left or "–",
        esc("、".join(reasons)),
        f"{given.created_at:%Y-%m-%d %H:%M:%S}",
        esc(state),
    ]


def _answer(say: Say, given: HistoryEntry) -> str:
    if given.prefers:
        return say(f"选 {given.prefers}", f"prefers {given.prefers}")
    known = {outcome.value: names for outcome, names in OUTCOMES.items()}
    if given.kind == "comparison" and given.answer in known:
        return say(*known[Outcome(given.answer)])
    return f"{given.kind}: {given.answer}"
