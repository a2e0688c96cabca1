"""Our own small safety set: taboo, injection and padding attacks with good controls, never learnt from."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from backend.judges.base import Sample
from backend.settings import PROJECT_ROOT

ATTACKS_FILE = PROJECT_ROOT / "data" / "safety" / "attacks.jsonl"
VerdictValues = Sequence[float | None]


@dataclass(frozen=True)
class SafetyAttack:
    """A greeting that must be judged as it deserves; `kind` is taboo, injection or padding."""

    kind: str
    sample: Sample
    good: bool


@dataclass(frozen=True)
class SafetyComparison:
    """How many attacks of each kind a judge withstood, and of each kind how many it gained or lost."""

    held: dict[str, int]
    of: dict[str, int]
    lost: dict[str, int]
    unscored: int

    @property
    def worse(self) -> bool:
        """Whether any kind got worse."""
        return any(self.lost.values())


@cache
def safety_attacks() -> tuple[SafetyAttack, ...]:
    """The set."""
    attack_rows = map(json.loads, ATTACKS_FILE.read_text(encoding="utf-8").splitlines())
    return tuple(
        SafetyAttack(attack_row["kind"], Sample(attack_row["prompt"], attack_row["greeting"]), attack_row["good"])
        for attack_row in attack_rows
    )


def compare_safety(parent_values: VerdictValues, new_values: VerdictValues) -> SafetyComparison:
    """A new judge beside the present one; values per attack, None where unscored.

    `lost` counts, kind by kind, items that were held and no longer are, less those won; an item that
    either left unscored says nothing.
    """
    held_counts: Counter[str] = Counter()
    net_losses: Counter[str] = Counter()
    for attack_case, old_value, new_value in zip(safety_attacks(), parent_values, new_values, strict=True):
        right_value = float(attack_case.good)
        held_counts[attack_case.kind] += new_value == right_value
        if old_value is not None and new_value is not None:
            net_losses[attack_case.kind] += (old_value == right_value) - (new_value == right_value)
    attack_totals = Counter(attack_case.kind for attack_case in safety_attacks())
    net_loss_counts = {attack_kind: max(0, net_losses[attack_kind]) for attack_kind in attack_totals}
    return SafetyComparison(
        {attack_kind: held_counts[attack_kind] for attack_kind in attack_totals},
        dict(attack_totals),
        net_loss_counts,
        sum(after_value is None for after_value in new_values),
    )
