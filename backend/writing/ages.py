"""Ages and anniversaries: a greeting for the sixtieth birthday must not wish well for the eightieth."""

import re

from backend.writing.numbers import NUMBER, number

_N = f"({NUMBER})"
_ASKED = re.compile(rf"{_N}\s*(?:周岁|岁|大寿|寿|华诞|(周年))")
# Only what states the day that is celebrated: 永远十八岁 and 又满一岁 wish something else.
_STATED = re.compile(
    rf"(?<!又)满{_N}周?岁|{_N}(?:大寿|寿[辰宴诞]|华诞|周岁|(周年))"
    rf"|(?<!永远)(?<!年年)(?<!还像){_N}岁(?:的?(?:生日|生辰|寿|好日子|大喜)|华诞|快乐)"
)
_ROW = re.compile("[一二三四五六七八九]{2}")
"""Ages are also written digit by digit: 六六 is 66."""
CENTURY = 100
"""百岁 is a wish as often as an age."""


def other_number(request: str, text: str) -> str | None:
    """The words that state another age or anniversary than the request names; None where it names none."""
    asked = {(bool(found[2]), _value(found[1])) for found in _ASKED.finditer(request)}
    kinds = {years for years, _ in asked}
    for found in _STATED.finditer(text):
        years, value = bool(found[3]), _value(found[1] or found[2] or found[4])
        if years in kinds and value != CENTURY and (years, value) not in asked:
            return found[0]
    return None


def _value(text: str) -> int | None:
    if _ROW.fullmatch(text):
        return 10 * (number(text[0]) or 0) + (number(text[1]) or 0)
    return number(text)
