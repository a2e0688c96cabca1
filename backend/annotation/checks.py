"""Checks of what people and hand-made requests send, each with one sentence."""

import math
import re
from collections.abc import Iterable

from backend import text
from backend.errors import UserError

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_SECONDS = 86_400.0


def check_request_id(request_id: str) -> None:
    """Refuse what is not 1 to 64 characters of A–Z, a–z, 0–9, _ and -."""
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        raise UserError(
            "request_id must be 1 to 64 characters of A–Z, a–z, 0–9, “_” and “-”.",
            "request_id 必须是 1 到 64 个字母、数字、“_”或“-”。",
        )


def check_seconds(seconds: float | None) -> None:
    """Refuse a duration that no person can have taken."""
    if seconds is None:
        return
    if not math.isfinite(seconds) or not 0 <= seconds <= _MAX_SECONDS:
        raise UserError("seconds must lie between 0 and 86400.", "seconds 必须在 0 到 86400 之间。")


def check_prose(free_text: str, max_length: int, en: str, zh: str) -> str:
    """A cleaned free text of at most `limit` characters; `en` and `zh` name the field."""
    cleaned = text.normalize_text(free_text)
    if len(cleaned) > max_length:
        raise UserError(f"{en} may have at most {max_length} characters.", f"{zh}最多 {max_length} 个字符。")
    if text.has_control_characters(cleaned):
        raise UserError(f"{en} holds control characters; remove them.", f"{zh}含有控制字符，请去掉。")
    return cleaned


def check_line(single_line: str, max_length: int, en: str, zh: str) -> str:
    """A cleaned single line of 1 to `limit` characters; `en` and `zh` name the field."""
    cleaned = check_prose(single_line, max_length, en, zh)
    if not cleaned:
        raise UserError(f"{en} is empty; please fill it in.", f"{zh}不能为空，请填写。")
    if any(separator in cleaned for separator in "\n\t"):
        raise UserError(f"{en} must be one line without tabs.", f"{zh}必须是一行，不能有制表符。")
    return cleaned


def check_choice(chosen: str, choices: Iterable[str], en: str, zh: str) -> None:
    """Refuse a value outside a closed list."""
    choice_names = list(choices)
    if chosen not in choice_names:
        choices_text = ", ".join(choice_names)
        raise UserError(f"{en} must be one of: {choices_text}.", f"{zh}只能是：{choices_text}。")
