"""One greeting out of clauses: which roles a style takes, which clauses go together, how they join."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from backend.core.text import count_characters
from backend.starter.bank import ClauseBank, Mood, Occasion, Recipient, RecipientDetail

# By style the roles of a greeting, in their order; "" is no wish.
STYLE_PLANS: dict[str, tuple[tuple[str, ...], ...]] = {
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
    "文艺": (("open", "literary"), ("open", "literary", "image"), ("open", "literary", "wish"), ("literary", "wish")),
    "古风": (
        ("open", "classical"),
        ("classical", "wish"),
        ("classical", "classical"),
        ("open", "classical", "literary"),
    ),
    "四字": (("four",),),
    "四个字": (("four",),),
    "八个字": (("four", "four"),),
    "温情": (("open", "line", "wish"), ("open", "line", "wish", "close"), ("open", "line", "image", "close")),
    "口语": (("open", "wish", "close"), ("open", "line", "close"), ("open", "close")),
}
BRIEF_PLANS = (*(("open", "wish"),) * 6, ("open",), ("wish",))
FULL_PLANS = (
    ("open", "line", "image", "wish", "wish", "close"),
    ("open", "wish", "line", "wish", "close"),
    ("open", "image", "wish", "wish", "close"),
)
# By wish for a length: the fewest and the most characters of a greeting.
SIZE_LIMITS = {"": (1, 130), "简短": (1, 26), "中等": (32, 66), "详细": (62, 150)}
# Styles whose greetings may name no occasion.
STANDALONE_STYLES = frozenset({"古风", "四字", "四个字", "八个字", "文艺"})
NEEDED_ROLES = {
    "幽默": "funny",
    "文艺": "literary",
    "古风": "classical",
    "四字": "four",
    "四个字": "four",
    "八个字": "four",
    "正式": "formal",
}
# 四字 asks for phrases of four characters, 四个字 for four characters, 八个字 for two such phrases.
FOUR_CHARACTER_STYLES = frozenset({"四字", "四个字", "八个字"})
# How often only clauses written for the recipient are drawn from.
OWN_CLAUSE_SHARE = 0.4
PHRASE_COUNTS = (4, 6)
_END_MARKS = "。！？~…"
_ADDRESS_WORDS = (
    "亲爱的|宝贝|嘿|寿星|小寿星|孩子他妈|孩子他爸|孩子|小朋友|小宝贝|女神|准妈妈|老婆|老公|小懒虫|小勇士|哥|姐|爸|妈|爸妈"
    "|小家伙|兄弟|各位"
)
_ADDRESS_START = re.compile(f"^({_ADDRESS_WORDS})[，：！]")


@dataclass(frozen=True)
class GreetingScene:
    """What a greeting is written for.

    `recipient` None is nobody in particular, `style` a key of STYLE_PLANS, `size` one of SIZE_LIMITS, `number` the word
    that fills {n}.
    """

    occasion: Occasion
    recipient: Recipient | None
    style: str = ""
    size: str = ""
    number: str = ""
    detail: RecipientDetail | None = None

    @property
    def plan(self) -> list[str]:
        """What was asked for, a word each: occasion, recipient, way of writing, number and detail if any."""
        recipient_name = self.recipient.name if self.recipient else "nobody"
        extra_words = (self.number, self.detail.key if self.detail else "")
        return [
            self.occasion.key,
            recipient_name,
            self.style or self.size or "plain",
            *filter(None, extra_words),
        ]


def possible_styles(clause_bank: ClauseBank, occasion: Occasion, recipient: Recipient | None) -> list[str]:
    """The keys of STYLE_PLANS for which there are clauses here; "" is no wish for a style."""
    return [
        style_name
        for style_name in STYLE_PLANS
        if style_name not in NEEDED_ROLES
        or len(clause_bank.clauses(occasion, recipient, NEEDED_ROLES[style_name])) >= 1
    ]


def write_greeting(clause_bank: ClauseBank, scene: GreetingScene, rng: Random) -> str | None:
    """A greeting; None where the chosen clauses do not go together."""
    if scene.style in FOUR_CHARACTER_STYLES:
        return _write_phrases(clause_bank, scene, rng)
    chosen_clauses: list[str] = []
    for clause_role in _draw_plan(scene, rng):
        clause_options = [
            role_clause
            for role_clause in _role_clauses(clause_bank, scene, clause_role, rng)
            if not repeats_clause(role_clause, chosen_clauses)
        ]
        if clause_options:
            chosen_clauses.append(rng.choice(clause_options))
    if scene.detail is not None:
        detail_clauses = [
            detail_clause
            for detail_clause in scene.detail.greeting_clauses
            if not repeats_clause(detail_clause, chosen_clauses)
        ]
        if not detail_clauses:
            return None
        # Behind the opening, which names the occasion: a detail in front of it would seem to be what is
        # celebrated.
        chosen_clauses.insert(1, rng.choice(detail_clauses))
    if not chosen_clauses:
        return None
    greeting_text = _fill_fields(_join_clauses(_add_address(scene, chosen_clauses, rng), scene, rng), scene, rng)
    min_length, max_length = SIZE_LIMITS[scene.size]
    return greeting_text if min_length <= count_characters(greeting_text) <= max_length else None


def _draw_plan(scene: GreetingScene, rng: Random) -> tuple[str, ...]:
    """The roles; a style keeps its own role in a short greeting and adds it to a long one."""
    style_role = NEEDED_ROLES.get(scene.style)
    if scene.size == "简短":
        return rng.choice(((style_role,), ("open", style_role)) if style_role else BRIEF_PLANS)
    if scene.size == "详细":
        first_role, *other_roles = rng.choice(FULL_PLANS)
        return (first_role, style_role, *other_roles) if style_role else (first_role, *other_roles)
    return rng.choice(STYLE_PLANS[scene.style])


def repeats_clause(clause: str, chosen_clauses: Sequence[str]) -> bool:
    """Whether two clauses say the same: three characters in a row, or two pairs of them."""
    clause_pairs = _character_pairs(clause)
    return any(len(clause_pairs & _character_pairs(other_clause)) > 1 for other_clause in chosen_clauses)


# The same few thousand clauses are compared with each other for every row: read anew, that is half the time.
@cache
def _character_pairs(clause: str) -> frozenset[str]:
    # Words of nearly every wish are left out: by them any two clauses would be alike.
    plain_parts = re.split(r"\W|[{}你您愿祝我们的]", clause)
    return frozenset(
        plain_part[start_index : start_index + 2]
        for plain_part in plain_parts
        for start_index in range(len(plain_part) - 1)
    )


def _role_clauses(clause_bank: ClauseBank, scene: GreetingScene, clause_role: str, rng: Random) -> list[str]:
    if clause_role != "line":
        own_clauses = (
            clause_bank.own_clauses(scene.occasion, scene.recipient, clause_role)
            if rng.random() < OWN_CLAUSE_SHARE
            else []
        )
        return own_clauses or clause_bank.clauses(scene.occasion, scene.recipient, clause_role)
    if scene.recipient is None or scene.occasion.mood is Mood.GRIEF:
        return []
    if scene.occasion.mood is Mood.CARE:
        personal_clauses = scene.recipient.caring_clauses if scene.occasion.ill else ()
    else:
        personal_clauses = scene.recipient.personal_clauses
    return [
        personal_clause
        for personal_clause in personal_clauses
        if clause_bank.fits(personal_clause, scene.occasion.mood, scene.recipient)
    ]


def _write_phrases(clause_bank: ClauseBank, scene: GreetingScene, rng: Random) -> str | None:
    four_phrases = clause_bank.clauses(scene.occasion, scene.recipient, "four")
    end_mark = "。" if scene.occasion.mood in (Mood.CARE, Mood.GRIEF) else "！"
    if scene.style == "四个字":
        return rng.choice(four_phrases) + rng.choice(("", end_mark))
    if scene.style == "八个字":
        return "，".join(rng.sample(four_phrases, 2)) + rng.choice(("", end_mark)) if len(four_phrases) > 1 else None
    phrase_count = min(rng.randint(*PHRASE_COUNTS), len(four_phrases))
    if phrase_count < PHRASE_COUNTS[0]:
        return None
    joined_phrases = "，".join(rng.sample(four_phrases, phrase_count)) + end_mark
    address_form = _draw_address(scene, rng)
    return f"{address_form}，{joined_phrases}" if address_form and rng.random() < 0.5 else joined_phrases


def _add_address(scene: GreetingScene, chosen_clauses: list[str], rng: Random) -> list[str]:
    """The form of address in front, unless a clause has its own."""
    if any(_ADDRESS_START.search(clause) for clause in chosen_clauses):
        address_index = next(
            clause_index for clause_index, clause in enumerate(chosen_clauses) if _ADDRESS_START.search(clause)
        )
        return (
            [
                chosen_clauses[address_index],
                *chosen_clauses[:address_index],
                *chosen_clauses[address_index + 1 :],
            ]
            if address_index
            else chosen_clauses
        )
    address_chance = 0.5 if scene.size == "简短" else {"古风": 0.0, "文艺": 0.5}.get(scene.style, 0.85)
    address_form = _draw_address(scene, rng)
    if not address_form or rng.random() > address_chance:
        return chosen_clauses
    return [f"{address_form}，{chosen_clauses[0]}", *chosen_clauses[1:]]


def _draw_address(scene: GreetingScene, rng: Random) -> str:
    return rng.choice(scene.recipient.address_forms) if scene.recipient and scene.recipient.address_forms else ""


def _join_clauses(chosen_clauses: Sequence[str], scene: GreetingScene, rng: Random) -> str:
    """Clauses as sentences; two wishes in a row share one."""
    is_happy = scene.occasion.mood in (Mood.JOY, Mood.PUSH)
    joined_text = ""
    for clause_index, clause in enumerate(chosen_clauses):
        is_last = clause_index == len(chosen_clauses) - 1
        if clause[-1] in _END_MARKS:
            joined_text += clause
        elif (
            not is_last
            and not joined_text.endswith("，")
            and _can_share_sentence(clause, chosen_clauses[clause_index + 1])
            and rng.random() < 0.7
        ):
            joined_text += clause + "，"
        else:
            joined_text += clause + ("！" if is_last and is_happy and rng.random() < 0.7 else "。")
    return joined_text


def _can_share_sentence(clause: str, next_clause: str) -> bool:
    """Whether two wishes are short enough for one sentence."""
    return all(either_clause.startswith("愿") and "，" not in either_clause for either_clause in (clause, next_clause))


def _fill_fields(joined_text: str, scene: GreetingScene, rng: Random) -> str:
    you_word = _second_person(scene, rng)
    return joined_text.replace("{你}", you_word).replace("{n}", scene.number)


def _second_person(scene: GreetingScene, rng: Random) -> str:
    recipient = scene.recipient
    if scene.occasion.plural:
        if recipient is not None and "love" in recipient.audiences:
            return "我们"
        return rng.choice(("你们", "两位")) if recipient is None or "formal" in recipient.audiences else "你们"
    if recipient is None:
        return "您" if scene.style == "正式" else rng.choice(("你", "你", "你", "您"))
    if scene.style == "正式" and recipient.second_person == "你" and not {"love", "child"} & set(recipient.audiences):
        return "您"
    return recipient.second_person
