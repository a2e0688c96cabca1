"""What people have answered to one item: every answer, the superseded ones too."""

from markupsafe import Markup

from backend.annotation.records import HistoryEntry
from backend.core.enums import Outcome
from ui.components.language import OUTCOME_NAMES, Translator, reason_text
from ui.components.widgets import empty_notice, html_table


def history_html(translate: Translator, history: list[HistoryEntry]) -> Markup:
    """Every answer, the superseded ones too, in the order they were given."""
    if not history:
        return empty_notice(translate("还没有人标过这道题。", "Nobody has answered this item yet."))
    header_cells = [
        translate("标注者", "Rater"),
        translate("回答", "Answer"),
        translate("当时左边是", "Left was"),
        translate("原因", "Reasons"),
        translate("时间（UTC）", "When (UTC)"),
        translate("状态", "State"),
    ]
    return html_table(
        header_cells,
        [_history_cells(translate, history_entry) for history_entry in history],
        ("", "", "", "zf-text"),
    )


def _history_cells(translate: Translator, history_entry: HistoryEntry) -> list[str]:
    state_text = translate("已被取代", "superseded") if history_entry.superseded else translate("有效", "current")
    # After the other states: a withdrawal is itself a row, current or superseded by a later answer.
    if history_entry.withdrawn:
        state_text = translate("撤销", "withdrawal")
    reason_texts = [reason_text(translate, stored_reason) for stored_reason in history_entry.reasons] + (
        [history_entry.note] if history_entry.note else []
    )
    return [
        history_entry.rater,
        _answer_text(translate, history_entry),
        history_entry.left or "–",
        "、".join(reason_texts),
        f"{history_entry.created_at:%Y-%m-%d %H:%M:%S}",
        state_text,
    ]


def _answer_text(translate: Translator, history_entry: HistoryEntry) -> str:
    if history_entry.prefers:
        return translate(f"选 {history_entry.prefers}", f"prefers {history_entry.prefers}")
    outcome_names = {outcome.value: name_pair for outcome, name_pair in OUTCOME_NAMES.items()}
    if history_entry.kind == "comparison" and history_entry.answer in outcome_names:
        return translate(*outcome_names[Outcome(history_entry.answer)])
    return f"{history_entry.kind}: {history_entry.answer}"
