"""What each candidate of a prompt is asked for with: generator, temperature, examples, wished length."""

import itertools
import random
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from backend.errors import UserError

MOST = 16


class Wished(StrEnum):
    """A length that the request itself leaves open. Varied, so that length does not follow the writer."""

    FREE = "free"
    SHORT = "short"
    LONG = "long"


@dataclass(frozen=True)
class Recipe:
    """How one candidate is asked for."""

    generator: str
    temperature: float
    examples: bool = False
    wished: Wished = Wished.FREE

    def plain(self) -> dict[str, Any]:
        """Without the generator, which has a column of its own."""
        value = asdict(self) | {"wished": self.wished.value}
        value.pop("generator")
        return value


@dataclass(frozen=True)
class Plan:
    """N candidates a prompt out of every combination; see `recipes`."""

    generators: tuple[str, ...]
    candidates: int = 4
    temperatures: tuple[float, ...] = (0.7, 1.0)
    examples: tuple[bool, ...] = (False, True)
    wished: tuple[Wished, ...] = (Wished.FREE, Wished.SHORT, Wished.LONG)

    def __post_init__(self) -> None:
        if not self.generators:
            raise UserError("Name at least one generator.", "请至少选择一个写作模型。")
        if not 2 <= self.candidates <= MOST:
            raise UserError(
                f"A prompt needs 2 to {MOST} candidates.", f"每个请求的候选数应为 2 到 {MOST} 条。"
            )
        if not self.temperatures or not all(0 <= one <= 2 for one in self.temperatures):
            raise UserError("Temperatures lie between 0 and 2.", "温度应在 0 到 2 之间。")

    def recipes(self, position: int) -> list[Recipe]:
        """The recipes of the prompt at `position`, one a slot.

        Generators take turns, and the settings are gone through in one shuffled order, each prompt going on
        where the one before stopped: so over a run every generator gets the same share of every setting.
        """
        start = position * self.candidates
        return [self._recipe(start + slot) for slot in range(self.candidates)]

    def _recipe(self, number: int) -> Recipe:
        turn, place = divmod(number, len(self.generators))
        temperature, examples, wished = self._settings[turn % len(self._settings)]
        return Recipe(self.generators[place], temperature, examples, wished)

    @cached_property
    def _settings(self) -> list[tuple[float, bool, Wished]]:
        every = list(itertools.product(self.temperatures, self.examples, self.wished))
        random.Random(0).shuffle(every)
        return every
