"""Requests with greetings for the starter to learn from: the same seed gives the same rows."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from backend.starter.asking import FIGURES_BY_WORD, compose_request
from backend.starter.bank import (
    SELF_AUDIENCE,
    ClauseBank,
    Mood,
    Occasion,
    Recipient,
    RecipientDetail,
    load_bank,
)
from backend.starter.writing import FOUR_CHARACTER_STYLES, GreetingScene, possible_styles, write_greeting
from backend.text import strip_white_space

ROW_COUNT = 20_000
CORPUS_SEED = 20_261_125
NO_RECIPIENT_SHARE = 0.22
"""Share of requests that name an occasion only."""
STYLED_SHARE, SIZED_SHARE, DETAILED_SHARE = 0.32, 0.22, 0.14
MAX_TRIES = 40
RARE_ADDRESS_WEIGHT = 3
DRAWN_PER_ROW = 1.6
"""Rows drawn for each row that stays."""
_PUNCTUATION = re.compile(r"[^\w]+")


@dataclass(frozen=True)
class ComposedRow:
    """A request, a greeting for it, and what both are about."""

    prompt: str
    greeting: str
    scene: GreetingScene


def compose_rows(
    clause_bank: ClauseBank, row_count: int = ROW_COUNT, corpus_seed: int = CORPUS_SEED
) -> list[ComposedRow]:
    """So many rows; no request and no greeting occurs twice.

    More are drawn, and of each occasion those with the rarest clauses left out: in minutes of training a
    small model learns to write what it meets often, and spells the rest wrongly.
    """
    drawn_rows = _draw_rows(clause_bank, round(row_count * DRAWN_PER_ROW), corpus_seed)
    row_patterns = [_clause_patterns(pattern_list) for pattern_list in drawn_rows]
    pattern_counts = Counter(clause_pattern for pattern_list in row_patterns for clause_pattern in pattern_list)
    rarest_counts = [
        min(pattern_counts[clause_pattern] for clause_pattern in pattern_list) for pattern_list in row_patterns
    ]
    rows_by_occasion: dict[str, list[int]] = defaultdict(list)
    for row_index in sorted(range(len(drawn_rows)), key=lambda row_index: (-rarest_counts[row_index], row_index)):
        rows_by_occasion[drawn_rows[row_index].scene.occasion.key].append(row_index)
    ranked_rows = sorted(
        (row_rank / len(occasion_rows), row_index)
        for occasion_rows in rows_by_occasion.values()
        for row_rank, row_index in enumerate(occasion_rows)
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
    """What stands between its marks."""
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
        [1 if guest.second_person in ("你", "您") else RARE_ADDRESS_WEIGHT for guest in possible_guests],
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
        stated_scene = scene if _names_number(scene.number, prompt_text) else replace(scene, number="")
        if scene.number != stated_scene.number and scene.number in greeting_text:
            continue
        if greeting_text.rstrip("！。") in prompt_text:
            continue
        if (
            strip_white_space(prompt_text) not in seen_prompts
            and strip_white_space(greeting_text) not in seen_greetings
        ):
            return ComposedRow(prompt_text, greeting_text, stated_scene)
    return None


def _names_number(number_word: str, prompt_text: str) -> bool:
    return number_word in prompt_text or FIGURES_BY_WORD.get(number_word, number_word) in prompt_text


@lru_cache(maxsize=1)
def composed_rows() -> Sequence[ComposedRow]:
    """The rows that the starter learns from."""
    return tuple(compose_rows(load_bank()))
