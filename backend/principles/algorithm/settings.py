"""How a run is played: plain numbers with their bounds, checked before anything is asked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from backend.core.enums import FlawConfirmer, SearchMethod
from backend.core.errors import UserError


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
    search: SearchMethod = SearchMethod.GAME
    confirm: FlawConfirmer = FlawConfirmer.JUDGE
    trim: int = 40
    gepa_labels: int = 40
    gepa_calls: int = 400
    evolve_generator: bool = True
    rewrite: bool = True

    @property
    def alpha_per_round(self) -> float:
        """The level of one look at the gate: a proposal a round, so the levels add up to alpha at most."""
        return self.alpha / self.rounds

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def read(cls, plain_values: Mapping[str, Any]) -> Self:
        """From plain values, defaults where none are given. Raises UserError for one that cannot be."""
        setting_values = {
            setting_field.name: plain_values[setting_field.name]
            for setting_field in fields(cls)
            if plain_values.get(setting_field.name) is not None
        }
        for setting_name, (lower_bound, upper_bound) in _BOUNDS.items():
            setting_value = setting_values.get(setting_name, lower_bound)
            if (
                isinstance(setting_value, bool)
                or not isinstance(setting_value, int)
                or not lower_bound <= setting_value <= upper_bound
            ):
                raise _out_of_bounds(setting_name, lower_bound, upper_bound)
        alpha = setting_values.get("alpha", 0.05)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 0.5:
            raise _out_of_bounds("alpha", 0, 0.5)
        for setting_name in ("evolve_generator", "rewrite"):
            if not isinstance(setting_values.get(setting_name, True), bool):
                raise UserError(f"“{setting_name}” must be true or false.", f"“{setting_name}”只能是 true 或 false。")
        for setting_name, enum_type in (("search", SearchMethod), ("confirm", FlawConfirmer)):
            if setting_name in setting_values:
                setting_values[setting_name] = _enum_member(enum_type, setting_name, setting_values[setting_name])
        return cls(**setting_values)


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


def _out_of_bounds(setting_name: str, lower_bound: float, upper_bound: float) -> UserError:
    return UserError(
        f"“{setting_name}” must be a number from {lower_bound:g} to {upper_bound:g}.",
        f"“{setting_name}”必须是 {lower_bound:g} 到 {upper_bound:g} 的数。",
    )


def _enum_member(enum_type: Any, setting_name: str, raw_value: object) -> Any:
    try:
        return enum_type(raw_value)
    except ValueError as error:
        choices = ", ".join(enum_type)
        raise UserError(
            f"“{setting_name}” must be one of: {choices}.",
            f"“{setting_name}”只能是：{'、'.join(enum_type)}。",
        ) from error
