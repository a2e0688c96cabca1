"""What a request asks for: occasion, number of greetings, lengths, or why it is refused. One reading for all rooms."""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from backend.core.errors import Message
from backend.core.text import strip_white_space
from backend.corpus.occasion import detect_occasion
from backend.generation.rules import compiled_rule, word_pattern

_DIGIT_VALUES = {
    digit_character: number_value for number_value, digit_character in enumerate("零一二三四五六七八九")
} | {"〇": 0, "两": 2, "俩": 2, "仨": 3}
_UNIT_VALUES = {"十": 10, "百": 100, "千": 1000}
_ENGLISH_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_ENGLISH_NUMBERS = {english_word: n for n, english_word in enumerate(_ENGLISH_WORDS.split(), 1)}
_ENGLISH_NUMBERS |= {"a": 1, "an": 1, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "dozen": 12}

HAN_NUMBER_PATTERN = "[零〇一二三四五六七八九两俩仨十百千]{1,7}"
NUMBER_PATTERN = rf"(?:\d{{1,5}}|{HAN_NUMBER_PATTERN})"
ENGLISH_NUMBER_PATTERN = r"\b(?:\d{1,5}|" + "|".join(_ENGLISH_NUMBERS) + r")\b"
# What "several" stands for where no number is given.
SEVERAL_COUNT = 3


def parse_number(number_text: str) -> int | None:
    """The number that the text writes; None where it is none.

    Of two neighbours (七八) the greater; of other digits in a row the last, since a holiday stands before it
    (五一四字).
    """
    number_text = number_text.strip().lower()
    if number_text.isdecimal():
        return int(number_text)
    if number_text in _ENGLISH_NUMBERS:
        return _ENGLISH_NUMBERS[number_text]
    if not number_text or any(
        character not in _DIGIT_VALUES and character not in _UNIT_VALUES for character in number_text
    ):
        return None
    if all(character in _DIGIT_VALUES for character in number_text):
        return _DIGIT_VALUES[number_text[-1]]
    return _parse_with_units(number_text)


def _parse_with_units(number_text: str) -> int:
    running_total, digit_value, unit_value = 0, 0, 1
    for character in number_text:
        if character in _DIGIT_VALUES:
            digit_value = _DIGIT_VALUES[character]
        else:
            unit_value = _UNIT_VALUES[character]
            # 十五 has no digit before its unit: a missing one is one.
            running_total += (digit_value or 1) * unit_value
            digit_value = 0
    return running_total + digit_value


# Characters of a request; who needs more describes a text, not a greeting.
LONGEST_REQUEST = 500


class RefusalReason(StrEnum):
    """Why a request is not answered; stored by value with dropped prompts, so values never change."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    NO_WORDS = "no_words"
    INJECTION = "injection"
    UNSAFE = "unsafe"
    OTHER_LANGUAGE = "other_language"
    NOT_A_GREETING = "not_a_greeting"

    @property
    def message(self) -> Message:
        """One friendly sentence: what is wrong and what to write instead."""
        return _REFUSAL_MESSAGES[self]


_REFUSAL_MESSAGES = {
    RefusalReason.EMPTY: Message(
        "Write for whom the greeting is and on what occasion.", "请写下祝福送给谁、为了什么事。"
    ),
    RefusalReason.TOO_LONG: Message(
        f"This request is too long; say it in at most {LONGEST_REQUEST} characters.",
        f"请求太长了，请用不超过 {LONGEST_REQUEST} 个字说明。",
    ),
    RefusalReason.NO_WORDS: Message(
        "There are no words in this request; write for whom the greeting is and on what occasion.",
        "请求里没有文字，请写下祝福送给谁、为了什么事。",
    ),
    RefusalReason.INJECTION: Message(
        "This reads like an instruction to the program; only describe the greeting you want.",
        "这像是在给程序下指令，请只描述您想要的祝福。",
    ),
    RefusalReason.UNSAFE: Message(
        "No greeting is written that hurts, mocks or threatens somebody; tell what you sincerely wish.",
        "不写伤害、嘲笑或威胁他人的话，请说说您真心的祝愿。",
    ),
    RefusalReason.OTHER_LANGUAGE: Message(
        "Zhufu writes greetings in Chinese only; ask for a Chinese one.",
        "这里只写中文祝福，请换成中文的请求。",
    ),
    RefusalReason.NOT_A_GREETING: Message(
        "This does not ask for a greeting; name the person or the occasion that you want to greet.",
        "这不像是在要祝福语，请写明想祝福谁、为了什么事。",
    ),
}


# Nobody counts beyond that: "200字" is a size, not an exact number of characters.
LONGEST_EXACT = 40
# How far a text may go beyond a size that was only about right.
ABOUT_FACTOR = 1.2

# Counted greetings. 句 counts too ("写三句", "一百句"), but not where it says how to write one ("用三句话"),
# and 几句 or 两句 is simply "a few words". Lines of one verse are no greetings: see `_in_lines`.
_GREETING_UNITS = (
    r"(?:条(?!腿|狗|龙|鱼|命|心)|则|段|篇|首|款|组|份|版(?!本)"
    r"|种(?!类|子|田|树|地|花|菜)|(?:个|种)?(?:不同的?)?版本"
    rf"|个(?!字|汉字|人|月|年|小时|节日|生日|{word_pattern('person')})"
    r"(?=[^,。]{0,6}(?:祝福|贺[词语]|祝[词语愿]|吉祥|吉利|金句|短句|句子|寄语|成语|问候))|个$)"
)
_GREETING_COUNT = re.compile(rf"(?<![第每\d言周])({NUMBER_PATTERN}|几|多|若干|好几)\s*{_GREETING_UNITS}")
_SENTENCE_COUNT = re.compile(
    rf"(?<![第每\d言用以一二三])(?!两|一两|二三)({NUMBER_PATTERN})\s*句(?!(?:话|子)?(?:以内|之内|以下|左右|内))"
)
# A verse has so many lines: "四句" and "八句" ask for one text unless they are to be separate.
VERSE_LINES = (4, 8)
_VERSE_WORDS = re.compile(r"吉祥[话语]|吉利话|吉言|诗|对联|藏头|押韵|顺口溜|口诀|四言|[五七][言律]|绝句|一到十")
_SEPARATE_WORDS = re.compile(
    r"分别|各(?:[写来给发要一两]|自)|每(?:人|个人|位)|不同|不重复|互不|任选|备选|挑选|[佳金短]句|独立|单独"
)
_ENGLISH_COUNT = re.compile(
    rf"(\bseveral\b|\bsome\b|\ba few\b|{ENGLISH_NUMBER_PATTERN})(?:\s+[a-z'-]+){{0,3}}?\s+"
    r"(?:greetings|wishes|messages|versions|blessings|options|variants|texts|sentences|lines|examples|cards)\b",
    re.IGNORECASE,
)

_CHARACTERS = r"\s*个?\s*(?:汉|中文|中国)?字(?!开头|结尾|打头|母|符|路|架|绣|经|典|体|号|画|谜)"
_UP_TO_WORDS = r"(?:不超过|不要超过|不能超过|别超过|不多于|少于|最多|至多|控制在|限制?在?|低于|小于|不到)"
_LIMIT_BEFORE_NUMBER = re.compile(rf"{_UP_TO_WORDS}\s*({NUMBER_PATTERN}){_CHARACTERS}")
_LIMIT_AFTER_NUMBER = re.compile(rf"({NUMBER_PATTERN}){_CHARACTERS}\s*(?:以内|之内|以下|内|封顶)")
_LENGTH_RANGE = re.compile(rf"{NUMBER_PATTERN}\s*(?:个?字)?\s*(?:到|至|-|~|—|～)\s*({NUMBER_PATTERN}){_CHARACTERS}")
_ABOUT_LENGTH = re.compile(
    rf"({NUMBER_PATTERN})(?:多|来)?{_CHARACTERS}\s*(?:左右|上下)|(?:大约|大概|约)\s*({NUMBER_PATTERN}){_CHARACTERS}"
)
_AT_LEAST_LENGTH = re.compile(
    rf"(?:超过|至少|不少于|多于|大于)\s*{NUMBER_PATTERN}{_CHARACTERS}|{NUMBER_PATTERN}{_CHARACTERS}\s*(?:以上|起步)"
)
# "几句四字的" and "四字句" name a style, not a length.
_EXACT_LENGTH = re.compile(
    rf"(?<!生辰)(?<!几[句个])(?<![第数\d])({NUMBER_PATTERN}){_CHARACTERS}(?!一[句字顿]|[短]?句|短语)"
)
_NEIGHBOURING_NUMBERS = re.compile(rf"^(?:一二|两三|二三|三四|四五|五六|六七|七八|八九)$|^{HAN_NUMBER_PATTERN}[多来]$")
_ENGLISH_EXACT_LENGTH = re.compile(rf"({ENGLISH_NUMBER_PATTERN})[\s-]+(?:chinese\s+)?characters?\b", re.IGNORECASE)
_ENGLISH_MAX_LENGTH = re.compile(
    rf"(?:under|at most|no more than|up to|within|less than|fewer than|max(?:imum)?(?: of)?)\s+"
    rf"({ENGLISH_NUMBER_PATTERN})\s+(?:chinese\s+)?characters",
    re.IGNORECASE,
)


def requested_count(request_text: str) -> int:
    """How many greetings are asked for; 1 where the text does not say."""
    count_texts = [count_match[1] for count_match in _GREETING_COUNT.finditer(request_text)]
    count_texts += [
        count_match[1]
        for count_match in _SENTENCE_COUNT.finditer(request_text)
        if not _is_one_verse(request_text, count_match[1])
    ]
    count_texts += [count_match[1] for count_match in _ENGLISH_COUNT.finditer(request_text)]
    parsed_counts = (parse_number(count_text) or SEVERAL_COUNT for count_text in count_texts)
    return next((parsed_count for parsed_count in parsed_counts if parsed_count > 1), 1)


def requested_lengths(request_text: str) -> tuple[int | None, int | None]:
    """Exactly how many characters, and at most how many; None where the text does not say.

    Only one of the two is ever given.
    """
    # Limits before exact lengths: “30字以内” holds an exact length as well.
    for length_pattern in (_LIMIT_BEFORE_NUMBER, _LIMIT_AFTER_NUMBER, _LENGTH_RANGE, _ENGLISH_MAX_LENGTH):
        if (length_match := length_pattern.search(request_text)) and (max_length := parse_number(length_match[1])):
            return None, max_length
    if (length_match := _ABOUT_LENGTH.search(request_text)) and (
        about_length := parse_number(length_match[1] or length_match[2])
    ):
        return None, round(about_length * ABOUT_FACTOR)
    # Before the exact length: that pattern matches “至少20字” as well.
    if _AT_LEAST_LENGTH.search(request_text):
        return None, None
    return _exact_lengths(request_text)


def _exact_lengths(request_text: str) -> tuple[int | None, int | None]:
    length_match = _EXACT_LENGTH.search(request_text) or _ENGLISH_EXACT_LENGTH.search(request_text)
    exact_length = parse_number(length_match[1]) if length_match else None
    if length_match is None or not exact_length:
        return None, None
    if _NEIGHBOURING_NUMBERS.search(length_match[1]):
        return None, exact_length
    return (exact_length, None) if exact_length <= LONGEST_EXACT else (None, round(exact_length * ABOUT_FACTOR))


def _is_one_verse(request_text: str, count_text: str) -> bool:
    """Whether N句 are the lines of one text: a verse's four or eight, or any number of a kind of verse."""
    if _SEPARATE_WORDS.search(request_text):
        return False
    return parse_number(count_text) in VERSE_LINES or bool(_VERSE_WORDS.search(request_text))


def for_one_greeting(request_text: str) -> str:
    """The request with its count made one: "写十条生日祝福" becomes "写一条生日祝福"."""
    request_text = _GREETING_COUNT.sub(lambda match: match[0].replace(match[1], "一", 1), request_text)
    without_counts = request_text
    request_text = _SENTENCE_COUNT.sub(
        lambda match: match[0] if _is_one_verse(without_counts, match[1]) else match[0].replace(match[1], "一", 1),
        request_text,
    )
    return _ENGLISH_COUNT.sub(lambda match: match[0].replace(match[1], "one", 1), request_text)


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
    # For reading only: the request is shown and sent as it was written.
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
    # In both forms: spaces between characters hide Chinese words, and English ones need theirs.
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
