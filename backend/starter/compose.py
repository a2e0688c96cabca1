"""Requests with greetings for the starter to learn from: the same seed gives the same rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from backend.starter.asking import FIGURES, ask
from backend.starter.bank import SELF, Bank, Detail, Mood, Occasion, Recipient, load
from backend.starter.writing import Scene, styles_of, write
from backend.text import squeeze

ROWS = 20_000
SEED = 20_261_125
NOBODY = 0.22
"""Share of requests that name an occasion only."""
STYLED, SIZED, DETAILED = 0.32, 0.22, 0.14
TRIES = 40


@dataclass(frozen=True)
class Composed:
    """A request, a greeting for it, and what both are about."""

    prompt: str
    greeting: str
    scene: Scene


def compose(bank: Bank, rows: int = ROWS, seed: int = SEED) -> list[Composed]:
    """So many rows; no request and no greeting occurs twice."""
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
    who = rng.choice(guests) if guests and rng.random() > NOBODY else None
    styles = styles_of(bank, occasion, who)
    style = rng.choice([one for one in styles if one]) if rng.random() < STYLED else ""
    size = rng.choice(("简短", "简短", "中等", "详细")) if style != "四字" and rng.random() < SIZED else ""
    number = rng.choice(occasion.numbers) if occasion.numbers else ""
    told = style not in ("四字", "古风", "正式") and size != "简短" and rng.random() < DETAILED
    return Scene(occasion, who, style, size, number, _detail(bank, occasion, who, rng) if told else None)


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
        if scene.number and scene.number in greeting and not _named(scene.number, prompt):
            continue
        if squeeze(prompt) not in prompts and squeeze(greeting) not in greetings:
            return Composed(prompt, greeting, scene)
    return None


def _named(number: str, prompt: str) -> bool:
    return number in prompt or FIGURES.get(number, number) in prompt


@lru_cache(maxsize=1)
def composed() -> Sequence[Composed]:
    """The rows that the starter learns from."""
    return tuple(compose(load()))
