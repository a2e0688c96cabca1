"""What models and judges look like beside people: models on the board, the worst disagreements of a judge."""

from backend.agreement.records import AgreementBoard, Disagreement, ModelRow
from backend.core.enums import CampaignKind, Flaw
from backend.services import Services
from ui.components.board import board_row_name
from ui.components.history import history_html
from ui.components.judges import judge_name
from ui.components.language import FLAW_NAMES, Translator
from ui.components.widgets import empty_notice, esc, figure_html, html_table


def models_table(translate: Translator, agreement_board: AgreementBoard) -> str:
    """What people and judges think of each model that wrote here; empty where none did."""
    if not agreement_board.models:
        return ""
    is_comparison = agreement_board.kind == "compare"
    header_cells = [
        translate("模型", "Model"),
        translate("谁的看法", "By whom"),
        translate("胜率", "wins") if is_comparison else translate("优秀率", "excellent"),
        "n",
        translate("平", "ties"),
        translate("未问", "never asked"),
        translate("没有看法", "no opinion"),
    ]
    table_rows = [_model_cells(translate, model_row) for model_row in agreement_board.models]
    lead_text = translate(
        "同一批题里，人和每个裁判各自的看法；平局算半胜，小字是 95% 区间。",
        "The same items in the eyes of people and of each judge; a tie is half a win, intervals are 95 %.",
    )
    return (
        f'<h2 class="zf-h">{esc(translate("各模型写得怎样", "How well each model writes"))}</h2>'
        f'<p class="zf-note">{esc(lead_text)}</p><div id="zf-models">{html_table(header_cells, table_rows, ("", "zf-by"))}</div>'
    )


def _model_cells(translate: Translator, model_row: ModelRow) -> list[str]:
    judged_by = judge_name(translate, model_row.by) if model_row.by else translate("人", "people")
    return [
        f"<b>{esc(model_row.model)}</b><small>{esc(model_row.generator)}</small>",
        f"<b>{esc(judged_by)}</b>" if not model_row.by else esc(judged_by),
        figure_html(translate, model_row.figure),
        *(
            f"{item_count:,}"
            for item_count in (
                model_row.n,
                model_row.ties,
                model_row.never_asked,
                model_row.missing - model_row.never_asked,
            )
        ),
    ]


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
