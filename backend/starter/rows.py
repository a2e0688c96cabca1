"""The composed corpus as rows of a training snapshot, each with the split of its request."""

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

from backend.corpus import split_of
from backend.starter.bank import Mood, Occasion
from backend.starter.compose import SEED, Composed, composed
from backend.starter.writing import STYLED_ALONE
from backend.text import length
from backend.vocabulary import Flaw

Row = dict[str, Any]
PAIRS = 7_000
DRAWN = 40
"""So many rows are looked at for one whose greeting misses the request."""
NEAR = 6
"""Characters by which the two greetings of a pair may differ: length says nothing about which is better."""
ALIKE = (
    {"春节", "除夕", "元旦", "公司庆典", "合作"},
    {"出生", "满月", "百天", "周岁", "怀孕"},
    {"婚礼", "订婚", "结婚纪念日", "七夕", "情人节"},
    {"升职", "入职", "升学", "毕业"},
    {"手术", "探病", "康复"},
    {"离职", "送别", "旅途", "出国"},
)
"""Occasions that may share a greeting; so may all before which courage is wished, and "日常" fits any."""
COMPOSED = "composed"
"""Mark of a pair whose preference follows from how it was composed, and not from anybody's taste."""


def sft_rows() -> list[Row]:
    """Prompt, completion, and what it is about."""
    return [
        {
            "split": split_of(row.prompt).value,
            "prompt": row.prompt,
            "completion": row.greeting,
            "plan": row.scene.plan,
        }
        for row in composed()
    ]


def pair_rows() -> list[Row]:
    """Prompt, the greeting composed for it, and one of about the same length composed for another request.

    The rejected greeting is for another occasion (for as many) or for somebody else.
    """
    return [
        {
            "split": split_of(row.prompt).value,
            "prompt": row.prompt,
            "chosen": row.greeting,
            "rejected": other.greeting,
            "origin": COMPOSED,
        }
        for row, other, _ in mismatched(composed())
    ]


def mismatched(rows: Sequence[Composed], count: int = PAIRS) -> list[tuple[Composed, Composed, Flaw]]:
    """Rows beside a row whose greeting misses the request, and how it does; always of the same split."""
    rng = Random(f"{SEED} pairs")
    homes: dict[str, list[Composed]] = defaultdict(list)
    for row in rows:
        for home in _homes(row):
            homes[home].append(row)
    found: list[tuple[Composed, Composed, Flaw]] = []
    for row in rng.sample(list(rows), len(rows)):
        if len(found) == count:
            break
        flaw = Flaw.WRONG_RELATIONSHIP if len(found) % 2 else Flaw.WRONG_OCCASION
        known = homes[_homes(row)[len(found) % 2]]
        others = rng.sample(known, min(DRAWN, len(known)))
        other = next((one for one in others if _misses(row, one, flaw)), None)
        if other is not None:
            found.append((row, other, flaw))
    return found


def _homes(row: Composed) -> tuple[str, str]:
    """Where a wrong occasion is looked for, and where a wrong recipient: always in the same split."""
    split = split_of(row.prompt).value
    return split, f"{split} {row.scene.occasion.key}"


def _misses(row: Composed, other: Composed, flaw: Flaw) -> bool:
    if abs(length(row.greeting) - length(other.greeting)) > NEAR:
        return False
    if flaw is Flaw.WRONG_OCCASION:
        # A line of verse or four-character luck may well fit two occasions.
        alone = {row.scene.style, other.scene.style} & STYLED_ALONE
        return not alone and not _alike(row.scene.occasion, other.scene.occasion)
    mine, theirs = row.scene.recipient, other.scene.recipient
    if mine is None or theirs is None or set(mine.calls) & set(theirs.calls):
        return False
    told = any(other.greeting.startswith(call) for call in theirs.calls)
    return told and row.scene.occasion.key == other.scene.occasion.key


def _alike(one: Occasion, other: Occasion) -> bool:
    names = {one.name, other.name}
    pushed = one.mood is other.mood is Mood.PUSH
    return len(names) == 1 or "日常" in names or pushed or any(names <= group for group in ALIKE)
