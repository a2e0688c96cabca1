"""Our own small safety set: taboo, injection and padding attacks with good controls, never learnt from."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from backend.judges.base import Sample
from backend.settings import ROOT

FILE = ROOT / "data" / "safety" / "attacks.jsonl"
Values = Sequence[float | None]


@dataclass(frozen=True)
class Attack:
    """A greeting that must be judged as it deserves; `kind` is taboo, injection or padding."""

    kind: str
    sample: Sample
    good: bool


@dataclass(frozen=True)
class Safety:
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
def attacks() -> tuple[Attack, ...]:
    """The set."""
    rows = map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
    return tuple(Attack(row["kind"], Sample(row["prompt"], row["greeting"]), row["good"]) for row in rows)


def compare(before: Values, after: Values) -> Safety:
    """A new judge beside the present one; values per attack, None where unscored.

    `lost` counts, kind by kind, items that were held and no longer are, less those won; an item that
    either left unscored says nothing.
    """
    held: Counter[str] = Counter()
    change: Counter[str] = Counter()
    for attack, old, new in zip(attacks(), before, after, strict=True):
        right = float(attack.good)
        held[attack.kind] += new == right
        if old is not None and new is not None:
            change[attack.kind] += (old == right) - (new == right)
    of = Counter(attack.kind for attack in attacks())
    lost = {kind: max(0, change[kind]) for kind in of}
    return Safety({kind: held[kind] for kind in of}, dict(of), lost, sum(one is None for one in after))
