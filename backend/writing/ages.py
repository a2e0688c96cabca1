"""Ages and anniversaries: a greeting for the sixtieth birthday must not wish well for the eightieth."""

import re

from backend.writing.numbers import NUMBER_PATTERN, parse_number

_NUMBER_GROUP = f"({NUMBER_PATTERN})"
_REQUESTED_NUMBER = re.compile(rf"{_NUMBER_GROUP}\s*(?:周岁|岁|大寿|寿|华诞|(周年))")
# Only what states the day that is celebrated: 永远十八岁 and 又满一岁 wish something else.
_STATED_NUMBER = re.compile(
    rf"(?<!又)满{_NUMBER_GROUP}周?岁|{_NUMBER_GROUP}(?:大寿|寿[辰宴诞]|华诞|周岁|(周年))"
    rf"|(?<!永远)(?<!年年)(?<!还像){_NUMBER_GROUP}岁(?:的?(?:生日|生辰|寿|好日子|大喜)|华诞|快乐)"
)
_DIGIT_ROW = re.compile("[一二三四五六七八九]{2}")
"""Ages are also written digit by digit: 六六 is 66."""
CENTURY_AGE = 100
"""百岁 is a wish as often as an age."""


def other_number(request_text: str, greeting_text: str) -> str | None:
    """The words that state another age or anniversary than the request names; None where it names none."""
    requested_numbers = {
        (bool(number_match[2]), _parse_age(number_match[1]))
        for number_match in _REQUESTED_NUMBER.finditer(request_text)
    }
    requested_kinds = {is_anniversary for is_anniversary, _ in requested_numbers}
    for number_match in _STATED_NUMBER.finditer(greeting_text):
        is_anniversary, stated_number = (
            bool(number_match[3]),
            _parse_age(number_match[1] or number_match[2] or number_match[4]),
        )
        if (
            is_anniversary in requested_kinds
            and stated_number != CENTURY_AGE
            and (is_anniversary, stated_number) not in requested_numbers
        ):
            return number_match[0]
    return None


def _parse_age(number_text: str) -> int | None:
    if _DIGIT_ROW.fullmatch(number_text):
        return 10 * (parse_number(number_text[0]) or 0) + (parse_number(number_text[1]) or 0)
    return parse_number(number_text)
