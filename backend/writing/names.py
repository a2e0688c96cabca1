"""Names in greetings: whom a text addresses by a name that nobody told it. Precise rather than complete."""

import re

from backend.writing.rules import compiled_rule, word_pattern

_SURNAMES, _FIRST_NAMES = word_pattern("surname"), word_pattern("given")
# Where somebody may be addressed, and what may follow.
_ADDRESS_START = r"(?:^|(?<=[，,。！!？?；;：:\n\s“「—~～])|(?<=[亲敬可]爱的)|(?<=尊敬的)|(?<=[祝愿给致福贺喜]))"
_ADDRESS_END = r"(?=$|[，,。！!？?；;：:、\n\s”」~～]|您|你|生日|新婚|新年|节日|早|晚安|好|和|与|的)"
# "王总", "李阿姨"
_TITLED_NAME = re.compile(
    rf"{_ADDRESS_START}((?:{_SURNAMES}|{word_pattern('surname_wide')}){word_pattern('title')}){_ADDRESS_END}",
)
# Stock names of model-written text: "小明".
_STOCK_NAME = re.compile(
    rf"{_ADDRESS_START}({word_pattern('stock_name')})(?!子|朋友|心|哥|姐|提琴|时|店){_ADDRESS_END}"
)
# A full name where somebody is spoken to: "王晓雨，生日快乐".
_FULL_NAME = re.compile(
    rf"(?:^|(?<=[。！!？?\n])|(?<=[亲敬]爱的)|(?<=尊敬的)|(?<=祝))({_SURNAMES}{_FIRST_NAMES}{{1,2}})"
    r"(?=[，,：:！!]|生日快乐|新婚快乐|同学|先生|女士|老师)"
)
# A Latin name: "亲爱的Lily", "Dear Tom,", "Tom，生日快乐".
_LATIN_NAME = re.compile(
    r"(?:[亲敬]爱的|尊敬的|\b[Dd]ear\s|祝|^)\s*([A-Z][a-z]{2,11})(?=\s*(?:[，,：:！!]|生日|新婚|新年|同学|老师))"
)


def find_invented_name(request_text: str, greeting_text: str) -> str | None:
    """A personal name that the text calls somebody by and the request does not contain; None without one."""
    for name_pattern in (_TITLED_NAME, _STOCK_NAME, _FULL_NAME, _LATIN_NAME):
        for name_match in name_pattern.finditer(greeting_text):
            if not compiled_rule("no_name").fullmatch(name_match[1]) and not _is_in_request(
                name_match[1], request_text
            ):
                return name_match[1]
    return None


def _is_in_request(personal_name: str, request_text: str) -> bool:
    """Whether the request has the name, or its surname with another title ("王姓同事", "姓李的老师")."""
    return (
        personal_name.lower() in request_text.lower()
        or f"姓{personal_name[0]}" in request_text
        or f"{personal_name[0]}姓" in request_text
    )
