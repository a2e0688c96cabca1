"""Checks of what people and hand-made requests send, each with one sentence."""

import math
import re
from collections.abc import Iterable

from backend import text
from backend.errors import UserError

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST = 86_400.0


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
    if not math.isfinite(seconds) or not 0 <= seconds <= _LONGEST:
        raise UserError("seconds must lie between 0 and 86400.", "seconds 必须在 0 到 86400 之间。")


def check_prose(prose: str, limit: int, en: str, zh: str) -> str:
    """A cleaned free text of at most `limit` characters; `en` and `zh` name the field."""
    cleaned = text.clean(prose)
    if len(cleaned) > limit:
        raise UserError(f"{en} may have at most {limit} characters.", f"{zh}最多 {limit} 个字符。")
    if text.has_control(cleaned):
        raise UserError(f"{en} holds control characters; remove them.", f"{zh}含有控制字符，请去掉。")
    return cleaned


def check_line(line: str, limit: int, en: str, zh: str) -> str:
    """A cleaned single line of 1 to `limit` characters; `en` and `zh` name the field."""
    cleaned = check_prose(line, limit, en, zh)
    if not cleaned:
        raise UserError(f"{en} is empty; please fill it in.", f"{zh}不能为空，请填写。")
    if any(mark in cleaned for mark in "\n\t"):
        raise UserError(f"{en} must be one line without tabs.", f"{zh}必须是一行，不能有制表符。")
    return cleaned


def one_of(value: str, known: Iterable[str], en: str, zh: str) -> None:
    """Refuse a value outside a closed list."""
    names = list(known)
    if value not in names:
        listed = ", ".join(names)
        raise UserError(f"{en} must be one of: {listed}.", f"{zh}只能是：{listed}。")
