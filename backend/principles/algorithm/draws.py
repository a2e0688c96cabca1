"""What is wrong with a greeting that the Generator handed in, before anybody judges it.
What a round plays with, drawn by hash: the same seed and round always give the same draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from backend.core.enums import Flaw
from backend.core.text import digest, strip_white_space
from backend.generation.checks import Fault, find_fault
from backend.generation.request import parse_request
from backend.principles.algorithm.labels import GameLabel

UNREADABLE_REPLY = "unreadable"
# The other faults (a wrong length, say) may be the very flaw that was to be planted.
NOTHING_TO_JUDGE = frozenset(
    {
        Fault.EMPTY,
        Fault.GARBAGE,
        Fault.REFUSED,
        Fault.WRONG_LANGUAGE,
        Fault.REPEATS_PROMPT,
        Fault.SEVERAL,
        Fault.PLACEHOLDER,
        Fault.TOO_LONG,
    }
)


def unjudgeable_fault(prompt_text: str, greeting_text: str) -> Fault | None:
    """Why the text is no greeting that could be judged; None where it is one."""
    greeting_fault = find_fault(parse_request(prompt_text), greeting_text)
    return greeting_fault if greeting_fault in NOTHING_TO_JUDGE else None


T = TypeVar("T")


@dataclass(frozen=True)
class FlawTask:
    """A request for which the Generator shall plant a flaw of one kind."""

    prompt: str
    flaw: Flaw


def draw_labels(
    label_pool: Sequence[GameLabel], random_seed: int, round_number: int, label_count: int
) -> list[GameLabel]:
    """The minibatch of labels of a round (from 1): half good, half bad where there are as many.

    Every label has its turn before one comes twice.
    """
    # Half and half: with mostly good labels, advice and minibatch would favour whatever says yes more often.
    bad_count = label_count // 2
    labels_by_kind = [[candidate for candidate in label_pool if candidate.good is is_good] for is_good in (True, False)]
    return [
        label
        for kind_labels, kind_count in zip(labels_by_kind, (label_count - bad_count, bad_count), strict=True)
        for label in _labels_in_turn(kind_labels, random_seed, round_number, kind_count)
    ]


def draw_other_labels(
    label_pool: Sequence[GameLabel],
    random_seed: int,
    round_number: int,
    label_count: int,
    excluded_labels: Sequence[GameLabel],
) -> list[GameLabel]:
    """Half good, half bad labels for a round (from 1) that are not among `excluded_labels`."""
    excluded_ids = {candidate.id for candidate in excluded_labels}
    remaining = sorted(
        (candidate for candidate in label_pool if candidate.id not in excluded_ids),
        # A prefix of its own for each kind of draw, or two draws would pick the same labels.
        key=lambda candidate: digest(
            "other", str(random_seed), str(round_number), candidate.prompt, candidate.greeting
        ),
    )
    labels_by_kind = [[candidate for candidate in remaining if candidate.good is is_good] for is_good in (True, False)]
    return [
        candidate
        for kind_labels, kind_count in zip(
            labels_by_kind, (label_count - label_count // 2, label_count // 2), strict=True
        )
        for candidate in kind_labels[:kind_count]
    ]


def draw_tasks(
    label_pool: Sequence[GameLabel], random_seed: int, round_number: int, task_count: int, hash_salt: str
) -> list[FlawTask]:
    """Requests of played labels, each with a kind of flaw; the kinds take turns."""
    # Requests that differ in white space only are one; sorted, so that the order of import decides nothing.
    prompt_texts = sorted({strip_white_space(label.prompt): label.prompt for label in label_pool}.values())
    chosen_prompts = sorted(
        prompt_texts,
        key=lambda prompt_text: digest(hash_salt, str(random_seed), str(round_number), prompt_text),
    )[:task_count]
    # The order of kinds hangs on the seed alone: turns go on from round to round and none is favoured.
    flaw_kinds = sorted(Flaw, key=lambda flaw: digest(hash_salt, str(random_seed), flaw))
    first_index = (round_number - 1) * task_count
    return [
        FlawTask(prompt_text, flaw_kinds[(first_index + task_index) % len(flaw_kinds)])
        for task_index, prompt_text in enumerate(chosen_prompts)
    ]


def _labels_in_turn(
    label_pool: Sequence[GameLabel], random_seed: int, round_number: int, draw_count: int
) -> list[GameLabel]:
    if not label_pool:
        return []
    drawn_labels: dict[int, GameLabel] = {}
    shuffled_epochs: dict[int, list[GameLabel]] = {}
    # Counted from the first round on, so that a resumed run knows its place without having stored it.
    for draw_index in range((round_number - 1) * draw_count, round_number * draw_count):
        epoch_index, epoch_offset = divmod(draw_index, len(label_pool))
        if epoch_index not in shuffled_epochs:
            shuffled_epochs[epoch_index] = _shuffle_labels(label_pool, random_seed, epoch_index)
        drawn_label = shuffled_epochs[epoch_index][epoch_offset]
        # Where a draw crosses from one pass into the next a label may come twice; it counts once.
        drawn_labels[drawn_label.id] = drawn_label
    return list(drawn_labels.values())


def _shuffle_labels(label_pool: Sequence[GameLabel], random_seed: int, epoch_index: int) -> list[GameLabel]:
    return sorted(
        label_pool,
        key=lambda one: digest("turn", str(random_seed), str(epoch_index), one.prompt, one.greeting),
    )
