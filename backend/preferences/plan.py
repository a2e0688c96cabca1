"""What each candidate of a prompt is asked for with: generator, temperature, examples, wished length."""

import itertools
import random
from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as record_dataclass

from backend.core.errors import UserError
from backend.core.stored_records import JsonNumber

# Seeds of a prompt's candidates lie this far apart from the next prompt's (see candidates.py): raise it, and runs
# that were stopped would be asked anew.
MAX_CANDIDATES = 16


class RequestedLength(StrEnum):
    """A length that the request itself leaves open. Varied, so that length does not follow the writer."""

    FREE = "free"
    SHORT = "short"
    LONG = "long"


@record_dataclass(frozen=True)
class CandidateRecipe:
    """How one candidate is asked for. Stored without the generator, which has a column of its own."""

    generator: Annotated[str, Field(exclude=True)]
    temperature: JsonNumber
    examples: bool = False
    wished: RequestedLength = RequestedLength.FREE


@record_dataclass(frozen=True)
class CandidatePlan:
    """N candidates a prompt out of every combination; see `prompt_recipes`."""

    generators: tuple[str, ...]
    candidates: int = 4
    temperatures: tuple[JsonNumber, ...] = (0.7, 1.0)
    examples: tuple[bool, ...] = (False, True)
    # Several lengths by default: of all that can be set, this saves most pairs from the balance
    # (docs/decisions/2026-11-25-balanced-pairs.md).
    wished: tuple[RequestedLength, ...] = (RequestedLength.FREE, RequestedLength.SHORT, RequestedLength.LONG)

    def __post_init__(self) -> None:
        if not self.generators:
            raise UserError("Name at least one generator.", "请至少选择一个写作模型。")
        # One candidate alone can never be accepted over another.
        if not 2 <= self.candidates <= MAX_CANDIDATES:
            raise UserError(
                f"A prompt needs 2 to {MAX_CANDIDATES} candidates.",
                f"每个请求的候选数应为 2 到 {MAX_CANDIDATES} 条。",
            )
        if not self.temperatures or not all(0 <= temperature <= 2 for temperature in self.temperatures):
            raise UserError("Temperatures lie between 0 and 2.", "温度应在 0 到 2 之间。")

    def prompt_recipes(self, position: int) -> list[CandidateRecipe]:
        """The recipes of the prompt at `position`, one a slot.

        Generators take turns, and the settings are gone through in one shuffled order, each prompt going on
        where the one before stopped: so over a run every generator gets the same share of every setting.
        """
        # Counted from the line's place in the run, so that a
        # resumed run asks for the rest by the same recipes.
        first_number = position * self.candidates
        return [self._numbered_recipe(first_number + slot_index) for slot_index in range(self.candidates)]

    def _numbered_recipe(self, recipe_number: int) -> CandidateRecipe:
        # The generator turns fastest: every generator meets a setting before the next setting comes.
        setting_index, generator_index = divmod(recipe_number, len(self.generators))
        temperature, with_examples, requested_length = self._shuffled_settings[
            setting_index % len(self._shuffled_settings)
        ]
        return CandidateRecipe(self.generators[generator_index], temperature, with_examples, requested_length)

    @cached_property
    def _shuffled_settings(self) -> list[tuple[float, bool, RequestedLength]]:
        combinations = list(itertools.product(self.temperatures, self.examples, self.wished))
        # Shuffled, so that no setting follows another's turn; always alike, so that a run that goes on has its plan.
        random.Random(0).shuffle(combinations)
        return combinations
