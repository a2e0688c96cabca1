"""Judges that say the same of everything: one sentence about it, whoever lets them judge.

A judge that never differs cannot tell good from bad, and what it gives looks like any other value. So
scoring, runs of pairs, the game and trainings say so as soon as enough values are there, and no longer
once they differ. It is a warning: nothing is stopped, nothing is left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from backend.errors import Message
from backend.judges.base import PairOutcome

ENOUGH = 20
"""Scored items from which on a single value is no chance: an honest judge of even odds does it once in
500,000 times."""
OVER = Message("Warning withdrawn: the judge's values differ now.", "警告解除：裁判的分数已有差别。")
Value = float | PairOutcome


def constant_notice(counts: Mapping[Value, int]) -> Message | None:
    """The sentence about a judge that gave one value to all it scored; None where values differ or are few.

    `counts` says how many scored items got which value; unscored items are not among them.
    """
    if len(counts) != 1:
        return None
    ((value, items),) = counts.items()
    if items < ENOUGH:
        return None
    return _of_pairs(value, items) if isinstance(value, PairOutcome) else _of_items(value, items)


class ValueCounts:
    """Counts values as they come, until two of them differ: what comes later changes nothing."""

    def __init__(self, known: Mapping[Value, int] | None = None) -> None:
        self._counts: Counter[Value] = Counter(known or {})

    def add(self, values: Iterable[Value | None]) -> None:
        """Count values; None is unscored and not counted."""
        if len(self._counts) < 2:
            self._counts.update(value for value in values if value is not None)

    def plain(self) -> list[tuple[Value, int]]:
        """Values with their numbers, ready for JSON."""
        return list(self._counts.items())

    @property
    def notice(self) -> Message | None:
        """See `constant_notice`."""
        return constant_notice(self._counts)


class NoticeLog:
    """What a log says of it: one line where it begins, one where it is over, nothing in between."""

    def __init__(self) -> None:
        self._standing = False

    def line(self, notice: Message | None) -> str:
        """The line that the notice of now is worth; "" where nothing has changed."""
        changed, self._standing = (notice is not None) != self._standing, notice is not None
        if not changed:
            return ""
        return warning_line(notice) if notice else f"{OVER.zh} | {OVER.en}"


def warning_line(notice: Message) -> str:
    """The sentence as logs have it, in both languages."""
    return f"警告：{notice.zh} | Warning: {notice.en}"


def _of_items(value: float, items: int) -> Message:
    return Message(
        f"The judge gave {value:g} to all of the first {items:,} items that it scored; a judge that never "
        "differs cannot tell good from bad.",
        f"裁判给已评的前 {items:,} 条打的都是 {value:g}；分数从不变化的裁判分不出好坏。",
    )


def _of_pairs(outcome: PairOutcome, items: int) -> Message:
    if outcome is PairOutcome.TIE:
        return Message(
            f"The judge called all of the first {items:,} pairs a tie; a judge that never differs cannot "
            "tell which greeting is better.",
            f"裁判把已评的前 {items:,} 对都判为平局；结论从不变化的裁判分不出哪条更好。",
        )
    en, zh = ("first", "前") if outcome is PairOutcome.A else ("second", "后")
    return Message(
        f"The judge preferred the {en} greeting in all of the first {items:,} pairs; look whether it really "
        "is the better one in each.",
        f"裁判在已评的前 {items:,} 对里都选了{zh}一条；请核对是不是每一对都真的{zh}一条更好。",
    )
