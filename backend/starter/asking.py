"""One request in one of the ways in which people ask."""

import re
from random import Random

from backend.starter.bank import ClauseBank
from backend.starter.writing import GreetingScene

POLITE_PREFIXES = ("请", "帮我", "麻烦", "求")
ENDING_MARKS = ("。", "！", "，谢谢", "？")
SMALL_TALK_SHARE = 0.15
"""How often something stands before or after a request that says nothing of what is asked for."""
HAN_DIGITS = "〇一二三四五六七八九"
FIGURES_BY_WORD = (
    {"两": "2", "十": "10"}
    | {
        HAN_DIGITS[tens_digit].replace("一", "") * (tens_digit > 1)
        + "十"
        + HAN_DIGITS[ones_digit] * (ones_digit > 0): str(10 * tens_digit + ones_digit)
        for tens_digit in range(1, 10)
        for ones_digit in range(10)
    }
    | {HAN_DIGITS[one]: str(one) for one in range(1, 10)}
)
_PATTERN_FIELDS = re.compile(r"\{(\w)\}")


def compose_request(clause_bank: ClauseBank, scene: GreetingScene, rng: Random) -> str | None:
    """A request for what the scene holds, nothing more; None where no pattern says exactly that."""
    fitting_patterns = _fitting_patterns(clause_bank, scene, rng)
    if not fitting_patterns:
        return None
    request_text = _PATTERN_FIELDS.sub(
        lambda found: _fill_field(clause_bank, scene, found[1], rng), rng.choice(fitting_patterns)
    )
    if scene.style and scene.size:
        request_text += "，" + rng.choice(clause_bank.requests.phrases[scene.size])
    return None if request_text.startswith(("，", "的")) else _add_small_talk(clause_bank, request_text, rng)


def _fitting_patterns(clause_bank: ClauseBank, scene: GreetingScene, rng: Random) -> list[str]:
    """The patterns of a kind drawn at random whose fields are what the scene has."""
    pattern_kinds = ["occasion"]
    if scene.recipient is not None:
        pattern_kinds = (
            ["both", "both", "event"] if clause_bank.possible_events(scene.occasion, scene.recipient) else ["both"]
        )
        if scene.occasion.festival and not (scene.style or scene.size or scene.detail):
            pattern_kinds.append("festival")
    pattern_kind = rng.choice(pattern_kinds)
    return [
        request_pattern
        for request_pattern in clause_bank.requests.patterns[pattern_kind]
        if ("{s}" in request_pattern or "{a}" in request_pattern) is bool(scene.style or scene.size)
        and ("{d}" in request_pattern) is (scene.detail is not None)
    ]


def _fill_field(clause_bank: ClauseBank, scene: GreetingScene, field_letter: str, rng: Random) -> str:
    occasion, recipient = scene.occasion, scene.recipient
    if field_letter == "o":
        return rng.choice(occasion.request_names).replace("{n}", _spell_number(scene, rng))
    if field_letter == "t":
        return rng.choice(occasion.things or clause_bank.requests.things)
    if field_letter in "sa":
        style_or_size = scene.style or scene.size
        adjectives, style_phrases = (
            clause_bank.requests.adjectives[style_or_size],
            clause_bank.requests.phrases[style_or_size],
        )
        return rng.choice(adjectives if field_letter == "a" else adjectives + style_phrases)
    assert recipient is not None
    if field_letter == "r":
        return rng.choice(recipient.request_names)
    if field_letter == "d":
        assert scene.detail is not None
        return rng.choice(scene.detail.request_phrases).replace("{他}", recipient.third_person)
    event_text = rng.choice(clause_bank.possible_events(occasion, recipient))
    return event_text.replace("{n}", _spell_number(scene, rng)).replace("{r}", rng.choice(recipient.request_names))


def _spell_number(scene: GreetingScene, rng: Random) -> str:
    """As a word or in figures, as people write it."""
    return FIGURES_BY_WORD.get(scene.number, scene.number) if rng.random() < 0.5 else scene.number


def _add_small_talk(clause_bank: ClauseBank, request_text: str, rng: Random) -> str:
    """Now and then a word of politeness, a circumstance or a mark at the end."""
    small_talk = clause_bank.requests.talk
    if rng.random() < 0.06 and request_text.startswith(("写", "给", "来")):
        request_text = rng.choice(POLITE_PREFIXES) + request_text
    elif rng.random() < SMALL_TALK_SHARE:
        request_text = rng.choice(small_talk["before"] if rng.random() < 0.5 else small_talk["when"]) + request_text
    if rng.random() < SMALL_TALK_SHARE:
        request_text += rng.choice(small_talk["after"])
    return request_text + rng.choice(ENDING_MARKS) if rng.random() < 0.08 else request_text
