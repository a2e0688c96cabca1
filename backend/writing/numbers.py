"""Numbers as people write them in requests: 10, 十, 两, 三百六十五, ten."""

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
SEVERAL_COUNT = 3
"""What "several" stands for where no number is given."""


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
            running_total += (digit_value or 1) * unit_value
            digit_value = 0
    return running_total + digit_value
