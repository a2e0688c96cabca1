"""What models and judges look like beside people: models on the board, the worst disagreements of a judge."""

from typing import Any

from markupsafe import Markup

from backend.agreement.records import AgreementBoard, Disagreement, ModelRow
from backend.core.enums import CampaignKind
from backend.services import Services
from ui.components.board import board_row_name
from ui.components.history import history_html
from ui.components.judges import judge_name
from ui.components.language import Translator, reason_text
from ui.components.templates import render
from ui.components.widgets import figure_html, html_table


def models_table(translate: Translator, agreement_board: AgreementBoard) -> Markup:
    """What people and judges think of each model that wrote here; empty where none did."""
    if not agreement_board.models:
        return Markup()
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
    return render(
        "agreement/templates/models.html",
        translate=translate,
        header_cells=header_cells,
        model_lines=[_model_line(translate, model_row) for model_row in agreement_board.models],
    )


def _model_line(translate: Translator, model_row: ModelRow) -> tuple[ModelRow, str, Markup, int]:
    """A row, whose view it is, its figure, and how many items were asked without an opinion."""
    judged_by = judge_name(translate, model_row.by) if model_row.by else translate("人", "people")
    without_opinion = model_row.missing - model_row.never_asked
    return model_row, judged_by, figure_html(translate, model_row.figure), without_opinion


# Columns of a confusion table in which the judge has decided.
DECIDED_COLUMNS = ("1", "tie", "0")


def worst_disagreements(services: Services, translate: Translator, board: AgreementBoard, judge_key: str) -> Markup:
    """Every listed disagreement as a line that opens to its item.

    judge_key: the key of the judge's row on the board.
    """
    board_row = next(board_row for board_row in board.rows if board_row.key == judge_key)
    judge_title = board_row_name(translate, board_row)
    return render(
        "agreement/templates/disagreements.html",
        translate=translate,
        entries=[_entry_values(services, translate, board, judge_title, entry) for entry in board.worst[judge_key]],
        empty_reason=_empty_reason(translate, board.confusions[judge_key]),
    )


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


def _entry_values(
    services: Services, translate: Translator, board: AgreementBoard, judge_title: str, entry: Disagreement
) -> dict[str, Any]:
    """What the template names of one disagreement."""
    human_verdict = _human_verdict(translate, board.kind, entry.human)
    return {
        "prompt": entry.prompt,
        "summary": translate(
            f"人：{human_verdict} · {judge_title}：{entry.judge:.2f}",
            f"people: {human_verdict} · {judge_title}: {entry.judge:.2f}",
        ),
        "greetings": [("", entry.a)] if entry.b is None else [("A", entry.a), ("B", entry.b)],
        "reason": entry.reason,
        "verdicts": _verdict_table(services, translate, entry),
        "item_id": entry.item_id,
        "history": _item_history(services, translate, entry),
    }


def _human_verdict(translate: Translator, campaign_kind: str, human_score: float) -> str:
    if human_score == 0.5:
        return translate("平", "tie")
    if campaign_kind == CampaignKind.COMPARE:
        return "A" if human_score > 0.5 else "B"
    return translate("好", "good") if human_score > 0.5 else translate("不好", "bad")


def _verdict_table(services: Services, translate: Translator, entry: Disagreement) -> Markup:
    table_rows = [
        [
            _rater_title(translate, rater_verdict.rater),
            _score_text(translate, rater_verdict.value),
            reason_text(translate, rater_verdict.reason),
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


def _item_history(services: Services, translate: Translator, entry: Disagreement) -> Markup:
    """What people answered, where the greeting was an item of a campaign."""
    if entry.item_id is None:
        return Markup()
    return history_html(translate, services.annotation.history(entry.item_id))


def _score_text(translate: Translator, score_value: float | None) -> str:
    return translate("未评", "unscored") if score_value is None else f"{score_value:.2f}"
