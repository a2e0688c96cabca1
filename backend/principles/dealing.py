"""Labels of a data set or campaign as the game takes them, and the deal as a run keeps it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.agreement.reference import read_reference
from backend.core.errors import UserError
from backend.core.text import digest
from backend.db.base import in_batches
from backend.db.tables import Greeting, Prompt
from backend.principles.algorithm.labels import GameLabel, GamePartition, PartitionedLabels, partition_labels

LEFT_OUT_COUNTS = ("contradictory", "repeated", "shared", "surplus")
# Where people are evenly split there is no label to learn from; ties are counted with the contradictory ones.
TIE_SHARE = 0.5


def read_labels(session: Session, dataset_name: str) -> tuple[list[GameLabel], int]:
    """Every labelled greeting, and how many were left out because people are even about them.

    Raises UserError for a name without labels, and for comparisons, which label no single greeting.
    """
    reference = read_reference(session, dataset_name)
    if reference.paired:
        raise UserError(
            f"“{dataset_name}” compares greetings; the game needs labels on single greetings.",
            f"“{dataset_name}”是两条对比；这里需要逐条的标签。",
        )
    unit_majorities = list(zip(reference.units, reference.majority(), strict=True))
    usable_labels = [
        GameLabel(rated_unit.a_id, rated_unit.prompt, rated_unit.a, bool(majority_share == 1))
        for rated_unit, majority_share in unit_majorities
        if not np.isnan(majority_share) and majority_share != TIE_SHARE
    ]
    return usable_labels, sum(bool(majority_share == TIE_SHARE) for _, majority_share in unit_majorities)


def load_partitions(session: Session, dataset_name: str, gate_size: int, locked_size: int) -> PartitionedLabels:
    """The labels of a data set or campaign, dealt out. Raises UserError where they do not suffice.

    gate_size, locked_size: the most labels of each set.
    """
    usable_labels, tie_count = read_labels(session, dataset_name)
    partitions = partition_labels(usable_labels, gate_size, locked_size, dataset_name)
    return PartitionedLabels(
        partitions.play,
        partitions.gate,
        partitions.locked,
        # Nothing is dropped uncounted: what was left out for ties stands in the figures of the run.
        partitions.contradictory + tie_count,
        partitions.repeated,
        partitions.shared,
        partitions.surplus,
    )


def plain_partitions(partitions: PartitionedLabels) -> dict[str, Any]:
    """The deal as a run keeps it: greetings by number, with the labels they had at the start."""
    plain_parts = {
        # With the label, not only the number: people may label on while the run lasts, and the deal must not
        # move.
        partition.value: [[label.id, int(label.good)] for label in partitions.labels_of(partition)]
        for partition in GamePartition
    }
    return {**plain_parts, **{count_name: getattr(partitions, count_name) for count_name in LEFT_OUT_COUNTS}}


def partitions_hash(partitions: PartitionedLabels) -> str:
    """Stands for the labels and where each is used."""
    # Texts instead of numbers, so that the same labels in another home have the same hash.
    label_lines = [
        f"{partition}|{label.prompt}|{label.greeting}|{label.good}"
        for partition in GamePartition
        for label in partitions.labels_of(partition)
    ]
    return digest(*label_lines)[:16]


def read_partitions(session: Session, stored_labels: Mapping[str, Any]) -> PartitionedLabels:
    """The deal that a run keeps. Raises UserError where a greeting is gone."""
    texts_by_id: dict[int, tuple[str, str]] = {}
    greeting_ids = [greeting_id for partition in GamePartition for greeting_id, _ in stored_labels[partition.value]]
    # SQLite builds may take as few as 999 bound values in a statement.
    for id_batch in in_batches(greeting_ids):
        greeting_rows = session.execute(
            select(Greeting.id, Prompt.text, Greeting.text)
            .join(Prompt, Prompt.id == Greeting.prompt_id)
            .where(Greeting.id.in_(id_batch))
        )
        texts_by_id |= {
            greeting_id: (prompt_text, greeting_text) for greeting_id, prompt_text, greeting_text in greeting_rows
        }
    play_labels, gate_labels, locked_labels = (
        _stored_labels(stored_labels[partition.value], texts_by_id)
        for partition in (GamePartition.PLAY, GamePartition.GATE, GamePartition.LOCKED)
    )
    contradictory, repeated, shared, surplus = (int(stored_labels[count_name]) for count_name in LEFT_OUT_COUNTS)
    return PartitionedLabels(play_labels, gate_labels, locked_labels, contradictory, repeated, shared, surplus)


def count_labels(stored_labels: Mapping[str, Any]) -> dict[str, Any]:
    """How many good and bad labels each part has, and what was left out."""
    counts_by_part = {}
    for partition in GamePartition:
        good_count = sum(is_good for _, is_good in stored_labels[partition.value])
        counts_by_part[partition.value] = {
            "good": good_count,
            "bad": len(stored_labels[partition.value]) - good_count,
        }
    return {**counts_by_part, **{count_name: stored_labels[count_name] for count_name in LEFT_OUT_COUNTS}}


def _stored_labels(
    label_rows: Sequence[Sequence[int]], texts_by_id: Mapping[int, tuple[str, str]]
) -> tuple[GameLabel, ...]:
    # A greeting that is gone would shift what gate and locked set mean, so the run ends instead of going on.
    missing_id = next((greeting_id for greeting_id, _ in label_rows if greeting_id not in texts_by_id), None)
    if missing_id is not None:
        raise UserError(
            f"Greeting {missing_id} of this run is gone; start a new run.",
            f"本次运行用到的祝福 {missing_id} 已不存在，请另开一次运行。",
        )
    return tuple(
        GameLabel(greeting_id, *texts_by_id[greeting_id], bool(is_good)) for greeting_id, is_good in label_rows
    )
