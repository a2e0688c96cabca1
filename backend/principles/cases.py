"""What happens on the table: planted flaws, what was said of them, and readings of the Detector."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from backend.vocabulary import Flaw


@dataclass(frozen=True)
class Planted:
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
        plain = {**asdict(self), "flaw": self.flaw.value}
        if self.asked:
            del plain["asked"]
        return plain

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """From what `plain` gave; what else stands there is passed over."""
        given = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(**{**given, "flaw": Flaw(value["flaw"])})


@dataclass(frozen=True)
class Claim:
    """Whether a planted flaw is really there; None where nobody could say."""

    there: bool | None
    reason: str = ""


@dataclass(frozen=True)
class Advice:
    """A piece of advice, and the case it came from (such as `r3.a2`)."""

    text: str
    source: str
