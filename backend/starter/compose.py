"""Requests with greetings for the starter to learn from: the same seed gives the same rows, each with its split."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from backend.core.enums import Flaw
from backend.core.text import assign_split, count_characters, strip_white_space
from backend.starter.bank import (
    SELF_AUDIENCE,
    ClauseBank,
    Mood,
    Occasion,
    Recipient,
    RecipientDetail,
    load_bank,
)
from backend.starter.writing import (
    FOUR_CHARACTER_STYLES,
    STANDALONE_STYLES,
    GreetingScene,
    possible_styles,
    write_greeting,
)

POLITE_PREFIXES = ("请", "帮我", "麻烦", "求")
ENDING_MARKS = ("。", "！", "，谢谢", "？")
# How often something stands before or after a request that says nothing of what is asked for.
SMALL_TALK_SHARE = 0.15
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
# One of several wordings: [面馆|花店].
_ALTERNATIVES = re.compile(r"\[([^\[\]]+)\]")


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
        if scene.occasion.mood not in (Mood.CARE, Mood.GRIEF) and scene.detail is None:
            pattern_kinds.append("congratulation")
            pattern_kinds += ["giver"] if scene.recipient.givers else []
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
    if field_letter == "m":
        return rng.choice(clause_bank.requests.modifiers)
    if field_letter in "sa":
        style_or_size = scene.style or scene.size
        adjectives, style_phrases = (
            clause_bank.requests.adjectives[style_or_size],
            clause_bank.requests.phrases[style_or_size],
        )
        return rng.choice(adjectives if field_letter == "a" else adjectives + style_phrases)
    assert recipient is not None
    if field_letter == "g":
        return rng.choice(recipient.givers)
    if field_letter == "r":
        return rng.choice(recipient.request_names)
    if field_letter == "d":
        assert scene.detail is not None
        return rng.choice(scene.detail.request_phrases).replace("{他}", recipient.third_person)
    event_text = choose_wording(rng.choice(clause_bank.possible_events(occasion, recipient)), rng)
    return event_text.replace("{n}", _spell_number(scene, rng)).replace("{r}", rng.choice(recipient.request_names))


def choose_wording(template_text: str, rng: Random) -> str:
    """The text with one of each group of wordings in square brackets."""
    return _ALTERNATIVES.sub(lambda found: rng.choice(found[1].split("|")), template_text)


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


# What a small model reads several times within the minutes that its training may take on a CPU.
ROW_COUNT = 50_000
CORPUS_SEED = 20_261_125
# Share of requests that name an occasion only.
NO_RECIPIENT_SHARE = 0.22
STYLED_SHARE, SIZED_SHARE, DETAILED_SHARE = 0.32, 0.22, 0.14
# Attempts at one scene before it is given up: where clauses are few, every greeting may be there already.
MAX_TRIES = 40
# How much more often somebody is drawn who is not simply 你 or 您.
RARE_ADDRESS_WEIGHT = 3
# Rows drawn for each row that stays.
# The price is variety: some greetings have a near twin.
DRAWN_PER_ROW = 1.6
_PUNCTUATION = re.compile(r"[^\w]+")
_NUMBER_RUN = re.compile(r"[\d一二三四五六七八九十][48四八]个?字|周六(?=[\d一二三四五六七八九十])")


@dataclass(frozen=True)
class ComposedRow:
    """A request, a greeting for it, and what both are about."""

    prompt: str
    greeting: str
    scene: GreetingScene


def compose_rows(
    clause_bank: ClauseBank, row_count: int = ROW_COUNT, corpus_seed: int = CORPUS_SEED
) -> list[ComposedRow]:
    """`row_count` rows of `clause_bank`, the same for the same seed; no request and no greeting occurs twice.

    More are drawn, and of each occasion and way of writing those with the rarest clauses left out: in minutes of
    training a small model learns to write what it meets often, and spells the rest wrongly.
    """
    drawn_rows = _draw_rows(clause_bank, round(row_count * DRAWN_PER_ROW), corpus_seed)
    row_patterns = [_clause_patterns(pattern_list) for pattern_list in drawn_rows]
    pattern_counts = Counter(clause_pattern for pattern_list in row_patterns for clause_pattern in pattern_list)
    rarest_counts = [
        min(pattern_counts[clause_pattern] for clause_pattern in pattern_list) for pattern_list in row_patterns
    ]
    rows_by_group: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row_index in sorted(range(len(drawn_rows)), key=lambda row_index: (-rarest_counts[row_index], row_index)):
        scene = drawn_rows[row_index].scene
        rows_by_group[scene.occasion.key, scene.style or scene.size].append(row_index)
    ranked_rows = sorted(
        # By rank within the group: by counts alone rare occasions, jokes and verse would go as a whole.
        (row_rank / len(group_rows), row_index)
        for group_rows in rows_by_group.values()
        for row_rank, row_index in enumerate(group_rows)
    )
    return [drawn_rows[row_index] for row_index in sorted(row_index for _, row_index in ranked_rows[:row_count])]


def _clause_patterns(composed_row: ComposedRow) -> list[str]:
    """The clauses, alike for every number: a clause is no rarer for each row naming another age."""
    number_word = composed_row.scene.number
    return [
        row_clause.replace(number_word, "#") if number_word else row_clause
        for row_clause in split_clauses(composed_row.greeting)
    ]


def split_clauses(greeting_text: str) -> list[str]:
    """The parts of a greeting between its punctuation marks, in order."""
    return [clause for clause in _PUNCTUATION.split(greeting_text) if clause]


def _draw_rows(clause_bank: ClauseBank, row_count: int, corpus_seed: int) -> list[ComposedRow]:
    seen_prompts: set[str] = set()
    seen_greetings: set[str] = set()
    drawn_rows: list[ComposedRow] = []
    for scene, rng in draw_scenes(clause_bank, corpus_seed):
        if len(drawn_rows) == row_count:
            break
        composed_row = _compose_row(clause_bank, scene, rng, seen_prompts, seen_greetings)
        if composed_row is not None:
            seen_prompts.add(strip_white_space(composed_row.prompt))
            seen_greetings.add(strip_white_space(composed_row.greeting))
            drawn_rows.append(composed_row)
    return drawn_rows


def draw_scenes(clause_bank: ClauseBank, corpus_seed: int) -> Iterator[tuple[GreetingScene, Random]]:
    """What to write about, without end, each with a random source of its own."""
    occasion_weights = [occasion.weight + 1 for occasion in clause_bank.occasions]
    scene_number = 0
    while True:
        # A source of its own, so that a clause more in one scene does not change every row after it.
        rng = Random(f"{corpus_seed} {scene_number}")
        scene_number += 1
        (occasion,) = rng.choices(clause_bank.occasions, occasion_weights)
        yield draw_scene(clause_bank, occasion, rng), rng


def draw_scene(clause_bank: ClauseBank, occasion: Occasion, rng: Random) -> GreetingScene:
    """Recipient, style, number and detail for an occasion."""
    possible_guests = clause_bank.guests_by_occasion[occasion.key]
    recipient = _draw_recipient(possible_guests, rng) if possible_guests and rng.random() > NO_RECIPIENT_SHARE else None
    style_options = possible_styles(clause_bank, occasion, recipient)
    style_name = (
        rng.choice([possible_style for possible_style in style_options if possible_style])
        if rng.random() < STYLED_SHARE
        else ""
    )
    size_name = (
        rng.choice(("简短", "简短", "中等", "详细"))
        if style_name not in FOUR_CHARACTER_STYLES and rng.random() < SIZED_SHARE
        else ""
    )
    number_word = rng.choice(occasion.number_words) if occasion.number_words else ""
    has_detail = (
        style_name not in FOUR_CHARACTER_STYLES | {"古风", "正式"}
        and size_name != "简短"
        and rng.random() < DETAILED_SHARE
    )
    return GreetingScene(
        occasion,
        recipient,
        style_name,
        size_name,
        number_word,
        _draw_detail(clause_bank, occasion, recipient, rng) if has_detail else None,
    )


def _draw_recipient(possible_guests: Sequence[Recipient], rng: Random) -> Recipient:
    """Parents together, a group and oneself more often: nobody else is spoken to in their words."""
    (recipient,) = rng.choices(
        possible_guests,
        [
            guest.weight if guest.second_person in ("你", "您") else guest.weight * RARE_ADDRESS_WEIGHT
            for guest in possible_guests
        ],
    )
    return recipient


def _draw_detail(
    clause_bank: ClauseBank, occasion: Occasion, recipient: Recipient | None, rng: Random
) -> RecipientDetail | None:
    if recipient is None or occasion.mood not in (Mood.JOY, Mood.WARM) or SELF_AUDIENCE in recipient.audiences:
        return None
    fitting_details = [detail for detail in clause_bank.details if detail.fits(recipient)]
    return rng.choice(fitting_details) if fitting_details else None


def _compose_row(
    clause_bank: ClauseBank,
    scene: GreetingScene,
    rng: Random,
    seen_prompts: set[str],
    seen_greetings: set[str],
) -> ComposedRow | None:
    for _ in range(MAX_TRIES):
        prompt_text, greeting_text = (
            compose_request(clause_bank, scene, rng),
            write_greeting(clause_bank, scene, rng),
        )
        if prompt_text is None or greeting_text is None:
            continue
        # A number that the request leaves out can be no duty of the greeting; one that it invents would be a lie.
        stated_scene = scene if _names_number(scene.number, prompt_text) else replace(scene, number="")
        if scene.number != stated_scene.number and scene.number in greeting_text:
            continue
        # A greeting that stands in its request would teach the model to copy.
        if "".join(split_clauses(greeting_text)) in prompt_text:
            continue
        # 十一四个字, 周六十八岁: nobody can tell where the day ends and the number begins.
        if _NUMBER_RUN.search(prompt_text):
            continue
        if (
            strip_white_space(prompt_text) not in seen_prompts
            and strip_white_space(greeting_text) not in seen_greetings
        ):
            return ComposedRow(prompt_text, greeting_text, stated_scene)
    return None


def _names_number(number_word: str, prompt_text: str) -> bool:
    return number_word in prompt_text or FIGURES_BY_WORD.get(number_word, number_word) in prompt_text


# Both builders below read the same rows.
@lru_cache(maxsize=1)
def composed_rows() -> Sequence[ComposedRow]:
    """The rows that the starter learns from."""
    return tuple(compose_rows(load_bank()))


SnapshotRow = dict[str, Any]
PAIR_COUNT = 12_000
# So many rows are looked at for one whose greeting misses the request.
DRAWN_ROWS = 40
# Characters by which the two greetings of a pair may differ: length says nothing about which is better.
MAX_LENGTH_GAP = 6
# Occasions that may share a greeting; so may all before which courage is wished, and "日常" fits any.
SIMILAR_OCCASIONS = (
    {"春节", "除夕", "元旦", "公司庆典", "合作"},
    {"出生", "满月", "百天", "周岁", "怀孕"},
    {"婚礼", "订婚", "结婚纪念日", "七夕", "情人节"},
    {"升职", "入职", "升学", "毕业"},
    {"手术", "探病", "康复"},
    {"离职", "送别", "旅途", "出国"},
)
# Mark of a pair whose preference follows from how it was composed, and not from anybody's taste.
COMPOSED_ORIGIN = "composed"


def build_sft_rows() -> list[SnapshotRow]:
    """Prompt, completion, and what it is about."""
    return [
        {
            "split": assign_split(composed_row.prompt).value,
            "prompt": composed_row.prompt,
            "completion": composed_row.greeting,
            "plan": composed_row.scene.plan,
        }
        for composed_row in composed_rows()
    ]


def build_pair_rows() -> list[SnapshotRow]:
    """Prompt, the greeting composed for it, and one of about the same length composed for another request.

    The rejected greeting is for another occasion (for as many) or for somebody else.
    """
    return [
        {
            "split": assign_split(composed_row.prompt).value,
            "prompt": composed_row.prompt,
            "chosen": composed_row.greeting,
            "rejected": other_row.greeting,
            "origin": COMPOSED_ORIGIN,
        }
        for composed_row, other_row, _ in mismatched_rows(composed_rows())
    ]


def mismatched_rows(
    all_rows: Sequence[ComposedRow], max_pairs: int = PAIR_COUNT
) -> list[tuple[ComposedRow, ComposedRow, Flaw]]:
    """Rows beside a row whose greeting misses the request, and how it does; always of the same split."""
    rng = Random(f"{CORPUS_SEED} pairs")
    # A greeting of a test request among the rejected ones of training would be learnt from.
    rows_by_group: dict[str, list[ComposedRow]] = defaultdict(list)
    for composed_row in all_rows:
        for group_name in _split_groups(composed_row):
            rows_by_group[group_name].append(composed_row)
    mismatches: list[tuple[ComposedRow, ComposedRow, Flaw]] = []
    for composed_row in rng.sample(list(all_rows), len(all_rows)):
        if len(mismatches) == max_pairs:
            break
        # In turn, so that both faults are learnt alike, however rarely one of them finds a partner.
        flaw = Flaw.WRONG_RELATIONSHIP if len(mismatches) % 2 else Flaw.WRONG_OCCASION
        group_rows = rows_by_group[_split_groups(composed_row)[len(mismatches) % 2]]
        sampled_rows = rng.sample(group_rows, min(DRAWN_ROWS, len(group_rows)))
        other_row = next(
            (sampled_row for sampled_row in sampled_rows if _misses_request(composed_row, sampled_row, flaw)),
            None,
        )
        if other_row is not None:
            mismatches.append((composed_row, other_row, flaw))
    return mismatches


def _split_groups(composed_row: ComposedRow) -> tuple[str, str]:
    """Where a wrong occasion is looked for, and where a wrong recipient: always in the same split."""
    split_name = assign_split(composed_row.prompt).value
    return split_name, f"{split_name} {composed_row.scene.occasion.key}"


def _misses_request(composed_row: ComposedRow, other_row: ComposedRow, flaw: Flaw) -> bool:
    if abs(count_characters(composed_row.greeting) - count_characters(other_row.greeting)) > MAX_LENGTH_GAP:
        return False
    if flaw is Flaw.WRONG_OCCASION:
        # A line of verse or four-character luck may well fit two occasions.
        standalone_styles = {composed_row.scene.style, other_row.scene.style} & STANDALONE_STYLES
        return not standalone_styles and not _may_share_greeting(composed_row.scene.occasion, other_row.scene.occasion)
    recipient, other_recipient = composed_row.scene.recipient, other_row.scene.recipient
    if (
        recipient is None
        or other_recipient is None
        or set(recipient.address_forms) & set(other_recipient.address_forms)
    ):
        return False
    # A greeting that addresses nobody would do for this recipient as well.
    is_addressed = any(other_row.greeting.startswith(address_form) for address_form in other_recipient.address_forms)
    return is_addressed and composed_row.scene.occasion.key == other_row.scene.occasion.key


def _may_share_greeting(occasion: Occasion, other_occasion: Occasion) -> bool:
    both_names = {occasion.name, other_occasion.name}
    both_encourage = occasion.mood is other_occasion.mood is Mood.PUSH
    return (
        len(both_names) == 1
        or "日常" in both_names
        or both_encourage
        or any(both_names <= similar_names for similar_names in SIMILAR_OCCASIONS)
    )
