"""What models put around a greeting, taken off: fences, roles, introductions, numbering, quotes."""

import re
import unicodedata

from backend.text import normalize_text as normal

_INVISIBLE_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\ufeff]")
_THINKING_BLOCK = re.compile(r"<think>.*?</think>|^[^<]{0,4000}</think>", re.DOTALL)
_CODE_FENCE = re.compile(r"^```[a-z]*\n?(.*?)\n?```$", re.DOTALL)
_END_TOKENS = re.compile(r"(?:<\|(?:im_end|endoftext|eot_id|end)\|>|</s>|<eos>)+\s*$")
_BOLD_MARKUP = re.compile(r"\*\*([^*\n]+)\*\*")
_LEADING_PHRASES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # a role
        r"^(?:<\|im_start\|>)?\s*(?:assistant|助手|AI|模型|答|回答|输出|回复)\s*[:：\n]\s*",
        # "好的，以下是为您写的生日祝福："
        r"^(?:(?:好的|好呀|好|当然(?:可以)?|没问题|可以的?|收到|明白了?)[，,。！!～~]\s*)?[^：:\n。！!？?]{0,16}"
        r"(?:(?:以下|下面|这)(?:就?是|为|有)|请看|请查收|[为给帮替](?:您|你)(?:写|准备|生成|创作|拟|整理|编|想)(?:了|的|好|一))"
        r"[^：:\n。！!？?]{0,40}[：:]\s*",
        r"^(?:好的|当然可以|当然|没问题|收到)[，,。！!]\s*\n+",
        r"^(?:sure|certainly|of course|okay|here (?:is|are)|here's)[^:：\n]{0,80}[:：]\s*",
        # a heading
        r"^#{1,4}\s+[^\n]{1,30}\n+",
        r"^【[^】\n]{1,15}】\s*[:：]?\s*\n+",
        r"^(?:【(?:[^】\n]{0,8}祝福[^】\n]{0,4}|文案|正文)】|(?:生日|新年|节日|新婚)?(?:祝福语?|贺[词卡语]|文案|正文|内容))\s*[:：]\s*",
    )
)
_TRAILING_REMARK = re.compile(
    r"\n+\s*(?:[（(][^（）()\n]{0,30}(?:字数|字左右|共\d+字|注)[^（）()\n]{0,60}[）)]"
    r"|(?:希望(?:这[条段个份]|您|你|以上|能)|如果(?:您|你)?(?:需要|还|想)|您可以|你可以|需要(?:我|更多|调整)|注[：:])[^\n]{0,120})\s*$"
)
_NUMBERED_LINE = re.compile(r"^\s*(?:\d{1,2}\s*[.．、)）](?!\d)|[（(][\d一二三四五六七八九十]{1,2}[)）]|[-•*·]\s)\s*")
_QUOTE_PAIRS = {"“": "”", "「": "」", "『": "』", "‘": "’", '"': '"', "《": "》", "'": "'", "`": "`"}


def clean_greeting(raw_text: str) -> str:
    """The greeting without what stands around it. Never raises; cleaning twice changes nothing more.

    Where the text would vanish (an introduction and nothing else) it is left as it is, for `fault_of`.
    """
    cleaned_text = normal(_INVISIBLE_CHARACTERS.sub("", unicodedata.normalize("NFC", raw_text)))
    while True:
        shorter_text = _strip_wrapping(cleaned_text)
        if shorter_text == cleaned_text or not shorter_text:
            return cleaned_text
        cleaned_text = shorter_text


def _strip_wrapping(stripped_text: str) -> str:
    stripped_text = _END_TOKENS.sub("", _THINKING_BLOCK.sub("", stripped_text)).strip()
    if fence_match := _CODE_FENCE.match(stripped_text):
        stripped_text = fence_match[1].strip()
    stripped_text = _BOLD_MARKUP.sub(r"\1", stripped_text)
    for lead_pattern in _LEADING_PHRASES:
        stripped_text = (
            lead_pattern.sub("", stripped_text, count=1)
            if lead_pattern.sub("", stripped_text, count=1).strip()
            else stripped_text
        )
    stripped_text = _TRAILING_REMARK.sub("", stripped_text).strip()
    if len(numbered_lines(stripped_text)) == 1 and _NUMBERED_LINE.match(stripped_text):
        stripped_text = _NUMBERED_LINE.sub("", stripped_text, count=1)
    return normal(_without_quotes(stripped_text))


def numbered_lines(greeting_text: str) -> list[str]:
    """The lines that begin with a number or a bullet."""
    return [text_line for text_line in greeting_text.split("\n") if _NUMBERED_LINE.match(text_line)]


def _without_quotes(quoted_text: str) -> str:
    closing_quote = _QUOTE_PAIRS.get(quoted_text[:1])
    inner_text = quoted_text[1:-1]
    if (
        len(quoted_text) > 2
        and closing_quote == quoted_text[-1]
        and quoted_text[0] not in inner_text
        and closing_quote not in inner_text
    ):
        return inner_text
    return quoted_text
