"""What trained judges learn from: preference pairs and single labels, without repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from backend.text import bucket, digest, squeeze

FOLDS = 5


@dataclass(frozen=True, order=True)
class Pair:
    """Of two greetings for one request, the one that was preferred."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, order=True)
class Label:
    """A greeting that was called good, or not."""

    prompt: str
    greeting: str
    good: bool


def fold_of(prompt: str) -> int:
    """The fold whose model scores this request."""
    return bucket(prompt, FOLDS, salt="fold")


@dataclass(frozen=True)
class TrainingPool:
    """Pairs and labels in one canonical order, without white space and repeats.

    Two pools with the same content are equal whatever the order they were built in. A pair of two equal
    texts says nothing and is dropped.
    """

    pairs: Sequence[Pair] = ()
    labels: Sequence[Label] = ()

    def __post_init__(self) -> None:
        pairs = {Pair(squeeze(p.prompt), squeeze(p.chosen), squeeze(p.rejected)) for p in self.pairs}
        labels = {Label(squeeze(one.prompt), squeeze(one.greeting), one.good) for one in self.labels}
        object.__setattr__(self, "pairs", tuple(sorted(p for p in pairs if p.chosen != p.rejected)))
        object.__setattr__(self, "labels", tuple(sorted(labels)))

    @cached_property
    def digest(self) -> str:
        """Hash of the content."""
        pairs = [part for p in self.pairs for part in (p.prompt, p.chosen, p.rejected)]
        labels = [part for one in self.labels for part in (one.prompt, one.greeting, str(one.good))]
        return digest(str(len(self.pairs)), *pairs, *labels)

    @cached_property
    def prompts(self) -> frozenset[str]:
        """Every request, without white space."""
        return frozenset(item.prompt for item in (*self.pairs, *self.labels))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every greeting once, without white space, sorted."""
        compared = {text for pair in self.pairs for text in (pair.chosen, pair.rejected)}
        return tuple(sorted(compared | {label.greeting for label in self.labels}))

    def without(self, fold: int) -> "TrainingPool":
        """What the model of `fold` may learn from: no request of the fold, and no text that occurs in it."""
        pairs = [p for p in self.pairs if fold_of(p.prompt) == fold]
        labels = [one for one in self.labels if fold_of(one.prompt) == fold]
        held = TrainingPool(pairs, labels)
        texts = set(held.texts)
        return TrainingPool(
            [p for p in self.pairs if p.prompt not in held.prompts and not {p.chosen, p.rejected} & texts],
            [o for o in self.labels if o.prompt not in held.prompts and o.greeting not in texts],
        )

    def shortage(self, needed: int) -> str:
        """Why nothing can be learnt from this pool, in Chinese; empty when something can."""
        kinds = {label.good for label in self.labels}
        if len(self.pairs) + len(self.labels) >= needed and (self.pairs or len(kinds) == 2):
            return ""
        return (
            f"训练数据不足：其他请求中至少需要 {needed} 条偏好对或标注，只有标注时须好坏皆有；"
            f"现有 {len(self.pairs)} 对、{len(self.labels)} 条标注"
        )
