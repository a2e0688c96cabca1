"""The normal form of an imported row, and the checks that every text passes on its way there."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from backend.errors import Message
from backend.text import MAX_TEXT, clean, has_control, squeeze
from backend.vocabulary import Flaw

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_TRUTH = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_FLAWS = {flaw.value for flaw in Flaw}
MAX_TAG = 40
MOST_CLICKS = 2**31 - 1

_NAMES = {
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


class Row(NamedTuple):
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

    def __init__(self, en: str, zh: str, *, harmless: bool = False) -> None:
        super().__init__(en)
        self.message = Message(en, zh)
        self.harmless = harmless


def make_row(line: int, fields: Mapping[str, Any], *, strict: bool = False, labelled: bool = False) -> Row:
    """Check the fields and bring them to normal form. Raises Rejected.

    `strict` rejects unusable tags, flaws and reasons, which are otherwise left out: in other people's
    formats these names may mean anything. `labelled` pairs carry the verdicts 1 and 0 as well.
    """
    prompt = text_of(fields.get("prompt"), "prompt")
    base = Row(line, prompt, tags=_tags(fields, strict))
    if "chosen" in fields:
        return _pair(base, fields, strict=strict, labelled=labelled)
    if "response" not in fields:
        return base
    greeting = text_of(fields["response"], "response")
    row = base._replace(greetings=(greeting,), clicks=_clicks(fields, strict))
    if "label" not in fields:
        return row
    reason = _optional(fields, "reason", MAX_TEXT, strict) or ""
    return row._replace(labels=(label_of(fields["label"]),), reason=reason)


def _pair(base: Row, fields: Mapping[str, Any], *, strict: bool, labelled: bool) -> Row:
    chosen = text_of(fields["chosen"], "chosen")
    rejected = text_of(fields.get("rejected"), "rejected")
    if chosen == rejected or squeeze(chosen) == squeeze(rejected):
        raise Rejected(
            "chosen and rejected are the same text, which is no preference",
            "优选与落选是同一段文字，没有偏好信息",
            harmless=True,
        )
    flaw = _optional(fields, "flaw", MAX_TAG, strict)
    if flaw is not None and flaw not in _FLAWS:
        if strict:
            raise Rejected(f"{flaw!r} is no known flaw", f"“{flaw}”不是已知的缺点")
        flaw = None
    labels = (1, 0) if labelled else ()
    return base._replace(greetings=(chosen, rejected), labels=labels, pair=True, flaw=flaw)


def text_of(value: Any, field: str) -> str:
    """A clean text. Raises Rejected for what is missing, no text, empty, too long or unprintable."""
    en, zh = _NAMES[field]
    if value is None:
        raise Rejected(f"the {en} is missing", f"缺少{zh}")
    if not isinstance(value, str):
        raise Rejected(f"the {en} is not text but {type(value).__name__}", f"{zh}不是文字")
    # The bound on the raw text keeps a megabyte of blanks from being cleaned first.
    if len(value) > 2 * MAX_TEXT or len(text := clean(value)) > MAX_TEXT:
        raise Rejected(
            f"the {en} has {len(value):,} characters, more than {MAX_TEXT:,}",
            f"{zh}有 {len(value):,} 个字符，超过 {MAX_TEXT:,}",
        )
    if not text:
        raise Rejected(f"the {en} is empty", f"{zh}为空")
    if has_control(text) or _LONE_SURROGATE.search(text):
        raise Rejected(f"the {en} holds control or broken characters", f"{zh}含有控制字符或残缺字符")
    return text


def label_of(value: Any) -> int:
    """0 or 1. Raises Rejected for anything else."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        return int(value)
    if isinstance(value, str) and (known := _TRUTH.get(value.strip().lower())) is not None:
        return known
    if value is None or value == "":
        raise Rejected("the label is missing", "缺少标签")
    raise Rejected(f"the label is {str(value)[:40]!r}, not 0 or 1", f"标签是“{str(value)[:40]}”，不是 0 或 1")


def _clicks(fields: Mapping[str, Any], strict: bool) -> int | None:
    """A whole number from 0 on, None where the row has none. Raises Rejected where `strict`."""
    value = fields.get("clicks")
    if value is None or value == "":
        return None
    try:
        count = int(str(value).strip().removesuffix(".0"))
    except ValueError:
        count = -1
    if 0 <= count <= MOST_CLICKS:
        return count
    if strict:
        raise Rejected(
            f"the number of clicks is {str(value)[:40]!r}, no whole number from 0 on",
            f"点击数是“{str(value)[:40]}”，不是非负整数",
        )
    return None


def _tags(fields: Mapping[str, Any], strict: bool) -> tuple[str | None, str | None, str | None]:
    if not any(name in fields for name in ("occasion", "recipient", "style")):
        return (None, None, None)
    occasion, recipient, style = (
        _optional(fields, name, MAX_TAG, strict) for name in ("occasion", "recipient", "style")
    )
    return occasion, recipient, style


def _optional(fields: Mapping[str, Any], field: str, limit: int, strict: bool) -> str | None:
    value = fields.get(field)
    if value is None or value == "":
        return None
    try:
        text = text_of(value, field)
        if len(text) > limit:
            en, zh = _NAMES[field]
            raise Rejected(f"the {en} is longer than {limit} characters", f"{zh}超过 {limit} 个字符")
    except Rejected:
        if strict:
            raise
        return None
    return text
