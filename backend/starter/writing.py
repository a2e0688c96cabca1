"""One greeting out of clauses: which roles a style takes, which clauses go together, how they join."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from backend.starter.bank import Bank, Detail, Mood, Occasion, Recipient
from backend.text import length

PLANS: dict[str, tuple[tuple[str, ...], ...]] = {
    "": (
        ("open", "wish", "wish"),
        ("open", "image", "wish"),
        ("open", "line", "wish"),
        ("open", "wish", "close"),
        ("open", "line", "wish", "close"),
        ("open", "wish", "image", "close"),
    ),
    "正式": (("formal", "wish"), ("open", "line", "formal"), ("open", "formal", "wish")),
    "幽默": (("open", "funny"), ("open", "funny", "wish"), ("funny", "wish"), ("open", "funny", "close")),
    "文艺": (("open", "literary"), ("literary", "image"), ("open", "literary", "wish"), ("literary", "wish")),
    "古风": (("classical", "wish"), ("classical", "classical"), ("classical", "literary")),
    "四字": (("four",),),
    "四个字": (("four",),),
    "温情": (("open", "line", "wish"), ("open", "line", "wish", "close"), ("line", "image", "close")),
    "口语": (("open", "wish", "close"), ("open", "line", "close"), ("open", "close")),
}
"""By style the roles of a greeting, in their order; "" is no wish."""
BRIEF = (("open", "wish"), ("open", "wish"), ("wish",), ("image",))
FULL = (
    ("open", "line", "image", "wish", "wish", "close"),
    ("open", "wish", "line", "wish", "close"),
    ("open", "image", "wish", "wish", "close"),
)
SIZES = {"": (1, 130), "简短": (1, 22), "中等": (32, 66), "详细": (62, 150)}
"""By wish for a length: the fewest and the most characters of a greeting."""
STYLED_ALONE = frozenset({"古风", "四字", "四个字", "文艺"})
"""Styles whose greetings may name no occasion."""
NEEDS = {
    "幽默": "funny",
    "文艺": "literary",
    "古风": "classical",
    "四字": "four",
    "四个字": "four",
    "正式": "formal",
}
FOURS = frozenset({"四字", "四个字"})
"""四字 asks for phrases of four characters, 四个字 for four characters."""
OWN_SHARE = 0.4
"""How often only clauses written for the recipient are drawn from."""
FOUR = (4, 6)
_END = "。！？~…"
_HEADS = (
    "亲爱的|宝贝|嘿|寿星|小寿星|孩子他妈|孩子他爸|孩子|小朋友|小宝贝|女神|准妈妈|老婆|老公|小懒虫|小勇士|哥|姐|爸|妈|爸妈"
    "|小家伙|兄弟|各位"
)
_ADDRESSED = re.compile(f"^({_HEADS})[，：！]")


@dataclass(frozen=True)
class Scene:
    """What a greeting answers."""

    occasion: Occasion
    recipient: Recipient | None
    style: str = ""
    size: str = ""
    number: str = ""
    detail: Detail | None = None

    @property
    def plan(self) -> list[str]:
        """What was asked for, a word each: occasion, recipient, way of writing, number and detail if any."""
        who = self.recipient.name if self.recipient else "nobody"
        told = (self.number, self.detail.key if self.detail else "")
        return [self.occasion.key, who, self.style or self.size or "plain", *filter(None, told)]


def styles_of(bank: Bank, occasion: Occasion, recipient: Recipient | None) -> list[str]:
    """Which wishes for a style can be met here; "" is no wish."""
    return [
        style
        for style in PLANS
        if style not in NEEDS or len(bank.clauses(occasion, recipient, NEEDS[style])) >= 1
    ]


def write(bank: Bank, scene: Scene, rng: Random) -> str | None:
    """A greeting; None where the chosen clauses do not go together."""
    if scene.style in FOURS:
        return _four(bank, scene, rng)
    chosen: list[str] = []
    for role in _plan(scene, rng):
        options = [one for one in _options(bank, scene, role, rng) if not clash(one, chosen)]
        if options:
            chosen.append(rng.choice(options))
    if scene.detail is not None:
        told = [line for line in scene.detail.line if not clash(line, chosen)]
        if not told:
            return None
        chosen.insert(1, rng.choice(told))
    if not chosen:
        return None
    text = _filled(_joined(_called(scene, chosen, rng), scene, rng), scene, rng)
    least, most = SIZES[scene.size]
    return text if least <= length(text) <= most else None


def _plan(scene: Scene, rng: Random) -> tuple[str, ...]:
    """The roles; a style keeps its own role in a short greeting and adds it to a long one."""
    own = NEEDS.get(scene.style)
    if scene.size == "简短":
        return rng.choice(((own,), ("open", own)) if own else BRIEF)
    if scene.size == "详细":
        first, *rest = rng.choice(FULL)
        return (first, own, *rest) if own else (first, *rest)
    return rng.choice(PLANS[scene.style])


def clash(clause: str, chosen: Sequence[str]) -> bool:
    """Whether two clauses say the same: three characters in a row, or two pairs of them."""
    own = _grams(clause)
    return any(len(own & _grams(other)) > 1 for other in chosen)


def _grams(clause: str) -> set[str]:
    plain = re.split(r"\W|[{}你您愿祝我们的]", clause)
    return {part[at : at + 2] for part in plain for at in range(len(part) - 1)}


def _options(bank: Bank, scene: Scene, role: str, rng: Random) -> list[str]:
    if role != "line":
        own = bank.own(scene.occasion, scene.recipient, role) if rng.random() < OWN_SHARE else []
        return own or bank.clauses(scene.occasion, scene.recipient, role)
    if scene.recipient is None or scene.occasion.mood is Mood.GRIEF:
        return []
    if scene.occasion.mood is Mood.CARE:
        lines = scene.recipient.care if scene.occasion.ill else ()
    else:
        lines = scene.recipient.line
    return [line for line in lines if bank.fits(line, scene.occasion.mood, scene.recipient)]


def _four(bank: Bank, scene: Scene, rng: Random) -> str | None:
    phrases = bank.clauses(scene.occasion, scene.recipient, "four")
    mark = "。" if scene.occasion.mood in (Mood.CARE, Mood.GRIEF) else "！"
    if scene.style == "四个字":
        return rng.choice(phrases) + rng.choice(("", mark))
    size = min(rng.randint(*FOUR), len(phrases))
    if size < FOUR[0]:
        return None
    words = "，".join(rng.sample(phrases, size)) + mark
    head = _call(scene, rng)
    return f"{head}，{words}" if head and rng.random() < 0.5 else words


def _called(scene: Scene, chosen: list[str], rng: Random) -> list[str]:
    """The form of address in front, unless a clause has its own."""
    if any(_ADDRESSED.search(clause) for clause in chosen):
        head = next(at for at, clause in enumerate(chosen) if _ADDRESSED.search(clause))
        return [chosen[head], *chosen[:head], *chosen[head + 1 :]] if head else chosen
    often = 0.5 if scene.size == "简短" else {"古风": 0.0, "文艺": 0.5}.get(scene.style, 0.85)
    call = _call(scene, rng)
    if not call or rng.random() > often:
        return chosen
    return [f"{call}，{chosen[0]}", *chosen[1:]]


def _call(scene: Scene, rng: Random) -> str:
    return rng.choice(scene.recipient.calls) if scene.recipient and scene.recipient.calls else ""


def _joined(chosen: Sequence[str], scene: Scene, rng: Random) -> str:
    """Clauses as sentences; two wishes in a row share one."""
    happy = scene.occasion.mood in (Mood.JOY, Mood.PUSH)
    text = ""
    for at, clause in enumerate(chosen):
        last = at == len(chosen) - 1
        if clause[-1] in _END:
            text += clause
        elif not last and not text.endswith("，") and _pair(clause, chosen[at + 1]) and rng.random() < 0.7:
            text += clause + "，"
        else:
            text += clause + ("！" if last and happy and rng.random() < 0.7 else "。")
    return text


def _pair(clause: str, following: str) -> bool:
    """Whether two wishes are short enough for one sentence."""
    return all(one.startswith("愿") and "，" not in one for one in (clause, following))


def _filled(text: str, scene: Scene, rng: Random) -> str:
    you = _you(scene, rng)
    return text.replace("{你}", you).replace("{n}", scene.number)


def _you(scene: Scene, rng: Random) -> str:
    who = scene.recipient
    if scene.occasion.plural:
        if who is not None and "love" in who.audiences:
            return "我们"
        return rng.choice(("你们", "两位")) if who is None or "formal" in who.audiences else "你们"
    if who is None:
        return "您" if scene.style == "正式" else rng.choice(("你", "你", "你", "您"))
    if scene.style == "正式" and who.you == "你" and not {"love", "child"} & set(who.audiences):
        return "您"
    return who.you
