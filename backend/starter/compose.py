"""Requests with greetings for the starter to learn from: the same seed gives the same rows."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from backend.starter.asking import FIGURES, ask
from backend.starter.bank import SELF, Bank, Detail, Mood, Occasion, Recipient, load
from backend.starter.writing import FOURS, Scene, styles_of, write
from backend.text import squeeze

ROWS = 20_000
SEED = 20_261_125
NOBODY = 0.22
"""Share of requests that name an occasion only."""
STYLED, SIZED, DETAILED = 0.32, 0.22, 0.14
TRIES = 40
ALONE = 3
SPARE = 1.6
"""Rows drawn for each row that stays."""
_MARKS = re.compile(r"[^\w]+")


@dataclass(frozen=True)
class Composed:
    """A request, a greeting for it, and what both are about."""

    prompt: str
    greeting: str
    scene: Scene


def compose(bank: Bank, rows: int = ROWS, seed: int = SEED) -> list[Composed]:
    """So many rows; no request and no greeting occurs twice.

    More are drawn, and of each occasion those with the rarest clauses left out: in minutes of training a
    small model learns to write what it meets often, and spells the rest wrongly.
    """
    drawn = _drawn(bank, round(rows * SPARE), seed)
    parts = [_patterns(row) for row in drawn]
    counts = Counter(part for row in parts for part in row)
    rarest = [min(counts[part] for part in row) for row in parts]
    homes: dict[str, list[int]] = defaultdict(list)
    for at in sorted(range(len(drawn)), key=lambda at: (-rarest[at], at)):
        homes[drawn[at].scene.occasion.key].append(at)
    ranked = sorted((rank / len(home), at) for home in homes.values() for rank, at in enumerate(home))
    return [drawn[at] for at in sorted(at for _, at in ranked[:rows])]


def _patterns(row: Composed) -> list[str]:
    """The clauses, alike for every number: a clause is no rarer for each row naming another age."""
    number = row.scene.number
    return [part.replace(number, "#") if number else part for part in clauses_of(row.greeting)]


def clauses_of(greeting: str) -> list[str]:
    """What stands between its marks."""
    return [clause for clause in _MARKS.split(greeting) if clause]


def _drawn(bank: Bank, rows: int, seed: int) -> list[Composed]:
    prompts: set[str] = set()
    greetings: set[str] = set()
    made: list[Composed] = []
    for scene, rng in scenes(bank, seed):
        if len(made) == rows:
            break
        one = _one(bank, scene, rng, prompts, greetings)
        if one is not None:
            prompts.add(squeeze(one.prompt))
            greetings.add(squeeze(one.greeting))
            made.append(one)
    return made


def scenes(bank: Bank, seed: int) -> Iterator[tuple[Scene, Random]]:
    """What to write about, without end, each with a random source of its own."""
    weights = [occasion.weight + 1 for occasion in bank.occasions]
    number = 0
    while True:
        rng = Random(f"{seed} {number}")
        number += 1
        (occasion,) = rng.choices(bank.occasions, weights)
        yield draw(bank, occasion, rng), rng


def draw(bank: Bank, occasion: Occasion, rng: Random) -> Scene:
    """Recipient, style, number and detail for an occasion."""
    guests = bank.guests[occasion.key]
    who = _guest(guests, rng) if guests and rng.random() > NOBODY else None
    styles = styles_of(bank, occasion, who)
    style = rng.choice([one for one in styles if one]) if rng.random() < STYLED else ""
    size = rng.choice(("简短", "简短", "中等", "详细")) if style not in FOURS and rng.random() < SIZED else ""
    number = rng.choice(occasion.numbers) if occasion.numbers else ""
    told = style not in FOURS | {"古风", "正式"} and size != "简短" and rng.random() < DETAILED
    return Scene(occasion, who, style, size, number, _detail(bank, occasion, who, rng) if told else None)


def _guest(guests: Sequence[Recipient], rng: Random) -> Recipient:
    """Parents together, a group and oneself more often: nobody else is spoken to in their words."""
    (who,) = rng.choices(guests, [1 if one.you in ("你", "您") else ALONE for one in guests])
    return who


def _detail(bank: Bank, occasion: Occasion, who: Recipient | None, rng: Random) -> Detail | None:
    if who is None or occasion.mood not in (Mood.JOY, Mood.WARM) or SELF in who.audiences:
        return None
    known = [detail for detail in bank.details if detail.fits(who)]
    return rng.choice(known) if known else None


def _one(bank: Bank, scene: Scene, rng: Random, prompts: set[str], greetings: set[str]) -> Composed | None:
    for _ in range(TRIES):
        prompt, greeting = ask(bank, scene, rng), write(bank, scene, rng)
        if prompt is None or greeting is None:
            continue
        told = scene if _named(scene.number, prompt) else replace(scene, number="")
        if scene.number != told.number and scene.number in greeting:
            continue
        if greeting.rstrip("！。") in prompt:
            continue
        if squeeze(prompt) not in prompts and squeeze(greeting) not in greetings:
            return Composed(prompt, greeting, told)
    return None


def _named(number: str, prompt: str) -> bool:
    return number in prompt or FIGURES.get(number, number) in prompt


@lru_cache(maxsize=1)
def composed() -> Sequence[Composed]:
    """The rows that the starter learns from."""
    return tuple(compose(load()))
