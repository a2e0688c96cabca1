"""One request in one of the ways in which people ask."""

import re
from random import Random

from backend.starter.bank import Bank
from backend.starter.writing import Scene

BEFORE = ("请", "帮我", "麻烦", "求")
AFTER = ("。", "！", "，谢谢", "？")
TALKED = 0.15
"""How often something stands before or after a request that says nothing of what is asked for."""
TENS = "〇一二三四五六七八九"
FIGURES = (
    {"两": "2", "十": "10"}
    | {
        TENS[ten].replace("一", "") * (ten > 1) + "十" + TENS[one] * (one > 0): str(10 * ten + one)
        for ten in range(1, 10)
        for one in range(10)
    }
    | {TENS[one]: str(one) for one in range(1, 10)}
)
_FIELDS = re.compile(r"\{(\w)\}")


def ask(bank: Bank, scene: Scene, rng: Random) -> str | None:
    """A request for what the scene holds, nothing more; None where no pattern says exactly that."""
    patterns = _fitting(bank, scene, rng)
    if not patterns:
        return None
    text = _FIELDS.sub(lambda found: _word(bank, scene, found[1], rng), rng.choice(patterns))
    if scene.style and scene.size:
        text += "，" + rng.choice(bank.requests.phrases[scene.size])
    return None if text.startswith(("，", "的")) else _dressed(bank, text, rng)


def _fitting(bank: Bank, scene: Scene, rng: Random) -> list[str]:
    """The patterns of a kind drawn at random whose fields are what the scene has."""
    kinds = ["occasion"]
    if scene.recipient is not None:
        kinds = ["both", "both", "event"] if bank.events(scene.occasion, scene.recipient) else ["both"]
        if scene.occasion.festival and not (scene.style or scene.size or scene.detail):
            kinds.append("festival")
    kind = rng.choice(kinds)
    return [
        pattern
        for pattern in bank.requests.patterns[kind]
        if ("{s}" in pattern or "{a}" in pattern) is bool(scene.style or scene.size)
        and ("{d}" in pattern) is (scene.detail is not None)
    ]


def _word(bank: Bank, scene: Scene, field: str, rng: Random) -> str:
    occasion, who = scene.occasion, scene.recipient
    if field == "o":
        return rng.choice(occasion.names).replace("{n}", _number(scene, rng))
    if field == "t":
        return rng.choice(occasion.things or bank.requests.things)
    if field in "sa":
        wish = scene.style or scene.size
        adjectives, phrases = bank.requests.adjectives[wish], bank.requests.phrases[wish]
        return rng.choice(adjectives if field == "a" else adjectives + phrases)
    assert who is not None
    if field == "r":
        return rng.choice(who.names)
    if field == "d":
        assert scene.detail is not None
        return rng.choice(scene.detail.asks).replace("{他}", who.third)
    event = rng.choice(bank.events(occasion, who))
    return event.replace("{n}", _number(scene, rng)).replace("{r}", rng.choice(who.names))


def _number(scene: Scene, rng: Random) -> str:
    """As a word or in figures, as people write it."""
    return FIGURES.get(scene.number, scene.number) if rng.random() < 0.5 else scene.number


def _dressed(bank: Bank, text: str, rng: Random) -> str:
    """Now and then a word of politeness, a circumstance or a mark at the end."""
    talk = bank.requests.talk
    if rng.random() < 0.06 and text.startswith(("写", "给", "来")):
        text = rng.choice(BEFORE) + text
    elif rng.random() < TALKED:
        text = rng.choice(talk["before"] if rng.random() < 0.5 else talk["when"]) + text
    if rng.random() < TALKED:
        text += rng.choice(talk["after"])
    return text + rng.choice(AFTER) if rng.random() < 0.08 else text
