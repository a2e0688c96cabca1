"""Labels dealt once, by prompt, into what the game plays with, what gates it, and what stays locked.

The split of a prompt goes before: test prompts are locked, validation prompts gate, and only training
prompts are played with; of those some go to the gate and to the locked set by hash, so that both are
large enough to decide anything. So nothing that other rooms hold back from training is ever played with.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.corpus import split_of
from backend.errors import UserError
from backend.text import bucket, digest, squeeze
from backend.vocabulary import Split


class Part(StrEnum):
    """Where a label is used."""

    PLAY = "play"
    GATE = "gate"
    LOCKED = "locked"


NEEDED = {Part.PLAY: 4, Part.GATE: 10, Part.LOCKED: 5}
"""Labels of each kind, good and bad, without which no run starts."""
MOST_PLAYED = 2_000
_TRAIN_SHARES = ((Part.PLAY, 50), (Part.GATE, 80), (Part.LOCKED, 100))


@dataclass(frozen=True)
class Label:
    """A greeting, the request it answers, and what people said of it. `id` is the greeting's."""

    id: int
    prompt: str
    greeting: str
    good: bool

    @property
    def group(self) -> str:
        """The request: labels of one request move together."""
        return squeeze(self.prompt)


@dataclass(frozen=True)
class Deal:
    """The labels of a run. `contradictory` were left out for having both labels, `repeated` and `shared`
    for standing twice or in a part that is held back further, `surplus` for balance and size."""

    play: tuple[Label, ...]
    gate: tuple[Label, ...]
    locked: tuple[Label, ...]
    contradictory: int = 0
    repeated: int = 0
    shared: int = 0
    surplus: int = 0

    def part(self, part: Part) -> tuple[Label, ...]:
        """The labels of one part."""
        return {Part.PLAY: self.play, Part.GATE: self.gate, Part.LOCKED: self.locked}[part]


def part_of(prompt: str) -> Part:
    """Where the labels of a prompt are used; it follows from the prompt's text alone."""
    split = split_of(prompt)
    if split is Split.TEST:
        return Part.LOCKED
    if split is Split.VALIDATION:
        return Part.GATE
    place = bucket(prompt, 100, "principles")
    return next(part for part, below in _TRAIN_SHARES if place < below)


def deal(labels: Iterable[Label], gate_size: int, locked_size: int, name: str = "") -> Deal:
    """Deal labels out, as many good as bad in gate and locked set (so that a judge which merely says yes
    more often gains nothing there). Raises UserError, with the numbers, where too few are left.

    gate_size, locked_size: the most labels of each. `name` is the data set's, for the sentence.
    """
    single, contradictory, repeated = _once(labels)
    parts: dict[Part, list[Label]] = {part: [] for part in Part}
    for label in single:
        parts[part_of(label.prompt)].append(label)
    before = len(single)
    locked_texts = {squeeze(one.greeting) for one in parts[Part.LOCKED]}
    parts[Part.GATE] = [one for one in parts[Part.GATE] if squeeze(one.greeting) not in locked_texts]
    held = locked_texts | {squeeze(one.greeting) for one in parts[Part.GATE]}
    parts[Part.PLAY] = [one for one in parts[Part.PLAY] if squeeze(one.greeting) not in held]
    left = sum(map(len, parts.values()))
    _check(parts, name)
    play = tuple(_ordered(parts[Part.PLAY])[:MOST_PLAYED])
    gate = _balanced(parts[Part.GATE], gate_size)
    locked = _balanced(parts[Part.LOCKED], locked_size)
    surplus = left - len(play) - len(gate) - len(locked)
    return Deal(play, gate, locked, contradictory, repeated, before - left, surplus)


def _once(labels: Iterable[Label]) -> tuple[list[Label], int, int]:
    found: dict[tuple[str, str], list[Label]] = defaultdict(list)
    for label in labels:
        found[label.group, squeeze(label.greeting)].append(label)
    agreed = [same for same in found.values() if len({one.good for one in same}) == 1]
    contradictory = sum(map(len, found.values())) - sum(map(len, agreed))
    return [same[0] for same in agreed], contradictory, sum(len(same) - 1 for same in agreed)


def _ordered(labels: Iterable[Label]) -> list[Label]:
    return sorted(labels, key=lambda one: digest("label", one.group, squeeze(one.greeting)))


def _balanced(labels: Sequence[Label], most: int) -> tuple[Label, ...]:
    kinds = [[one for one in _ordered(labels) if one.good is good] for good in (True, False)]
    each = min(most // 2, *map(len, kinds))
    return tuple(_ordered(one for kind in kinds for one in kind[:each]))


def _check(parts: dict[Part, list[Label]], name: str) -> None:
    counts = {part: Counter(one.good for one in labels) for part, labels in parts.items()}
    if all(counts[part][kind] >= NEEDED[part] for part in Part for kind in (True, False)):
        return
    need = " / ".join(f"{NEEDED[part]} + {NEEDED[part]}" for part in Part)
    have = {part: f"{counts[part][True]} + {counts[part][False]}" for part in Part}
    have_en = ", ".join(f"{part} {have[part]}" for part in Part)
    have_zh = "，".join(f"{_ZH[part]} {have[part]}" for part in Part)
    raise UserError(
        f"“{name}” has too few labels for the game. Usable ones, good + bad, dealt by request: {have_en}; "
        f"needed at least {need}. Label more requests, of the kind that is short.",
        f"“{name}”的标签不够：按请求分开后，可用的好 + 坏为：{have_zh}；至少需要 {need}。"
        "请为更多请求补上缺的那一类标签。",
    )


_ZH = {Part.PLAY: "对局集", Part.GATE: "把关集", Part.LOCKED: "封存集"}
