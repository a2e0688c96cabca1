"""Judges that give everything the same value: one warning sentence about it, wherever they judge.

A judge that never differs cannot tell good from bad, and what it gives looks like any other value. So
scoring, runs of pairs, the game and trainings warn as soon as enough values are there, and no longer
once they differ. It is a warning: nothing is stopped, nothing is left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from backend.core.enums import EventLevel
from backend.core.errors import Message
from backend.jobs.messages import JobMessage, MessageTemplate
from backend.judges.base import PairOutcome

# Scored items from which on a single value is no chance: an honest judge of even odds does it once in 500,000
# times.
ENOUGH_ITEMS = 20
CONSTANT_JUDGE = MessageTemplate("constant_judge", "Warning: {notice_en}", "警告：{notice_zh}", EventLevel.WARNING)
WARNING_WITHDRAWN = MessageTemplate(
    "warning_withdrawn",
    "Warning withdrawn: the judge's values differ now.",
    "警告解除：裁判的分数已有差别。",
    # As loud as what it takes back: whoever read the warning must not miss that it is over.
    EventLevel.WARNING,
)
JudgeValue = float | PairOutcome


def constant_notice(value_counts: Mapping[JudgeValue, int]) -> Message | None:
    """The sentence about a judge that gave one value to all it scored; None where values differ or are few.

    `value_counts` holds how many scored items got which value; unscored items are not among them.
    """
    if len(value_counts) != 1:
        return None
    ((only_value, item_count),) = value_counts.items()
    if item_count < ENOUGH_ITEMS:
        return None
    return (
        _constant_pairs_message(only_value, item_count)
        if isinstance(only_value, PairOutcome)
        else _constant_items_message(only_value, item_count)
    )


class ValueCounts:
    """Counts values as they come, until two of them differ: what comes later changes nothing."""

    def __init__(self, initial_counts: Mapping[JudgeValue, int] | None = None) -> None:
        self._value_counts: Counter[JudgeValue] = Counter(initial_counts or {})

    def add_values(self, values: Iterable[JudgeValue | None]) -> None:
        """Count values; None is unscored and not counted."""
        # A judge on an open scale has as many values as items; two of them tell all that is asked for.
        if len(self._value_counts) < 2:
            self._value_counts.update(judge_value for judge_value in values if judge_value is not None)

    def as_json_pairs(self) -> list[tuple[JudgeValue, int]]:
        """Values with their numbers, ready for JSON."""
        # Pairs and no object: the keys of a JSON object are texts, and 1.0 would come back as one.
        return list(self._value_counts.items())

    @property
    def notice(self) -> Message | None:
        """The warning sentence, or None; see `constant_notice`."""
        return constant_notice(self._value_counts)


class NoticeLog:
    """What a log says of it: one line where it begins, one where it is over, nothing in between."""

    def __init__(self) -> None:
        self._notice_active = False

    def next_message(self, notice: Message | None) -> JobMessage | None:
        """What the notice of now is worth reporting; None where nothing has changed."""
        has_changed, self._notice_active = (notice is not None) != self._notice_active, notice is not None
        if not has_changed:
            return None
        return warning_message(notice) if notice else WARNING_WITHDRAWN.fill()


def warning_message(notice: Message) -> JobMessage:
    """The notice as jobs report it."""
    return CONSTANT_JUDGE.fill(notice_en=notice.en, notice_zh=notice.zh)


def _constant_items_message(only_value: float, item_count: int) -> Message:
    return Message(
        f"The judge gave {only_value:g} to all of the first {item_count:,} items that it scored; a judge that never "
        "differs cannot tell good from bad.",
        f"裁判给已评的前 {item_count:,} 条打的都是 {only_value:g}；分数从不变化的裁判分不出好坏。",
    )


def _constant_pairs_message(outcome: PairOutcome, item_count: int) -> Message:
    if outcome is PairOutcome.TIE:
        return Message(
            f"The judge called all of the first {item_count:,} pairs a tie; a judge that never differs cannot "
            "tell which greeting is better.",
            f"裁判把已评的前 {item_count:,} 对都判为平局；结论从不变化的裁判分不出哪条更好。",
        )
    en, zh = ("first", "前") if outcome is PairOutcome.A else ("second", "后")
    return Message(
        f"The judge preferred the {en} greeting in all of the first {item_count:,} pairs; look whether it really "
        "is the better one in each.",
        f"裁判在已评的前 {item_count:,} 对里都选了{zh}一条；请核对是不是每一对都真的{zh}一条更好。",
    )
