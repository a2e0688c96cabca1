"""Whether a text can stand as the greeting that was asked for. Stated rules, no model, no taste."""

import re
import unicodedata
from collections import Counter

from backend.text import count_characters, strip_white_space
from backend.writing.ages import other_number
from backend.writing.faults import LONGEST_GREETING, Fault
from backend.writing.names import find_invented_name
from backend.writing.rules import compiled_rule
from backend.writing.tidy import clean_greeting, numbered_lines
from backend.writing.wish import GreetingRequest

__all__ = ["Fault", "clean_greeting", "find_fault"]

_HAN_CHARACTER = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_FOREIGN_CHARACTER = re.compile(r"[\u3040-\u30ff\uac00-\ud7af\u0400-\u04ff\u0600-\u06ff\u0e00-\u0e7f]")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f']{2,}")
_COUNTED_CHARACTER = re.compile(r"[^\W_]")

_ORDINAL_LABEL = re.compile(r"(?:版本|方案|选项|祝福语?|第)\s*[一二三四五\d]\s*(?:条|个|版|种|句)?\s*[：:、.]")
_INLINE_NUMBER = re.compile(r"(?:^|[\s。！!；;])([1-9])\s*[.．、)）](?!\d)")
_ASKING_WORDS = re.compile(
    r"祝福[语词话]|贺[词语]|[金短]?句|文案|怎么|如何|大全|的话|发|写|来一|说|简短|寄语|吉祥话|吉利话"
)
_OPEN_ENDING = re.compile(
    r"[，,、：:；;（(“‘《「『\-]$|[^生终如]与$|以及$|[，。！][^，。！]{0,6}(?:[您你]的|因为|如果|不仅|让我们?)$"
)
_BRACKET_PAIRS = ("“”", "（）", "《》", "「」", "『』", "()")
_FOUR_CHARACTERS = re.compile(r"[四4]字")
PHRASE_LENGTH = 4
_ADDRESS_CLAUSE = re.compile(r"[^愿祝恭贺]{1,6}")
_CLAUSE_BREAK = re.compile(r"[，,、。．！!？?；;：:…~～\n\s]+")

_SENTENCE_BREAK = re.compile(r"[。．！!？?；;…\n]+")

LOOP_LENGTH, LOOP_REPEATS = 4, 4
"""A stretch of that many characters that occurs that often…"""
LOOP_SHARE = 0.4
"""…and fills that share of the text, a clause of the same length said three times, or a sentence of twice the
length said twice: the text loops."""


def find_fault(request: GreetingRequest, greeting_text: str) -> Fault | None:
    """The first fault of the text as one greeting for the wish, None where it has none. Never raises.

    The text is judged as it is; `clean` it before, where a model wrote it.
    """
    return next((named_fault for named_fault, has_fault in _FAULT_RULES if has_fault(request, greeting_text)), None)


def _is_empty(_request: GreetingRequest, greeting_text: str) -> bool:
    return not _COUNTED_CHARACTER.search(greeting_text)


def _is_garbage(_request: GreetingRequest, greeting_text: str) -> bool:
    if compiled_rule("broken").search(greeting_text):
        return True
    plain_characters = [
        character
        for character in strip_white_space(greeting_text)
        if unicodedata.category(character) not in ("So", "Sk", "Mn", "Cf")
    ]
    return sum(character.isalnum() for character in plain_characters) < 0.5 * len(plain_characters)


def _is_refusal(_request: GreetingRequest, greeting_text: str) -> bool:
    return bool(compiled_rule("refused").search(greeting_text))


def _is_wrong_language(request: GreetingRequest, greeting_text: str) -> bool:
    chinese_count, foreign_count = (
        len(_HAN_CHARACTER.findall(greeting_text)),
        len(_FOREIGN_CHARACTER.findall(greeting_text)),
    )
    if request.language == "en":
        return foreign_count > chinese_count and foreign_count > 10
    return (
        foreign_count > 0.2 * (chinese_count + foreign_count)
        or len(_LATIN_WORD.findall(greeting_text)) > chinese_count / 2
    )


def _repeats_request(request: GreetingRequest, greeting_text: str) -> bool:
    request_letters, text_letters = _counted_letters(request.text), _counted_letters(greeting_text)
    if text_letters == request_letters or (
        len(text_letters) < len(request_letters) and text_letters in request_letters and request.exact_chars is None
    ):
        return True
    return (
        len(request_letters) >= 6
        and text_letters.startswith(request_letters)
        and bool(_ASKING_WORDS.search(request.text))
    )


def _holds_several(request: GreetingRequest, greeting_text: str) -> bool:
    if request.count > 1:
        return False
    if len(numbered_lines(greeting_text)) > 1 or len(set(_ORDINAL_LABEL.findall(greeting_text))) > 1:
        return True
    inline_numbers = [int(number_match[1]) for number_match in _INLINE_NUMBER.finditer(greeting_text)]
    return inline_numbers[:2] == [1, 2]


def _has_placeholder(request: GreetingRequest, greeting_text: str) -> bool:
    return any(blank_match[0] not in request.text for blank_match in compiled_rule("blank").finditer(greeting_text))


def _is_repetitive(_request: GreetingRequest, greeting_text: str) -> bool:
    all_letters = _counted_letters(greeting_text)
    clause_counts = Counter(
        clause_letters
        for text_part in _CLAUSE_BREAK.split(greeting_text)
        if len(clause_letters := _counted_letters(text_part)) >= LOOP_LENGTH
    )
    sentence_counts = Counter(
        sentence_letters
        for text_part in _SENTENCE_BREAK.split(greeting_text)
        if len(sentence_letters := _counted_letters(text_part)) >= 2 * LOOP_LENGTH
    )
    if max(clause_counts.values(), default=0) >= 3 or max(sentence_counts.values(), default=0) >= 2:
        return True
    stretch_counts = Counter(
        all_letters[start_index : start_index + LOOP_LENGTH]
        for start_index in range(len(all_letters) - LOOP_LENGTH + 1)
    )
    highest_count = max(stretch_counts.values(), default=0)
    return highest_count >= LOOP_REPEATS and highest_count * LOOP_LENGTH > LOOP_SHARE * len(all_letters)


def _is_too_long(_request: GreetingRequest, greeting_text: str) -> bool:
    return count_characters(greeting_text) > LONGEST_GREETING


def _has_wrong_length(request: GreetingRequest, greeting_text: str) -> bool:
    letter_count = len(_counted_letters(greeting_text))
    if request.exact_chars is not None:
        return letter_count != request.exact_chars and not _is_in_fours(request, greeting_text)
    return request.max_chars is not None and letter_count > request.max_chars


def _is_in_fours(request: GreetingRequest, greeting_text: str) -> bool:
    """Who asks for 四字 without 个 may mean phrases of four characters, however many, after an address."""
    if request.exact_chars != PHRASE_LENGTH or not _FOUR_CHARACTERS.search(request.text):
        return False
    clause_letters = [
        letters for clause_text in _CLAUSE_BREAK.split(greeting_text) if (letters := _counted_letters(clause_text))
    ]
    if len(clause_letters) > 2 and _ADDRESS_CLAUSE.fullmatch(clause_letters[0]):
        clause_letters = clause_letters[1:]
    return {len(clause_text) for clause_text in clause_letters} == {PHRASE_LENGTH}


def _is_cut_off(_request: GreetingRequest, greeting_text: str) -> bool:
    stripped_text = greeting_text.rstrip()
    return bool(_OPEN_ENDING.search(stripped_text)) or any(
        stripped_text.count(bracket_pair[0]) > stripped_text.count(bracket_pair[1]) for bracket_pair in _BRACKET_PAIRS
    )


def _invents_name(request: GreetingRequest, greeting_text: str) -> bool:
    return find_invented_name(request.text, greeting_text) is not None


def _states_other_number(request: GreetingRequest, greeting_text: str) -> bool:
    return other_number(request.text, greeting_text) is not None


def _counted_letters(counted_text: str) -> str:
    """Letters, digits and Chinese characters only: what people count when they count characters."""
    return "".join(_COUNTED_CHARACTER.findall(counted_text))


_FAULT_RULES = (
    (Fault.EMPTY, _is_empty),
    (Fault.GARBAGE, _is_garbage),
    (Fault.REFUSED, _is_refusal),
    (Fault.WRONG_LANGUAGE, _is_wrong_language),
    (Fault.REPEATS_PROMPT, _repeats_request),
    (Fault.SEVERAL, _holds_several),
    (Fault.PLACEHOLDER, _has_placeholder),
    (Fault.REPETITIVE, _is_repetitive),
    (Fault.TOO_LONG, _is_too_long),
    (Fault.WRONG_LENGTH, _has_wrong_length),
    (Fault.CUT, _is_cut_off),
    (Fault.INVENTED_NAME, _invents_name),
    (Fault.WRONG_NUMBER, _states_other_number),
)
