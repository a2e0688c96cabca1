"""What a request asks for. One reading for pages, pipelines and training, by stated rules."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from backend.corpus.occasion import occasion_of
from backend.text import squeeze
from backend.writing.asked import count_of, lengths_of
from backend.writing.refusal import LONGEST_WISH, Refusal
from backend.writing.rules import rule, words

Language = Literal["zh", "en"]

_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2060\ufeff]")
_SPACE = re.compile(r"\s+")
_LETTER = re.compile(r"[^\W\d_]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z']{2,}")


# What may follow a task that is the last word, and what stands before one that is to be written.
_AFTER = (
    r"(?:稿|怎么写|怎么说|简短|精辟|大气|大全|模板|开头|结尾|一篇|[\d一二三四五六七八九十百]+字|[。.?!])*$"
)
_BEFORE = r"(?:写|编|拟|做|来|讲|创作|生成|给我|帮我|制定|推荐)[^,。]{0,10}"
_TASK = words("other_task")
_OTHER = re.compile(
    rf"{words('never')}|{_TASK}{_AFTER}|{_BEFORE}{_TASK}(?!的[^,。])(?![^,。]*{words('text')})", re.IGNORECASE
)


@dataclass(frozen=True)
class Wish:
    """A request, read. `text` is what was written, with single spaces; lengths count characters.

    `count` is how many greetings are asked for; `exact_chars` and `max_chars` are None where nothing
    was said. A refused wish keeps what could be read of it.
    """

    text: str
    language: Language = "zh"
    count: int = 1
    exact_chars: int | None = None
    max_chars: int | None = None
    refusal: Refusal | None = None


def read_wish(text: str) -> Wish:
    """Read a request. Never raises; whatever cannot be answered carries a `refusal`."""
    shown = _SPACE.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()
    if len(shown) > LONGEST_WISH:
        return Wish(shown[:LONGEST_WISH], language_of(shown[:LONGEST_WISH]), refusal=Refusal.TOO_LONG)
    plain = unicodedata.normalize("NFKC", shown)
    language = language_of(plain)
    exact, most = lengths_of(plain)
    return Wish(shown, language, count_of(plain), exact, most, _refusal(plain, language))


def language_of(text: str) -> Language:
    """English where it has more Latin words than Chinese characters, Chinese otherwise."""
    return "en" if len(_LATIN_WORD.findall(text)) > len(_HAN.findall(text)) else "zh"


def _refusal(plain: str, language: Language) -> Refusal | None:
    body = squeeze(plain)
    if not body:
        return Refusal.EMPTY
    if not _LETTER.search(body):
        return Refusal.NO_WORDS
    if rule("injection").search(body) or rule("injection").search(plain):
        return Refusal.INJECTION
    if rule("unsafe").search(body) or rule("unsafe_en").search(plain):
        return Refusal.UNSAFE
    if rule("other_language").search(plain):
        return Refusal.OTHER_LANGUAGE
    wanted = _is_greeting_en(plain) if language == "en" else _is_greeting(body)
    return None if wanted else Refusal.NOT_A_GREETING


def _is_greeting(body: str) -> bool:
    if _OTHER.search(body) or (rule("picture").search(body) and not rule("caption").search(body)):
        return False
    if rule("knowledge").search(body) and not rule("asks_to_write").search(body):
        return False
    if rule("greeting").search(body) or rule("greeting_en").search(body):
        return True
    topics = set(rule("topic").findall(body))
    about = bool(topics) or occasion_of(body) is not None
    return len(topics) > 1 or about + bool(rule("person").search(body)) + bool(rule("text").search(body)) > 1


def _is_greeting_en(plain: str) -> bool:
    return bool(rule("greeting_en").search(plain) or rule("greeting").search(plain)) and not rule(
        "other_task_en"
    ).search(plain)
