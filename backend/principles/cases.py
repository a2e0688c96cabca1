"""What happens on the table: planted flaws, what was said of them, and readings of the Detector."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from backend.vocabulary import Flaw


@dataclass(frozen=True)
class PlantedFlaw:
    """A greeting with a planted flaw. `place` is where the flaw stands, in the greeting's own words.

    `fault` says why there is nothing to judge: a Fault's value, or unreadable. `asked`: whether the
    Generator was told to plant it, or only wrote as it does.
    """

    prompt: str
    flaw: Flaw
    greeting: str = ""
    place: str = ""
    explanation: str = ""
    fault: str = ""
    note: str = ""
    asked: bool = True

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        plain_values = {**asdict(self), "flaw": self.flaw.value}
        if self.asked:
            del plain_values["asked"]
        return plain_values

    @classmethod
    def read(cls, plain_values: Mapping[str, Any]) -> Self:
        """From what `plain` gave; what else stands there is passed over."""
        field_values = {
            field_name: plain_values[field_name]
            for field_name in cls.__dataclass_fields__
            if field_name in plain_values
        }
        return cls(**{**field_values, "flaw": Flaw(plain_values["flaw"])})


@dataclass(frozen=True)
class FlawConfirmation:
    """Whether a planted flaw is really there; None where nobody could say."""

    there: bool | None
    reason: str = ""


@dataclass(frozen=True)
class Advice:
    """A piece of advice, and the case it came from (such as `r3.a2`)."""

    text: str
    source: str
