"""What models put around a greeting, taken off: fences, roles, introductions, numbering, quotes."""

import re
import unicodedata

from backend.text import clean as normal

_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\ufeff]")
_THINKING = re.compile(r"<think>.*?</think>|^[^<]{0,4000}</think>", re.DOTALL)
_FENCE = re.compile(r"^```[a-z]*\n?(.*?)\n?```$", re.DOTALL)
_ENDS = re.compile(r"(?:<\|(?:im_end|endoftext|eot_id|end)\|>|</s>|<eos>)+\s*$")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_LEADS = tuple(
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
_TRAIL = re.compile(
    r"\n+\s*(?:[（(][^（）()\n]{0,30}(?:字数|字左右|共\d+字|注)[^（）()\n]{0,60}[）)]"
    r"|(?:希望(?:这[条段个份]|您|你|以上|能)|如果(?:您|你)?(?:需要|还|想)|您可以|你可以|需要(?:我|更多|调整)|注[：:])[^\n]{0,120})\s*$"
)
_NUMBERED = re.compile(
    r"^\s*(?:\d{1,2}\s*[.．、)）](?!\d)|[（(][\d一二三四五六七八九十]{1,2}[)）]|[-•*·]\s)\s*"
)
_QUOTES = {"“": "”", "「": "」", "『": "』", "‘": "’", '"': '"', "《": "》", "'": "'", "`": "`"}


def clean(text: str) -> str:
    """The greeting without what stands around it. Never raises; cleaning twice changes nothing more.

    Where the text would vanish (an introduction and nothing else) it is left as it is, for `fault_of`.
    """
    found = normal(_INVISIBLE.sub("", unicodedata.normalize("NFC", text)))
    while True:
        shorter = _once(found)
        if shorter == found or not shorter:
            return found
        found = shorter


def _once(text: str) -> str:
    text = _ENDS.sub("", _THINKING.sub("", text)).strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    text = _BOLD.sub(r"\1", text)
    for lead in _LEADS:
        text = lead.sub("", text, count=1) if lead.sub("", text, count=1).strip() else text
    text = _TRAIL.sub("", text).strip()
    if len(numbered_lines(text)) == 1 and _NUMBERED.match(text):
        text = _NUMBERED.sub("", text, count=1)
    return normal(_unquoted(text))


def numbered_lines(text: str) -> list[str]:
    """The lines that begin with a number or a bullet."""
    return [line for line in text.split("\n") if _NUMBERED.match(line)]


def _unquoted(text: str) -> str:
    closing = _QUOTES.get(text[:1])
    inner = text[1:-1]
    if len(text) > 2 and closing == text[-1] and text[0] not in inner and closing not in inner:
        return inner
    return text
