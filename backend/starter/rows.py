"""The composed corpus as rows of a training snapshot, each with the split of its request."""

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

from backend.corpus import assign_split
from backend.starter.bank import Mood, Occasion
from backend.starter.compose import CORPUS_SEED, ComposedRow, composed_rows
from backend.starter.writing import STANDALONE_STYLES
from backend.text import count_characters
from backend.vocabulary import Flaw

SnapshotRow = dict[str, Any]
PAIR_COUNT = 7_000
DRAWN_ROWS = 40
"""So many rows are looked at for one whose greeting misses the request."""
MAX_LENGTH_GAP = 6
"""Characters by which the two greetings of a pair may differ: length says nothing about which is better."""
SIMILAR_OCCASIONS = (
    {"春节", "除夕", "元旦", "公司庆典", "合作"},
    {"出生", "满月", "百天", "周岁", "怀孕"},
    {"婚礼", "订婚", "结婚纪念日", "七夕", "情人节"},
    {"升职", "入职", "升学", "毕业"},
    {"手术", "探病", "康复"},
    {"离职", "送别", "旅途", "出国"},
)
"""Occasions that may share a greeting; so may all before which courage is wished, and "日常" fits any."""
COMPOSED_ORIGIN = "composed"
"""Mark of a pair whose preference follows from how it was composed, and not from anybody's taste."""


def build_sft_rows() -> list[SnapshotRow]:
    """Prompt, completion, and what it is about."""
    return [
        {
            "split": assign_split(composed_row.prompt).value,
            "prompt": composed_row.prompt,
            "completion": composed_row.greeting,
            "plan": composed_row.scene.plan,
        }
        for composed_row in composed_rows()
    ]


def build_pair_rows() -> list[SnapshotRow]:
    """Prompt, the greeting composed for it, and one of about the same length composed for another request.

    The rejected greeting is for another occasion (for as many) or for somebody else.
    """
    return [
        {
            "split": assign_split(composed_row.prompt).value,
            "prompt": composed_row.prompt,
            "chosen": composed_row.greeting,
            "rejected": other_row.greeting,
            "origin": COMPOSED_ORIGIN,
        }
        for composed_row, other_row, _ in mismatched_rows(composed_rows())
    ]


def mismatched_rows(
    all_rows: Sequence[ComposedRow], max_pairs: int = PAIR_COUNT
) -> list[tuple[ComposedRow, ComposedRow, Flaw]]:
    """Rows beside a row whose greeting misses the request, and how it does; always of the same split."""
    rng = Random(f"{CORPUS_SEED} pairs")
    rows_by_group: dict[str, list[ComposedRow]] = defaultdict(list)
    for composed_row in all_rows:
        for group_name in _split_groups(composed_row):
            rows_by_group[group_name].append(composed_row)
    mismatches: list[tuple[ComposedRow, ComposedRow, Flaw]] = []
    for composed_row in rng.sample(list(all_rows), len(all_rows)):
        if len(mismatches) == max_pairs:
            break
        flaw = Flaw.WRONG_RELATIONSHIP if len(mismatches) % 2 else Flaw.WRONG_OCCASION
        group_rows = rows_by_group[_split_groups(composed_row)[len(mismatches) % 2]]
        sampled_rows = rng.sample(group_rows, min(DRAWN_ROWS, len(group_rows)))
        other_row = next(
            (sampled_row for sampled_row in sampled_rows if _misses_request(composed_row, sampled_row, flaw)),
            None,
        )
        if other_row is not None:
            mismatches.append((composed_row, other_row, flaw))
    return mismatches


def _split_groups(composed_row: ComposedRow) -> tuple[str, str]:
    """Where a wrong occasion is looked for, and where a wrong recipient: always in the same split."""
    split_name = assign_split(composed_row.prompt).value
    return split_name, f"{split_name} {composed_row.scene.occasion.key}"


def _misses_request(composed_row: ComposedRow, other_row: ComposedRow, flaw: Flaw) -> bool:
    if abs(count_characters(composed_row.greeting) - count_characters(other_row.greeting)) > MAX_LENGTH_GAP:
        return False
    if flaw is Flaw.WRONG_OCCASION:
        # A line of verse or four-character luck may well fit two occasions.
        standalone_styles = {composed_row.scene.style, other_row.scene.style} & STANDALONE_STYLES
        return not standalone_styles and not _may_share_greeting(composed_row.scene.occasion, other_row.scene.occasion)
    recipient, other_recipient = composed_row.scene.recipient, other_row.scene.recipient
    if (
        recipient is None
        or other_recipient is None
        or set(recipient.address_forms) & set(other_recipient.address_forms)
    ):
        return False
    is_addressed = any(other_row.greeting.startswith(address_form) for address_form in other_recipient.address_forms)
    return is_addressed and composed_row.scene.occasion.key == other_row.scene.occasion.key


def _may_share_greeting(occasion: Occasion, other_occasion: Occasion) -> bool:
    both_names = {occasion.name, other_occasion.name}
    both_encourage = occasion.mood is other_occasion.mood is Mood.PUSH
    return (
        len(both_names) == 1
        or "日常" in both_names
        or both_encourage
        or any(both_names <= similar_names for similar_names in SIMILAR_OCCASIONS)
    )
