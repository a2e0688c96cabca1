"""The normal form of an imported row, the checks of its texts, and cells that a spreadsheet would run as formulas."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from backend.core.enums import Flaw
from backend.core.errors import Message
from backend.core.text import MAX_TEXT_LENGTH, has_control_characters, normalize_text, strip_white_space

# What a spreadsheet may take for a formula (OWASP, CSV Injection), behind any number of apostrophes: a text that has
# one already gets another, so that taking one away brings back exactly what was there.
_RISKY = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard_formula(cell_text: str) -> str:
    """Put an apostrophe before what starts like a formula (or like a formula so guarded)."""
    return "'" + cell_text if _RISKY.match(cell_text) else cell_text


def unguard_formula(cell_text: str) -> str:
    """Undo `guard_formula`: for every text, unguard_formula(guard_formula(text)) == text."""
    return cell_text[1:] if _GUARDED.match(cell_text) else cell_text


# JSON may hold half a surrogate pair; it has no UTF-8, so neither database stores it.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# pandas turns whole numbers into 0.0 and 1.0 where a column has gaps, and CSV files are often written by it.
_TRUTH_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_KNOWN_FLAWS = {known_flaw.value for known_flaw in Flaw}
MAX_TAG_LENGTH = 40
# The largest INTEGER of PostgreSQL; SQLite would take more.
MAX_CLICKS = 2**31 - 1

_FIELD_NAMES = {
    "prompt": ("prompt", "请求"),
    "response": ("greeting", "祝福语"),
    "clicks": ("number of clicks", "点击数"),
    "chosen": ("chosen greeting", "优选祝福语"),
    "rejected": ("rejected greeting", "落选祝福语"),
    "label": ("label", "标签"),
    "flaw": ("flaw", "缺点"),
    "reason": ("reason", "理由"),
    "occasion": ("occasion", "场合"),
    "recipient": ("recipient", "对象"),
    "style": ("style", "风格"),
}


class ImportRow(NamedTuple):
    """A prompt with no greeting, one, or two (chosen, rejected); labels belong to the greetings in order."""

    line: int
    prompt: str
    greetings: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    pair: bool = False
    flaw: str | None = None
    reason: str = ""
    clicks: int | None = None
    tags: tuple[str | None, str | None, str | None] = (None, None, None)


class Rejected(Exception):
    """This row cannot be stored. `harmless` rows carry nothing and do not spoil their file."""

    def __init__(self, en: str, zh: str, *, is_harmless: bool = False) -> None:
        super().__init__(en)
        self.message = Message(en, zh)
        self.harmless = is_harmless


def build_row(
    line_number: int, fields: Mapping[str, Any], *, strict: bool = False, with_labels: bool = False
) -> ImportRow:
    """Check the fields and bring them to normal form. Raises Rejected.

    `strict` rejects unusable tags, flaws and reasons, which are otherwise left out: in other people's
    formats these names may mean anything. `with_labels` pairs carry the verdicts 1 and 0 as well.
    """
    prompt_text = require_text(fields.get("prompt"), "prompt")
    base = ImportRow(line_number, prompt_text, tags=_read_tags(fields, strict))
    if "chosen" in fields:
        return _build_pair(base, fields, strict=strict, with_labels=with_labels)
    if "response" not in fields:
        return base
    greeting_text = require_text(fields["response"], "response")
    row = base._replace(greetings=(greeting_text,), clicks=_parse_clicks(fields, strict))
    if "label" not in fields:
        return row
    label_reason = _optional_text(fields, "reason", MAX_TEXT_LENGTH, strict) or ""
    return row._replace(labels=(parse_label(fields["label"]),), reason=label_reason)


def _build_pair(base: ImportRow, fields: Mapping[str, Any], *, strict: bool, with_labels: bool) -> ImportRow:
    chosen_text = require_text(fields["chosen"], "chosen")
    rejected_text = require_text(fields.get("rejected"), "rejected")
    # Harmless: a pair that says nothing is left out, but spoils no file of thousands that say something.
    if chosen_text == rejected_text or strip_white_space(chosen_text) == strip_white_space(rejected_text):
        raise Rejected(
            "chosen and rejected are the same text, which is no preference",
            "优选与落选是同一段文字，没有偏好信息",
            is_harmless=True,
        )
    pair_flaw = _optional_text(fields, "flaw", MAX_TAG_LENGTH, strict)
    if pair_flaw is not None and pair_flaw not in _KNOWN_FLAWS:
        if strict:
            raise Rejected(f"{pair_flaw!r} is no known flaw", f"“{pair_flaw}”不是已知的缺点")
        pair_flaw = None
    pair_labels = (1, 0) if with_labels else ()
    return base._replace(greetings=(chosen_text, rejected_text), labels=pair_labels, pair=True, flaw=pair_flaw)


def require_text(raw_value: Any, field_name: str) -> str:
    """A clean text. Raises Rejected for what is missing, no text, empty, too long or unprintable."""
    en, zh = _FIELD_NAMES[field_name]
    if raw_value is None:
        raise Rejected(f"the {en} is missing", f"缺少{zh}")
    if not isinstance(raw_value, str):
        raise Rejected(f"the {en} is not text but {type(raw_value).__name__}", f"{zh}不是文字")
    # The bound on the raw text keeps a megabyte of blanks from being cleaned first.
    if len(raw_value) > 2 * MAX_TEXT_LENGTH or len(cleaned_text := normalize_text(raw_value)) > MAX_TEXT_LENGTH:
        raise Rejected(
            f"the {en} has {len(raw_value):,} characters, more than {MAX_TEXT_LENGTH:,}",
            f"{zh}有 {len(raw_value):,} 个字符，超过 {MAX_TEXT_LENGTH:,}",
        )
    if not cleaned_text:
        raise Rejected(f"the {en} is empty", f"{zh}为空")
    if has_control_characters(cleaned_text) or _LONE_SURROGATE.search(cleaned_text):
        raise Rejected(f"the {en} holds control or broken characters", f"{zh}含有控制字符或残缺字符")
    return cleaned_text


def parse_label(raw_value: Any) -> int:
    """0 or 1. Raises Rejected for anything else."""
    # No threshold for what lies between: a score is no label, and a cut nobody chose would make it one.
    if isinstance(raw_value, bool | int | float) and raw_value in (0, 1):
        return int(raw_value)
    if isinstance(raw_value, str) and (truth_value := _TRUTH_VALUES.get(raw_value.strip().lower())) is not None:
        return truth_value
    if raw_value is None or raw_value == "":
        raise Rejected("the label is missing", "缺少标签")
    raise Rejected(f"the label is {str(raw_value)[:40]!r}, not 0 or 1", f"标签是“{str(raw_value)[:40]}”，不是 0 或 1")


def _parse_clicks(fields: Mapping[str, Any], strict: bool) -> int | None:
    """A whole number from 0 on, None where the row has none. Raises Rejected where `strict`."""
    raw_value = fields.get("clicks")
    if raw_value is None or raw_value == "":
        return None
    try:
        click_count = int(str(raw_value).strip().removesuffix(".0"))
    except ValueError:
        click_count = -1
    if 0 <= click_count <= MAX_CLICKS:
        return click_count
    if strict:
        raise Rejected(
            f"the number of clicks is {str(raw_value)[:40]!r}, no whole number from 0 on",
            f"点击数是“{str(raw_value)[:40]}”，不是非负整数",
        )
    return None


def _read_tags(fields: Mapping[str, Any], strict: bool) -> tuple[str | None, str | None, str | None]:
    if not any(tag_field in fields for tag_field in ("occasion", "recipient", "style")):
        return (None, None, None)
    occasion_tag, recipient_tag, style_tag = (
        _optional_text(fields, tag_field, MAX_TAG_LENGTH, strict) for tag_field in ("occasion", "recipient", "style")
    )
    return occasion_tag, recipient_tag, style_tag


def _optional_text(fields: Mapping[str, Any], field_name: str, max_length: int, strict: bool) -> str | None:
    raw_value = fields.get(field_name)
    if raw_value is None or raw_value == "":
        return None
    try:
        cleaned_text = require_text(raw_value, field_name)
        if len(cleaned_text) > max_length:
            en, zh = _FIELD_NAMES[field_name]
            raise Rejected(f"the {en} is longer than {max_length} characters", f"{zh}超过 {max_length} 个字符")
    except Rejected:
        if strict:
            raise
        return None
    return cleaned_text
