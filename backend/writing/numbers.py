"""Numbers as people write them in requests: 10, 十, 两, 三百六十五, ten."""

_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "俩": 2, "仨": 3}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_ENGLISH_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_ENGLISH = {word: n for n, word in enumerate(_ENGLISH_WORDS.split(), 1)}
_ENGLISH |= {"a": 1, "an": 1, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "dozen": 12}

HAN_NUMBER = "[零〇一二三四五六七八九两俩仨十百千]{1,7}"
NUMBER = rf"(?:\d{{1,5}}|{HAN_NUMBER})"
ENGLISH_NUMBER = r"\b(?:\d{1,5}|" + "|".join(_ENGLISH) + r")\b"
MANY = 3
"""What "several" stands for where no number is given."""


def number(text: str) -> int | None:
    """The number that the text writes; None where it is none.

    Of two neighbours (七八) the greater; of other digits in a row the last, since a holiday stands before it
    (五一四字).
    """
    text = text.strip().lower()
    if text.isdecimal():
        return int(text)
    if text in _ENGLISH:
        return _ENGLISH[text]
    if not text or any(char not in _DIGITS and char not in _UNITS for char in text):
        return None
    if all(char in _DIGITS for char in text):
        return _DIGITS[text[-1]]
    return _with_units(text)


def _with_units(text: str) -> int:
    total, digit, unit = 0, 0, 1
    for char in text:
        if char in _DIGITS:
            digit = _DIGITS[char]
        else:
            unit = _UNITS[char]
            total += (digit or 1) * unit
            digit = 0
    return total + digit
