"""What a request asks for. One reading for pages, pipelines and training, by stated rules."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from backend.corpus.occasion import detect_occasion
from backend.text import strip_white_space
from backend.writing.asked import requested_count, requested_lengths
from backend.writing.refusal import LONGEST_REQUEST, RefusalReason
from backend.writing.rules import compiled_rule, word_pattern

Language = Literal["zh", "en"]

_INVISIBLE_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2060\ufeff]")
_WHITE_SPACE = re.compile(r"\s+")
_ANY_LETTER = re.compile(r"[^\W\d_]")
_HAN_CHARACTER = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z']{2,}")


# What may follow a task that is the last word, and what stands before one that is to be written.
_AFTER_TASK = r"(?:稿|怎么写|怎么说|简短|精辟|大气|大全|模板|开头|结尾|一篇|[\d一二三四五六七八九十百]+字|[。.?!])*$"
_BEFORE_TASK = r"(?:写|编|拟|做|来|讲|创作|生成|给我|帮我|制定|推荐)[^,。]{0,10}"
_OTHER_TASK = word_pattern("other_task")
_OTHER_REQUEST = re.compile(
    rf"{word_pattern('never')}|{_OTHER_TASK}{_AFTER_TASK}|{_BEFORE_TASK}{_OTHER_TASK}(?!的[^,。])(?![^,。]*{word_pattern('text')})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class GreetingRequest:
    """A request, read. `text` is what was written, with single spaces; lengths count characters.

    `count` is how many greetings are asked for; `exact_chars` and `max_chars` are None where nothing
    was said. A refused wish keeps what could be read of it.
    """

    text: str
    language: Language = "zh"
    count: int = 1
    exact_chars: int | None = None
    max_chars: int | None = None
    refusal: RefusalReason | None = None


def parse_request(request_text: str) -> GreetingRequest:
    """Read a request. Never raises; whatever cannot be answered carries a `refusal`."""
    shown_text = _WHITE_SPACE.sub(
        " ", _INVISIBLE_CHARACTERS.sub("", unicodedata.normalize("NFC", request_text))
    ).strip()
    if len(shown_text) > LONGEST_REQUEST:
        return GreetingRequest(
            shown_text[:LONGEST_REQUEST],
            detect_language(shown_text[:LONGEST_REQUEST]),
            refusal=RefusalReason.TOO_LONG,
        )
    normal_text = unicodedata.normalize("NFKC", shown_text)
    language = detect_language(normal_text)
    exact_chars, max_chars = requested_lengths(normal_text)
    return GreetingRequest(
        shown_text,
        language,
        requested_count(normal_text),
        exact_chars,
        max_chars,
        _refusal_reason(normal_text, language),
    )


def detect_language(request_text: str) -> Language:
    """English where it has more Latin words than Chinese characters, Chinese otherwise."""
    return "en" if len(_LATIN_WORD.findall(request_text)) > len(_HAN_CHARACTER.findall(request_text)) else "zh"


def _refusal_reason(normal_text: str, language: Language) -> RefusalReason | None:
    squeezed_text = strip_white_space(normal_text)
    if not squeezed_text:
        return RefusalReason.EMPTY
    if not _ANY_LETTER.search(squeezed_text):
        return RefusalReason.NO_WORDS
    if compiled_rule("injection").search(squeezed_text) or compiled_rule("injection").search(normal_text):
        return RefusalReason.INJECTION
    if compiled_rule("unsafe").search(squeezed_text) or compiled_rule("unsafe_en").search(normal_text):
        return RefusalReason.UNSAFE
    if compiled_rule("other_language").search(normal_text):
        return RefusalReason.OTHER_LANGUAGE
    is_wanted = _asks_for_greeting_en(normal_text) if language == "en" else _asks_for_greeting(squeezed_text)
    return None if is_wanted else RefusalReason.NOT_A_GREETING


def _asks_for_greeting(squeezed_text: str) -> bool:
    if _OTHER_REQUEST.search(squeezed_text) or (
        compiled_rule("picture").search(squeezed_text) and not compiled_rule("caption").search(squeezed_text)
    ):
        return False
    if compiled_rule("knowledge").search(squeezed_text) and not compiled_rule("asks_to_write").search(squeezed_text):
        return False
    if compiled_rule("greeting").search(squeezed_text) or compiled_rule("greeting_en").search(squeezed_text):
        return True
    topic_words = set(compiled_rule("topic").findall(squeezed_text))
    has_topic = bool(topic_words) or detect_occasion(squeezed_text) is not None
    return (
        len(topic_words) > 1
        or has_topic
        + bool(compiled_rule("person").search(squeezed_text))
        + bool(compiled_rule("text").search(squeezed_text))
        > 1
    )


def _asks_for_greeting_en(normal_text: str) -> bool:
    return bool(
        compiled_rule("greeting_en").search(normal_text) or compiled_rule("greeting").search(normal_text)
    ) and not compiled_rule("other_task_en").search(normal_text)
