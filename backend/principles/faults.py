"""What is wrong with a greeting that the Generator handed in, before anybody judges it."""

import re

from backend.text import MAX_TEXT, length, squeeze

_REFUSAL = re.compile(
    r"^(?:很?抱歉|对不起|非常抱歉|不好意思)[，,。!！]?.{0,20}(?:不能|无法|没法|不便|不会)"
    r"|^(?:我|作为).{0,16}(?:不能|无法|没法|不便)(?:完成|提供|帮|写|生成|满足|协助|参与)"
    r"|(?:作为|我是)(?:一个|一名|一款)?(?:AI|人工智能|语言模型|大模型)"
    r"|^i(?:'|’)?m sorry|^sorry,|^i (?:cannot|can(?:'|’)t|am unable)|as an ai",
    re.I,
)
LONGEST = 1_000
SHORTEST = 4


def fault_of(prompt: str, greeting: str) -> str:
    """A word for what is wrong: empty, refused, returned (the request itself) or too_long; "" for nothing."""
    text = squeeze(greeting)
    if len(text) < SHORTEST:
        return "empty"
    if _REFUSAL.search(greeting.strip()):
        return "refused"
    asked = squeeze(prompt)
    if text == asked or (len(asked) > 8 and asked in text and len(text) < len(asked) + 8):
        return "returned"
    return "too_long" if length(greeting) > LONGEST or len(greeting) > MAX_TEXT else ""
