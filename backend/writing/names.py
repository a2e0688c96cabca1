"""Names in greetings: whom a text addresses by a name that nobody told it. Precise rather than complete."""

import re

from backend.writing.rules import rule, words

_SURNAME, _GIVEN = words("surname"), words("given")
# Where somebody may be addressed, and what may follow.
_START = r"(?:^|(?<=[，,。！!？?；;：:\n\s“「—~～])|(?<=[亲敬可]爱的)|(?<=尊敬的)|(?<=[祝愿给致福贺喜]))"
_STOP = r"(?=$|[，,。！!？?；;：:、\n\s”」~～]|您|你|生日|新婚|新年|节日|早|晚安|好|和|与|的)"
# "王总", "李阿姨"
_TITLED = re.compile(
    rf"{_START}((?:{_SURNAME}|{words('surname_wide')}){words('title')}){_STOP}",
)
# Stock names of model-written text: "小明".
_STOCKED = re.compile(rf"{_START}({words('stock_name')})(?!子|朋友|心|哥|姐|提琴|时|店){_STOP}")
# A full name where somebody is spoken to: "王晓雨，生日快乐".
_FULL = re.compile(
    rf"(?:^|(?<=[。！!？?\n])|(?<=[亲敬]爱的)|(?<=尊敬的)|(?<=祝))({_SURNAME}{_GIVEN}{{1,2}})"
    r"(?=[，,：:！!]|生日快乐|新婚快乐|同学|先生|女士|老师)"
)
# A Latin name: "亲爱的Lily", "Dear Tom,", "Tom，生日快乐".
_LATIN = re.compile(
    r"(?:[亲敬]爱的|尊敬的|\b[Dd]ear\s|祝|^)\s*([A-Z][a-z]{2,11})(?=\s*(?:[，,：:！!]|生日|新婚|新年|同学|老师))"
)


def invented_name(request: str, text: str) -> str | None:
    """A personal name that the text calls somebody by and the request does not contain; None without one."""
    for pattern in (_TITLED, _STOCKED, _FULL, _LATIN):
        for match in pattern.finditer(text):
            if not rule("no_name").fullmatch(match[1]) and not _given(match[1], request):
                return match[1]
    return None


def _given(name: str, request: str) -> bool:
    """Whether the request has the name, or its surname with another title ("王姓同事", "姓李的老师")."""
    return name.lower() in request.lower() or f"姓{name[0]}" in request or f"{name[0]}姓" in request
