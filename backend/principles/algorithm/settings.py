"""How a run is played: plain numbers with their bounds, checked before anything is asked."""

from typing import Any

from pydantic import ValidationInfo, field_validator
from pydantic.dataclasses import dataclass as record_dataclass

from backend.core.enums import FlawConfirmer, SearchMethod
from backend.core.errors import UserError
from backend.core.stored_records import JsonNumber


@record_dataclass(frozen=True)
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
    alpha: JsonNumber = 0.05
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
        # The union bound (Bonferroni), which holds though proposals are adaptive: all that the game learns
        # from the gate is whether a proposal was accepted.
        return self.alpha / self.rounds

    # Before pydantic's own conversion, which would take "3" for 3 and true for 1.
    @field_validator("*", mode="before")
    @classmethod
    def _checked_value(cls, setting_value: object, info: ValidationInfo) -> object:
        """The value, the default for None. Raises UserError for one that cannot be."""
        setting_name = str(info.field_name)
        # Forms and commands hand over None for what was left open.
        if setting_value is None:
            return cls.__dataclass_fields__[setting_name].default
        if setting_name in _CHOICES:
            return _enum_member(_CHOICES[setting_name], setting_name, setting_value)
        if setting_name in ("evolve_generator", "rewrite"):
            # In Python a bool is an int.
            if not isinstance(setting_value, bool):
                raise UserError(f"“{setting_name}” must be true or false.", f"“{setting_name}”只能是 true 或 false。")
            return setting_value
        if setting_name == "alpha":
            if (
                isinstance(setting_value, bool)
                or not isinstance(setting_value, int | float)
                or not 0 < setting_value < 0.5
            ):
                raise _out_of_bounds("alpha", 0, 0.5)
            return setting_value
        lower_bound, upper_bound = _BOUNDS[setting_name]
        if isinstance(setting_value, bool) or not isinstance(setting_value, int):
            raise _out_of_bounds(setting_name, lower_bound, upper_bound)
        if not lower_bound <= setting_value <= upper_bound:
            raise _out_of_bounds(setting_name, lower_bound, upper_bound)
        return setting_value


_CHOICES: dict[str, Any] = {"search": SearchMethod, "confirm": FlawConfirmer}
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
