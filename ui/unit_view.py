"""The worst disagreements of a judge; each opens to the texts and to who said what of them."""

from backend.records import AgreementBoard, Disagreement
from backend.services import Services
from backend.vocabulary import CampaignKind, Flaw
from ui.board_view import board_row_name
from ui.item_view import history_html
from ui.judge_names import judge_name
from ui.say import FLAW_NAMES, Translator
from ui.widgets import empty_notice, esc, html_table

DECIDED_COLUMNS = ("1", "tie", "0")
"""Columns of a confusion table in which the judge has decided."""


def worst_disagreements(services: Services, translate: Translator, board: AgreementBoard, judge_key: str) -> str:
    """Every listed disagreement as a line that opens to its item; `judge` is the key of its row."""
    disagreements, board_row = (
        board.worst[judge_key],
        next(board_row for board_row in board.rows if board_row.key == judge_key),
    )
    heading = translate("分歧最大的条目", "Worst disagreements")
    lead_text = translate(
        "点一行，看全文、每位评判者的说法和标注记录。",
        "Open a line for the texts, every rater's word and the history.",
    )
    if not disagreements:
        return f'<h3 class="zf-h">{esc(heading)}</h3>' + empty_notice(
            _empty_reason(translate, board.confusions[judge_key])
        )
    entry_items = "".join(
        _entry_html(services, translate, board, board_row_name(translate, board_row), entry) for entry in disagreements
    )
    return f'<h3 class="zf-h">{esc(heading)}</h3><p class="zf-note">{esc(lead_text)}</p>{entry_items}'


def _empty_reason(translate: Translator, confusion: dict[str, dict[str, int]]) -> str:
    """Why no disagreement is listed: there is none, or the judge has decided nothing."""
    if any(
        cell_count
        for confusion_row in confusion.values()
        for column_key, cell_count in confusion_row.items()
        if column_key in DECIDED_COLUMNS
    ):
        return translate("人和这个裁判没有分歧。", "People and this judge do not disagree on anything.")
    return translate(
        "条目太少，还分不出这个裁判判好还是判坏，无从比较。",
        "Too few items to tell what this judge decides, so there is nothing to compare.",
    )


def _entry_html(
    services: Services, translate: Translator, board: AgreementBoard, judge_title: str, entry: Disagreement
) -> str:
    human_verdict = _human_verdict(translate, board.kind, entry.human)
    summary = translate(
        f"人：{human_verdict} · {judge_title}：{entry.judge:.2f}",
        f"people: {human_verdict} · {judge_title}: {entry.judge:.2f}",
    )
    return (
        f'<details class="zf-entry"><summary><b>{esc(entry.prompt)}</b><span>{esc(summary)}</span></summary>'
        f"{_texts_html(entry)}"
        f'<p class="zf-note">{esc(translate("裁判理由：", "Judge: "))}{esc(entry.reason)}</p>'
        f"{_verdict_table(services, translate, entry)}{_item_history(services, translate, entry)}</details>"
    )


def _texts_html(entry: Disagreement) -> str:
    marked_texts = [("A", entry.a)] if entry.b is None else [("A", entry.a), ("B", entry.b)]
    text_cards = "".join(
        f'<div class="zf-card"><small>{text_mark if entry.b is not None else ""}</small>{esc(greeting_text)}</div>'
        for text_mark, greeting_text in marked_texts
    )
    return f'<div class="zf-cards">{text_cards}</div>'


def _human_verdict(translate: Translator, campaign_kind: str, human_score: float) -> str:
    if human_score == 0.5:
        return translate("平", "tie")
    if campaign_kind == CampaignKind.COMPARE:
        return "A" if human_score > 0.5 else "B"
    return translate("好", "good") if human_score > 0.5 else translate("不好", "bad")


def _verdict_table(services: Services, translate: Translator, entry: Disagreement) -> str:
    table_rows = [
        [
            esc(_rater_title(translate, rater_verdict.rater)),
            _score_text(translate, rater_verdict.value),
            esc(_reason_text(translate, rater_verdict.reason)),
        ]
        for rater_verdict in services.board.verdicts_on(entry.greeting_id)
    ]
    header_cells = [
        translate("评判者", "Rater"),
        translate("对 A 的评判", "Verdict on A"),
        translate("理由", "Reason"),
    ]
    return html_table(header_cells, table_rows, ("", "", "zf-text"))


def _rater_title(translate: Translator, rater_key: str) -> str:
    judge_key, separator, version = rater_key.partition(" ")
    return f"{judge_name(translate, judge_key)}{separator}{version}"


def _reason_text(translate: Translator, reason_key: str) -> str:
    """A reason that is the name of a flaw, as the built-in corpus has them, in the reader's language."""
    return translate(*FLAW_NAMES[Flaw(reason_key)]) if reason_key in set(Flaw) else reason_key


def _item_history(services: Services, translate: Translator, entry: Disagreement) -> str:
    if entry.item_id is None:
        return ""
    heading = translate(f"标注记录（第 {entry.item_id} 题）", f"Annotation history (item {entry.item_id})")
    return f'<p class="zf-note">{esc(heading)}</p>' + history_html(
        translate, services.annotation.history(entry.item_id)
    )


def _score_text(translate: Translator, score_value: float | None) -> str:
    return esc(translate("未评", "unscored")) if score_value is None else f"{score_value:.2f}"
