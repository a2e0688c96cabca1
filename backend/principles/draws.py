"""What a round plays with, drawn by hash: the same seed and round always give the same draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from backend.principles.labels import Label
from backend.text import digest, squeeze
from backend.vocabulary import Flaw

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A request for which the Generator shall plant a flaw of one kind."""

    prompt: str
    flaw: Flaw


def labelled(labels: Sequence[Label], seed: int, number: int, size: int) -> list[Label]:
    """The minibatch of labels of round `number` (from 1): half good, half bad where there are as many.

    Every label has its turn before one comes twice.
    """
    half = size // 2
    kinds = [[one for one in labels if one.good is good] for good in (True, False)]
    return [
        label
        for kind, count in zip(kinds, (size - half, half), strict=True)
        for label in _turn(kind, seed, number, count)
    ]


def others(
    labels: Sequence[Label], seed: int, number: int, size: int, without: Sequence[Label]
) -> list[Label]:
    """Half good, half bad labels that are not among `without`, for round `number`."""
    seen = {one.id for one in without}
    left = sorted(
        (one for one in labels if one.id not in seen),
        key=lambda one: digest("other", str(seed), str(number), one.prompt, one.greeting),
    )
    kinds = [[one for one in left if one.good is good] for good in (True, False)]
    return [
        one for kind, count in zip(kinds, (size - size // 2, size // 2), strict=True) for one in kind[:count]
    ]


def tasks(labels: Sequence[Label], seed: int, number: int, size: int, salt: str) -> list[Task]:
    """Requests of played labels, each with a kind of flaw; the kinds take turns."""
    prompts = sorted({squeeze(one.prompt): one.prompt for one in labels}.values())
    chosen = sorted(prompts, key=lambda prompt: digest(salt, str(seed), str(number), prompt))[:size]
    kinds = sorted(Flaw, key=lambda flaw: digest(salt, str(seed), flaw))
    first = (number - 1) * size
    return [Task(prompt, kinds[(first + place) % len(kinds)]) for place, prompt in enumerate(chosen)]


def _turn(labels: Sequence[Label], seed: int, number: int, count: int) -> list[Label]:
    if not labels:
        return []
    drawn: dict[int, Label] = {}
    epochs: dict[int, list[Label]] = {}
    for place in range((number - 1) * count, number * count):
        epoch, within = divmod(place, len(labels))
        if epoch not in epochs:
            epochs[epoch] = _shuffled(labels, seed, epoch)
        label = epochs[epoch][within]
        drawn[label.id] = label
    return list(drawn.values())


def _shuffled(labels: Sequence[Label], seed: int, epoch: int) -> list[Label]:
    return sorted(labels, key=lambda one: digest("turn", str(seed), str(epoch), one.prompt, one.greeting))
