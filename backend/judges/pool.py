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

    Two pools with the same content are equal whatever the order they were built in. Empty greetings and
    pairs of two equal texts say nothing and are dropped.
    """

    pairs: Sequence[Pair] = ()
    labels: Sequence[Label] = ()

    def __post_init__(self) -> None:
        pairs = {Pair(squeeze(p.prompt), squeeze(p.chosen), squeeze(p.rejected)) for p in self.pairs}
        labels = {Label(squeeze(one.prompt), squeeze(one.greeting), one.good) for one in self.labels}
        telling = (p for p in pairs if p.chosen and p.rejected and p.chosen != p.rejected)
        object.__setattr__(self, "pairs", tuple(sorted(telling)))
        object.__setattr__(self, "labels", tuple(sorted(one for one in labels if one.greeting)))

    @cached_property
    def digest(self) -> str:
        """Hash of the content."""
        pairs = [part for p in self.pairs for part in (p.prompt, p.chosen, p.rejected)]
        labels = [part for one in self.labels for part in (one.prompt, one.greeting, str(one.good))]
        return digest(str(len(self.pairs)), *pairs, *labels)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every greeting once, without white space, sorted."""
        compared = {text for pair in self.pairs for text in (pair.chosen, pair.rejected)}
        return tuple(sorted(compared | {label.greeting for label in self.labels}))

    def without(self, fold: int) -> "TrainingPool":
        """What the model of `fold` may learn from: no request of the fold, and no text that occurs in it."""
        inside = TrainingPool(
            [pair for pair in self.pairs if fold_of(pair.prompt) == fold],
            [label for label in self.labels if fold_of(label.prompt) == fold],
        )
        held, pairs, labels = set(inside.texts), set(inside.pairs), set(inside.labels)
        return TrainingPool(
            [p for p in self.pairs if p not in pairs and not {p.chosen, p.rejected} & held],
            [one for one in self.labels if one not in labels and one.greeting not in held],
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
