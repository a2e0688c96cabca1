"""Labels dealt once, by prompt, into what the game plays with, what gates it, and what stays locked.

The split of a prompt goes before: test prompts are locked, validation prompts gate, and only training
prompts are played with; of those some go to the gate and to the locked set by hash, so that both are
large enough to decide anything. So nothing that other rooms hold back from training is ever played with.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.core.enums import Split
from backend.core.errors import UserError
from backend.core.text import assign_bucket, assign_split, digest, strip_white_space


class GamePartition(StrEnum):
    """Where a label is used."""

    PLAY = "play"
    GATE = "gate"
    LOCKED = "locked"


# Labels of each kind, good and bad, without which no run starts.
MIN_LABELS_PER_KIND = {GamePartition.PLAY: 4, GamePartition.GATE: 10, GamePartition.LOCKED: 5}
MAX_PLAYED_LABELS = 2_000
# Cumulative: 30 % go to the gate and 20 % to the locked set, since the prompt's own split leaves each about a
# tenth of the labels, which decides nothing.
_TRAIN_SHARES = ((GamePartition.PLAY, 50), (GamePartition.GATE, 80), (GamePartition.LOCKED, 100))


@dataclass(frozen=True)
class GameLabel:
    """A greeting, the request it answers, and people's verdict. `id` is the greeting's."""

    id: int
    prompt: str
    greeting: str
    good: bool

    @property
    def group(self) -> str:
        """The request: labels of one request move together."""
        return strip_white_space(self.prompt)


@dataclass(frozen=True)
class PartitionedLabels:
    """The labels of a run. `contradictory` were left out for having both labels, `repeated` and `shared`
    for standing twice or in a part that is held back further, `surplus` for balance and size."""

    play: tuple[GameLabel, ...]
    gate: tuple[GameLabel, ...]
    locked: tuple[GameLabel, ...]
    contradictory: int = 0
    repeated: int = 0
    shared: int = 0
    surplus: int = 0

    def labels_of(self, partition: GamePartition) -> tuple[GameLabel, ...]:
        """The labels of one part."""
        return {
            GamePartition.PLAY: self.play,
            GamePartition.GATE: self.gate,
            GamePartition.LOCKED: self.locked,
        }[partition]


def partition_of(prompt_text: str) -> GamePartition:
    """Where the labels of a prompt are used; it follows from the prompt's text alone."""
    # The split of all other rooms goes first, so the game never plays with what training holds back.
    dataset_split = assign_split(prompt_text)
    if dataset_split is Split.TEST:
        return GamePartition.LOCKED
    if dataset_split is Split.VALIDATION:
        return GamePartition.GATE
    # A salt of its own, so that the deal among training prompts is independent of their split.
    prompt_bucket = assign_bucket(prompt_text, 100, "principles")
    return next(partition for partition, upper_bound in _TRAIN_SHARES if prompt_bucket < upper_bound)


def partition_labels(
    labels: Iterable[GameLabel], gate_size: int, locked_size: int, dataset_name: str = ""
) -> PartitionedLabels:
    """Deal labels out, as many good as bad in gate and locked set (so that a judge which merely says yes
    more often gains nothing there). Raises UserError, with the numbers, where too few are left.

    gate_size, locked_size: the most labels of each. dataset_name: for the sentence.
    """
    unique_labels, contradictory, repeated = _unique_labels(labels)
    partitions: dict[GamePartition, list[GameLabel]] = {partition: [] for partition in GamePartition}
    for label in unique_labels:
        partitions[partition_of(label.prompt)].append(label)
    unique_count = len(unique_labels)
    # A text that answers two requests may fall into two parts; it stays in the one held back further, else
    # the game would learn from what is to test it.
    locked_texts = {strip_white_space(candidate.greeting) for candidate in partitions[GamePartition.LOCKED]}
    partitions[GamePartition.GATE] = [
        candidate
        for candidate in partitions[GamePartition.GATE]
        if strip_white_space(candidate.greeting) not in locked_texts
    ]
    held_texts = locked_texts | {strip_white_space(candidate.greeting) for candidate in partitions[GamePartition.GATE]}
    partitions[GamePartition.PLAY] = [
        candidate
        for candidate in partitions[GamePartition.PLAY]
        if strip_white_space(candidate.greeting) not in held_texts
    ]
    remaining_count = sum(map(len, partitions.values()))
    # After texts were taken out and before the parts are cut: what counts is what could be used.
    _check_sizes(partitions, dataset_name)
    # Not balanced, unlike the others: each minibatch draws half good and half bad by itself.
    play_labels = tuple(_hash_ordered(partitions[GamePartition.PLAY])[:MAX_PLAYED_LABELS])
    gate_labels = _balanced_labels(partitions[GamePartition.GATE], gate_size)
    locked_labels = _balanced_labels(partitions[GamePartition.LOCKED], locked_size)
    surplus = remaining_count - len(play_labels) - len(gate_labels) - len(locked_labels)
    return PartitionedLabels(
        play_labels,
        gate_labels,
        locked_labels,
        contradictory,
        repeated,
        unique_count - remaining_count,
        surplus,
    )


def _unique_labels(labels: Iterable[GameLabel]) -> tuple[list[GameLabel], int, int]:
    labels_by_text: dict[tuple[str, str], list[GameLabel]] = defaultdict(list)
    for label in labels:
        labels_by_text[label.group, strip_white_space(label.greeting)].append(label)
    # Of two opposite labels for one text nobody knows which is right, so neither is used.
    agreeing_groups = [
        same_text for same_text in labels_by_text.values() if len({candidate.good for candidate in same_text}) == 1
    ]
    contradictory = sum(map(len, labels_by_text.values())) - sum(map(len, agreeing_groups))
    return (
        [same_text[0] for same_text in agreeing_groups],
        contradictory,
        sum(len(same_text) - 1 for same_text in agreeing_groups),
    )


def _hash_ordered(labels: Iterable[GameLabel]) -> list[GameLabel]:
    # By hash, so that which labels are cut for size hangs neither on ids nor on the order of import.
    return sorted(labels, key=lambda one: digest("label", one.group, strip_white_space(one.greeting)))


def _balanced_labels(labels: Sequence[GameLabel], max_count: int) -> tuple[GameLabel, ...]:
    labels_by_kind = [[label for label in _hash_ordered(labels) if label.good is is_good] for is_good in (True, False)]
    # With 70 % good labels a judge that says yes more often would look better, on labels without meaning too.
    count_per_kind = min(max_count // 2, *map(len, labels_by_kind))
    return tuple(_hash_ordered(label for kind_labels in labels_by_kind for label in kind_labels[:count_per_kind]))


def _check_sizes(partitions: dict[GamePartition, list[GameLabel]], dataset_name: str) -> None:
    label_counts = {partition: Counter(label.good for label in labels) for partition, labels in partitions.items()}
    if all(
        label_counts[partition][is_good] >= MIN_LABELS_PER_KIND[partition]
        for partition in GamePartition
        for is_good in (True, False)
    ):
        return
    needed_text = " / ".join(
        f"{MIN_LABELS_PER_KIND[partition]} + {MIN_LABELS_PER_KIND[partition]}" for partition in GamePartition
    )
    available = {
        partition: f"{label_counts[partition][True]} + {label_counts[partition][False]}" for partition in GamePartition
    }
    available_en = ", ".join(f"{partition} {available[partition]}" for partition in GamePartition)
    available_zh = "，".join(f"{_CHINESE_NAMES[partition]} {available[partition]}" for partition in GamePartition)
    raise UserError(
        f"“{dataset_name}” has too few labels for the game. Usable ones, good + bad, dealt by request: {available_en}; "
        f"needed at least {needed_text}. Label more requests, of the kind that is short.",
        f"“{dataset_name}”的标签不够：按请求分开后，可用的好 + 坏为：{available_zh}；至少需要 {needed_text}。"
        "请为更多请求补上缺的那一类标签。",
    )


_CHINESE_NAMES = {GamePartition.PLAY: "对局集", GamePartition.GATE: "把关集", GamePartition.LOCKED: "封存集"}
