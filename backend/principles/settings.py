"""How a run is played: plain numbers with their bounds, checked before anything is asked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from backend.errors import UserError
from backend.principles.vocabulary import Confirm, Search


@dataclass(frozen=True)
class GameSettings:
    """The game's numbers.

    rounds: the most rounds; patience: rounds without an acceptance after which it ends.
    labelled, attacks: labels and planted flaws of a minibatch; duels: requests on which two S_G compete.
    trim: labels on which each change of a proposal is tried by itself (0: none is).
    gepa_labels, gepa_calls: what GEPA gets in a round: labels to reflect on and as many to choose by, and
    verdicts to spend.
    gate, locked: the most labels of each set; alpha: chance that a whole run accepts anything useless.
    """

    rounds: int = 6
    patience: int = 3
    labelled: int = 16
    attacks: int = 8
    duels: int = 32
    gate: int = 200
    locked: int = 400
    alpha: float = 0.05
    seed: int = 1
    search: Search = Search.GAME
    confirm: Confirm = Confirm.JUDGE
    trim: int = 40
    gepa_labels: int = 40
    gepa_calls: int = 400
    evolve_generator: bool = True
    rewrite: bool = True

    @property
    def each_alpha(self) -> float:
        """The level of one look at the gate: a proposal a round, so the levels add up to alpha at most."""
        return self.alpha / self.rounds

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """From plain values, defaults where none are given. Raises UserError for one that cannot be."""
        known = {field.name: given[field.name] for field in fields(cls) if given.get(field.name) is not None}
        for name, (low, high) in _BOUNDS.items():
            value = known.get(name, low)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise _outside(name, low, high)
        alpha = known.get("alpha", 0.05)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 0.5:
            raise _outside("alpha", 0, 0.5)
        for name in ("evolve_generator", "rewrite"):
            if not isinstance(known.get(name, True), bool):
                raise UserError(f"“{name}” must be true or false.", f"“{name}”只能是 true 或 false。")
        for name, kind in (("search", Search), ("confirm", Confirm)):
            if name in known:
                known[name] = _member(kind, name, known[name])
        return cls(**known)


_BOUNDS = {
    "rounds": (1, 100),
    "patience": (1, 100),
    "labelled": (2, 200),
    "attacks": (1, 100),
    "duels": (8, 500),
    "gate": (20, 5_000),
    "locked": (10, 5_000),
    "trim": (0, 500),
    "gepa_labels": (4, 500),
    "gepa_calls": (10, 100_000),
    "seed": (0, 2**31),
}


def _outside(name: str, low: float, high: float) -> UserError:
    return UserError(
        f"“{name}” must be a number from {low:g} to {high:g}.", f"“{name}”必须是 {low:g} 到 {high:g} 的数。"
    )


def _member(kind: Any, name: str, value: object) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(kind)
        raise UserError(
            f"“{name}” must be one of: {known}.", f"“{name}”只能是：{'、'.join(kind)}。"
        ) from error
