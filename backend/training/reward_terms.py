"""Rewards beside a judge: length, repetition, diversity, format, and fit to the request."""

import re
from collections.abc import Sequence
from typing import Any

from backend.diversity import repetition
from backend.errors import UserError
from backend.text import length, squeeze
from backend.training.rarity import Rarity
from backend.training.rewards import Reward, Values

ECHO = 6
"""A request of so many characters inside the greeting is an echo, not an answer."""
_LISTED = re.compile(
    r"^\s*(?:\d{1,2}|[一二三四五六七八九十]{1,2}|第[一二三四五六七八九十\d]{1,2}[条则])[.、．)）:：]", re.M
)
_PARAGRAPHS = re.compile(r"\S\s*\n\s*\n\s*\S")
_TALK = re.compile(
    r"^(?:好的|当然|以下|这是|下面|作为一)|祝福语[:：]|<\|?[a-z_]+\|?>|(?:用户|助手|请求)[:：]|assistant",
    re.I,
)


class LengthBandReward(Reward):
    """1 for `low` to `high` characters, falling in a straight line to 0 at low / 2 and 1.5 · high."""

    name = "length"

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:  # noqa: ARG002
        """The value of each text by its length alone."""
        return [self._one(length(text)) for text in texts]

    def _one(self, count: int) -> float:
        if count < self.low:
            return max(0.0, 2 * count / self.low - 1)
        return min(1.0, max(0.0, 3 - 2 * count / self.high))


class RepetitionReward(Reward):
    """1 as long as the longest repeated phrase covers at most `free` of the text, then down to 0 at all."""

    name = "repetition"

    def __init__(self, free: float = 0.2) -> None:
        super().__init__()
        self.free = free

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:  # noqa: ARG002
        """The value of each text; an empty one does not repeat itself, but earns nothing either."""
        return [
            1 - max(0.0, repetition(text) - self.free) / (1 - self.free) if squeeze(text) else 0.0
            for text in texts
        ]


class DiversityReward(Reward):
    """How rare a greeting's phrases are among the greetings for other requests, of the batch and before it.

    What every request is answered with earns little: a judge that reads one greeting at a time cannot see it.
    """

    name = "diversity"

    def __init__(self) -> None:
        super().__init__()
        self._rarity = Rarity()

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """0 to 1; 0 for a text too short to hold a 4-gram, None where only one request is known so far."""
        return list(self._rarity.values(requests, texts))

    def state(self) -> Any:
        """The greetings remembered."""
        return self._rarity.state()

    def restore(self, state: Any) -> None:
        """Remember these."""
        self._rarity.restore(state)


class FormatReward(Reward):
    """1 for one greeting and nothing else, 0 for lists, talk about the task, or an echo of the request."""

    name = "format"

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """1 or 0 for each text."""
        return [float(self._clean(request, text)) for request, text in zip(requests, texts, strict=True)]

    def _clean(self, request: str, text: str) -> bool:
        asked, said = squeeze(request), squeeze(text)
        echo = len(asked) >= ECHO and asked in said
        found = echo or any(rule.search(text.strip()) for rule in (_LISTED, _PARAGRAPHS, _TALK))
        return bool(said) and not found


class RequestFitReward(Reward):
    """How far a greeting points back to its own request among others, learnt from accepted greetings."""

    name = "fit"

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        """`rows` are requests, each with an accepted greeting."""
        super().__init__()
        self.rows = tuple(rows)
        self._fitted: Any = None

    def prepare(self) -> None:
        """Learn. Raises UserError where there are too few accepted greetings."""
        try:
            self._fit()
        except ValueError as error:
            raise UserError(
                f"Fit to the request cannot be learnt ({error}); accept more or set fit_weight to 0.",
                f"无法学习切题度（{error}），请增加合格的祝福语，或将 fit_weight 设为 0。",
            ) from error

    def _fit(self) -> Any:
        if self._fitted is None:
            from backend.training.request_fit import fit_request_fit

            self._fitted = fit_request_fit(self.rows)
        return self._fitted

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """1 for its own request alone, near 0.2 by chance, 0 where empty; None where nothing is known."""
        return list(self._fit().values(requests, texts))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_fitted": None}
