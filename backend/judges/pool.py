"""What trained judges learn from: preference pairs and single labels, without repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from backend.text import assign_bucket, digest, strip_white_space

FOLD_COUNT = 5


@dataclass(frozen=True, order=True)
class TrainingPair:
    """Of two greetings for one request, the one that was preferred."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, order=True)
class TrainingLabel:
    """A greeting that was called good, or not."""

    prompt: str
    greeting: str
    good: bool


def fold_of_prompt(prompt: str) -> int:
    """The fold whose model scores this request."""
    return assign_bucket(prompt, FOLD_COUNT, hash_salt="fold")


@dataclass(frozen=True)
class TrainingPool:
    """Pairs and labels in one canonical order, without white space and repeats.

    Two pools with the same content are equal whatever the order they were built in. Empty greetings and
    pairs of two equal texts say nothing and are dropped.
    """

    pairs: Sequence[TrainingPair] = ()
    labels: Sequence[TrainingLabel] = ()

    def __post_init__(self) -> None:
        squeezed_pairs = {
            TrainingPair(
                strip_white_space(pair.prompt),
                strip_white_space(pair.chosen),
                strip_white_space(pair.rejected),
            )
            for pair in self.pairs
        }
        squeezed_labels = {
            TrainingLabel(strip_white_space(label.prompt), strip_white_space(label.greeting), label.good)
            for label in self.labels
        }
        informative_pairs = (
            pair for pair in squeezed_pairs if pair.chosen and pair.rejected and pair.chosen != pair.rejected
        )
        object.__setattr__(self, "pairs", tuple(sorted(informative_pairs)))
        object.__setattr__(self, "labels", tuple(sorted(label for label in squeezed_labels if label.greeting)))

    @cached_property
    def digest(self) -> str:
        """Hash of the content."""
        pair_parts = [text_part for pair in self.pairs for text_part in (pair.prompt, pair.chosen, pair.rejected)]
        label_parts = [
            text_part for label in self.labels for text_part in (label.prompt, label.greeting, str(label.good))
        ]
        return digest(str(len(self.pairs)), *pair_parts, *label_parts)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every greeting once, without white space, sorted."""
        compared_texts = {greeting_text for pair in self.pairs for greeting_text in (pair.chosen, pair.rejected)}
        return tuple(sorted(compared_texts | {label.greeting for label in self.labels}))

    def without_fold(self, fold_index: int) -> "TrainingPool":
        """What the model of `fold` may learn from: no request of the fold, and no text that occurs in it."""
        fold_pool = TrainingPool(
            [pair for pair in self.pairs if fold_of_prompt(pair.prompt) == fold_index],
            [label for label in self.labels if fold_of_prompt(label.prompt) == fold_index],
        )
        fold_texts, fold_pairs, fold_labels = (
            set(fold_pool.texts),
            set(fold_pool.pairs),
            set(fold_pool.labels),
        )
        return TrainingPool(
            [
                remaining_pair
                for remaining_pair in self.pairs
                if remaining_pair not in fold_pairs
                and not {remaining_pair.chosen, remaining_pair.rejected} & fold_texts
            ],
            [
                remaining_label
                for remaining_label in self.labels
                if remaining_label not in fold_labels and remaining_label.greeting not in fold_texts
            ],
        )

    def shortage(self, minimum: int) -> str:
        """Why nothing can be learnt from this pool, in Chinese; empty when something can."""
        label_kinds = {label.good for label in self.labels}
        if len(self.pairs) + len(self.labels) >= minimum and (self.pairs or len(label_kinds) == 2):
            return ""
        return (
            f"训练数据不足：其他请求中至少需要 {minimum} 条偏好对或标注，只有标注时须好坏皆有；"
            f"现有 {len(self.pairs)} 对、{len(self.labels)} 条标注"
        )
