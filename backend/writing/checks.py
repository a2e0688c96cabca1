"""Whether a text can stand as the greeting that was asked for. Stated rules, no model, no taste."""

import re
import unicodedata
from collections import Counter

from backend.text import length, squeeze
from backend.writing.ages import other_number
from backend.writing.faults import LONGEST_GREETING, Fault
from backend.writing.names import invented_name
from backend.writing.rules import rule
from backend.writing.tidy import clean, numbered_lines
from backend.writing.wish import Wish

__all__ = ["Fault", "clean", "fault_of"]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_FOREIGN = re.compile(r"[\u3040-\u30ff\uac00-\ud7af\u0400-\u04ff\u0600-\u06ff\u0e00-\u0e7f]")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f']{2,}")
_COUNTED = re.compile(r"[^\W_]")

_ORDINAL = re.compile(r"(?:版本|方案|选项|祝福语?|第)\s*[一二三四五\d]\s*(?:条|个|版|种|句)?\s*[：:、.]")
_INLINE = re.compile(r"(?:^|[\s。！!；;])([1-9])\s*[.．、)）](?!\d)")
_ASKING = re.compile(
    r"祝福[语词话]|贺[词语]|[金短]?句|文案|怎么|如何|大全|的话|发|写|来一|说|简短|寄语|吉祥话|吉利话"
)
_OPEN = re.compile(
    r"[，,、：:；;（(“‘《「『\-]$|[^生终如]与$|以及$|[，。！][^，。！]{0,6}(?:[您你]的|因为|如果|不仅|让我们?)$"
)
_PAIRS = ("“”", "（）", "《》", "「」", "『』", "()")
_FOURS = re.compile(r"[四4]字")
FOUR = 4
_ADDRESS = re.compile(r"[^愿祝恭贺]{1,6}")
_CLAUSE = re.compile(r"[，,、。．！!？?；;：:…~～\n\s]+")

_SENTENCE = re.compile(r"[。．！!？?；;…\n]+")

LOOP, LOOPS = 4, 4
"""A stretch of that many characters that occurs that often…"""
LOOPED = 0.4
"""…and fills that share of the text, a clause of the same length said three times, or a sentence of twice the
length said twice: the text loops."""


def fault_of(wish: Wish, text: str) -> Fault | None:
    """The first fault of the text as one greeting for the wish, None where it has none. Never raises.

    The text is judged as it is; `clean` it before, where a model wrote it.
    """
    return next((fault for fault, found in _RULES if found(wish, text)), None)


def _empty(_wish: Wish, text: str) -> bool:
    return not _COUNTED.search(text)


def _garbage(_wish: Wish, text: str) -> bool:
    if rule("broken").search(text):
        return True
    body = [char for char in squeeze(text) if unicodedata.category(char) not in ("So", "Sk", "Mn", "Cf")]
    return sum(char.isalnum() for char in body) < 0.5 * len(body)


def _refused(_wish: Wish, text: str) -> bool:
    return bool(rule("refused").search(text))


def _wrong_language(wish: Wish, text: str) -> bool:
    han, foreign = len(_HAN.findall(text)), len(_FOREIGN.findall(text))
    if wish.language == "en":
        return foreign > han and foreign > 10
    return foreign > 0.2 * (han + foreign) or len(_LATIN_WORD.findall(text)) > han / 2


def _repeats(wish: Wish, text: str) -> bool:
    asked, said = _letters(wish.text), _letters(text)
    if said == asked or (len(said) < len(asked) and said in asked and wish.exact_chars is None):
        return True
    return len(asked) >= 6 and said.startswith(asked) and bool(_ASKING.search(wish.text))


def _several(wish: Wish, text: str) -> bool:
    if wish.count > 1:
        return False
    if len(numbered_lines(text)) > 1 or len(set(_ORDINAL.findall(text))) > 1:
        return True
    numbers = [int(match[1]) for match in _INLINE.finditer(text)]
    return numbers[:2] == [1, 2]


def _placeholder(wish: Wish, text: str) -> bool:
    return any(match[0] not in wish.text for match in rule("blank").finditer(text))


def _repetitive(_wish: Wish, text: str) -> bool:
    body = _letters(text)
    clauses = Counter(clause for part in _CLAUSE.split(text) if len(clause := _letters(part)) >= LOOP)
    sentences = Counter(said for part in _SENTENCE.split(text) if len(said := _letters(part)) >= 2 * LOOP)
    if max(clauses.values(), default=0) >= 3 or max(sentences.values(), default=0) >= 2:
        return True
    stretches = Counter(body[at : at + LOOP] for at in range(len(body) - LOOP + 1))
    most = max(stretches.values(), default=0)
    return most >= LOOPS and most * LOOP > LOOPED * len(body)


def _too_long(_wish: Wish, text: str) -> bool:
    return length(text) > LONGEST_GREETING


def _wrong_length(wish: Wish, text: str) -> bool:
    chars = len(_letters(text))
    if wish.exact_chars is not None:
        return chars != wish.exact_chars and not _in_fours(wish, text)
    return wish.max_chars is not None and chars > wish.max_chars


def _in_fours(wish: Wish, text: str) -> bool:
    """Who asks for 四字 without 个 may mean phrases of four characters, however many, after an address."""
    if wish.exact_chars != FOUR or not _FOURS.search(wish.text):
        return False
    clauses = [part for clause in _CLAUSE.split(text) if (part := _letters(clause))]
    if len(clauses) > 2 and _ADDRESS.fullmatch(clauses[0]):
        clauses = clauses[1:]
    return {len(clause) for clause in clauses} == {FOUR}


def _cut(_wish: Wish, text: str) -> bool:
    body = text.rstrip()
    return bool(_OPEN.search(body)) or any(body.count(pair[0]) > body.count(pair[1]) for pair in _PAIRS)


def _invented(wish: Wish, text: str) -> bool:
    return invented_name(wish.text, text) is not None


def _wrong_number(wish: Wish, text: str) -> bool:
    return other_number(wish.text, text) is not None


def _letters(text: str) -> str:
    """Letters, digits and Chinese characters only: what people count when they count characters."""
    return "".join(_COUNTED.findall(text))


_RULES = (
    (Fault.EMPTY, _empty),
    (Fault.GARBAGE, _garbage),
    (Fault.REFUSED, _refused),
    (Fault.WRONG_LANGUAGE, _wrong_language),
    (Fault.REPEATS_PROMPT, _repeats),
    (Fault.SEVERAL, _several),
    (Fault.PLACEHOLDER, _placeholder),
    (Fault.REPETITIVE, _repetitive),
    (Fault.TOO_LONG, _too_long),
    (Fault.WRONG_LENGTH, _wrong_length),
    (Fault.CUT, _cut),
    (Fault.INVENTED_NAME, _invented),
    (Fault.WRONG_NUMBER, _wrong_number),
)
