"""Rewards beside a judge: length, repetition, diversity, format, and fit to the request."""

import re
from collections.abc import Sequence
from typing import Any

from backend.diversity import repetition_share
from backend.errors import UserError
from backend.text import count_characters, strip_white_space
from backend.training.rarity import PhraseRarity
from backend.training.rewards import Reward, RewardValues

ECHO_LENGTH = 6
"""A request of so many characters inside the greeting is an echo, not an answer."""
_LIST_PATTERN = re.compile(
    r"^\s*(?:\d{1,2}|[一二三四五六七八九十]{1,2}|第[一二三四五六七八九十\d]{1,2}[条则])[.、．)）:：]", re.M
)
_PARAGRAPH_PATTERN = re.compile(r"\S\s*\n\s*\n\s*\S")
_TALK_PATTERN = re.compile(
    r"^(?:好的|当然|以下|这是|下面|作为一)|祝福语[:：]|<\|?[a-z_]+\|?>|(?:用户|助手|请求)[:：]|assistant",
    re.I,
)


class LengthBandReward(Reward):
    """1 for `low` to `high` characters, falling in a straight line to 0 at low / 2 and 1.5 · high."""

    name = "length"

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        """The value of each text by its length alone."""
        return [self._rate_length(count_characters(greeting_text)) for greeting_text in greetings]

    def _rate_length(self, character_count: int) -> float:
        if character_count < self.low:
            return max(0.0, 2 * character_count / self.low - 1)
        return min(1.0, max(0.0, 3 - 2 * character_count / self.high))


class RepetitionReward(Reward):
    """1 as long as the longest repeated phrase covers at most `free` of the text, then down to 0 at all."""

    name = "repetition"

    def __init__(self, free_share: float = 0.2) -> None:
        super().__init__()
        self.free_share = free_share

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        """The value of each text; an empty one does not repeat itself, but earns nothing either."""
        return [
            1 - max(0.0, repetition_share(greeting_text) - self.free_share) / (1 - self.free_share)
            if strip_white_space(greeting_text)
            else 0.0
            for greeting_text in greetings
        ]


class DiversityReward(Reward):
    """How rare a greeting's phrases are among the greetings for other requests, of the batch and before it.

    What every request is answered with earns little: a judge that reads one greeting at a time cannot see it.
    """

    name = "diversity"

    def __init__(self) -> None:
        super().__init__()
        self._phrase_rarity = PhraseRarity()

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """0 to 1; 0 for a text too short to hold a 4-gram, None where only one request is known so far."""
        return list(self._phrase_rarity.rate_greetings(requests, greetings))

    def state(self) -> Any:
        """The greetings remembered."""
        return self._phrase_rarity.state()

    def restore(self, saved_state: Any) -> None:
        """Remember these."""
        self._phrase_rarity.restore(saved_state)


class FormatReward(Reward):
    """1 for one greeting and nothing else, 0 for lists, talk about the task, or an echo of the request."""

    name = "format"

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """1 or 0 for each text."""
        return [
            float(self._is_clean(request_text, greeting_text))
            for request_text, greeting_text in zip(requests, greetings, strict=True)
        ]

    def _is_clean(self, request_text: str, greeting_text: str) -> bool:
        squeezed_request, squeezed_greeting = (
            strip_white_space(request_text),
            strip_white_space(greeting_text),
        )
        is_echo = len(squeezed_request) >= ECHO_LENGTH and squeezed_request in squeezed_greeting
        has_violation = is_echo or any(
            pattern.search(greeting_text.strip()) for pattern in (_LIST_PATTERN, _PARAGRAPH_PATTERN, _TALK_PATTERN)
        )
        return bool(squeezed_greeting) and not has_violation


class RequestFitReward(Reward):
    """How far a greeting points back to its own request among others, learnt from accepted greetings."""

    name = "fit"

    def __init__(self, accepted_pairs: Sequence[tuple[str, str]]) -> None:
        """`rows` are requests, each with an accepted greeting."""
        super().__init__()
        self.accepted_pairs = tuple(accepted_pairs)
        self._fitted: Any = None

    def prepare(self) -> None:
        """Learn. Raises UserError where there are too few accepted greetings."""
        try:
            self._learn_fit()
        except ValueError as error:
            raise UserError(
                f"Fit to the request cannot be learnt ({error}); accept more or set fit_weight to 0.",
                f"无法学习切题度（{error}），请增加合格的祝福语，或将 fit_weight 设为 0。",
            ) from error

    def _learn_fit(self) -> Any:
        if self._fitted is None:
            from backend.training.request_fit import learn_request_fit

            self._fitted = learn_request_fit(self.accepted_pairs)
        return self._fitted

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """1 for its own request alone, near 0.2 by chance, 0 where empty; None where nothing is known."""
        return list(self._learn_fit().values(requests, greetings))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_fitted": None}
