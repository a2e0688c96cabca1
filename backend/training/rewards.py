"""Rewards for GRPO, in TRL's form: picklable callables with a name, rows in, values out, unscored is None.

What fails costs its own batch only: the exception becomes None for every row, counted and logged. A UserError
(an endpoint that refuses the key, a budget used up) ends the run with its sentence, and so does a reward that
has scored nothing for `patience` rollouts in a row.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

from backend.errors import Message, UserError

log = logging.getLogger(__name__)

Values = list[float | None]


class Reward(ABC):
    """Base of all: `score` is what a reward is, the call is TRL's form around it."""

    name = "reward"

    def __init__(self) -> None:
        self.__name__ = self.name
        self.failures: Counter[str] = Counter()
        self.patience: int | None = None
        self._mute = 0

    @abstractmethod
    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """One value per text; None where it is unscored."""

    def prepare(self) -> None:  # noqa: B027 - most rewards have nothing to load
        """Load what the first call would load. Raises UserError where the run could not work."""

    def close(self) -> None:  # noqa: B027 - nor to give back
        """Give back what is open."""

    def state(self) -> Any:
        """What a resumed run must know, ready for JSON; None where a score hangs on its texts alone."""
        return None

    def restore(self, state: Any) -> None:  # noqa: B027 - nor to remember
        """Go on from what `state` gave."""

    def reasons(self) -> Counter[str]:
        """Why texts were left unscored so far, and how often."""
        return self.failures

    @property
    def notice(self) -> Message | None:
        """What the log should say of a reward although nothing failed: it gives one value to everything."""
        return None

    def guarded(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """`score`, with every failure turned into None. Raises UserError only."""
        try:
            values = self.score(requests, texts)
            if len(values) != len(texts):
                raise ValueError(f"{len(values)} values for {len(texts)} texts")
        except UserError:
            raise
        except Exception as error:
            self._count(f"{type(error).__name__}: {error}"[:200])
            return [None] * len(texts)
        return [None if value is None or not math.isfinite(value) else float(value) for value in values]

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Values:
        """TRL's call. The column `request` holds the bare requests; without it the prompts are read.

        Raises UserError where `patience` calls in a row scored nothing.
        """
        requests = columns.get("request") or [spoken(prompt) for prompt in prompts]
        before = Counter(self.reasons())
        values = self.guarded(requests, [spoken(completion) for completion in completions])
        self._mute = self._mute + 1 if all(value is None for value in values) else 0
        if self._mute == self.patience:
            raise _nothing_scored(self.name, self._mute, self.reasons() - before)
        if say := columns.get("log_metric"):
            for name, figure in self.figures(values).items():
                say(name, figure)
        return values

    def figures(self, values: Values) -> dict[str, float]:
        """What is worth a curve beside TRL's own."""
        return {"unscored": sum(value is None for value in values) / max(1, len(values))}

    def _count(self, reason: str) -> None:
        self.failures[reason] += 1
        if self.failures[reason] == 1:
            log.warning("reward %s failed, its batch is unscored: %s", self.name, reason, exc_info=True)


class MixedReward(Reward):
    """Weighted sum of rewards. None in one of them is None overall, so that no row is scored by half."""

    name = "mixed"

    def __init__(self, parts: Sequence[tuple[float, Reward]]) -> None:
        super().__init__()
        self.parts = tuple((weight, part) for weight, part in parts if weight)
        self._last: dict[str, float] = {}

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """The sum for each text."""
        columns = [part.guarded(requests, texts) for _, part in self.parts]
        self._last = {
            f"part/{part.name}": mean
            for (_, part), column in zip(self.parts, columns, strict=True)
            if not math.isnan(mean := mean_of(column))
        }
        weights = [weight for weight, _ in self.parts]
        return [_sum(weights, row) for row in zip(*columns, strict=True)]

    def prepare(self) -> None:
        """Prepare every part."""
        for _, part in self.parts:
            part.prepare()

    def close(self) -> None:
        """Close every part."""
        for _, part in self.parts:
            part.close()

    def state(self) -> Any:
        """Of the parts that have one, by name."""
        return {part.name: state for _, part in self.parts if (state := part.state()) is not None} or None

    def restore(self, state: Any) -> None:
        """Each part its own."""
        for _, part in self.parts:
            if part.name in state:
                part.restore(state[part.name])

    def reasons(self) -> Counter[str]:
        """Those of every part."""
        return sum((part.reasons() for _, part in self.parts), Counter(self.failures))

    @property
    def notice(self) -> Message | None:
        """That of the first part that has one."""
        return next((part.notice for _, part in self.parts if part.notice is not None), None)

    def figures(self, values: Values) -> dict[str, float]:
        """The mean of every part as well."""
        return super().figures(values) | self._last


def _nothing_scored(name: str, rollouts: int, reasons: Counter[str]) -> UserError:
    why = reasons.most_common(1)[0][0].rstrip("。.;") if reasons else "?"
    return UserError(
        f"The reward {name} has scored nothing for {rollouts} rollouts in a row ({why}); mend it and resume.",
        f"奖励 {name} 连续 {rollouts} 轮没有给出任何评分（{why}），请修复后继续训练。",
    )


def spoken(message: Any) -> str:
    """The text of a prompt or completion: plain, or the last turn of a conversation."""
    return message if isinstance(message, str) else str(message[-1]["content"])


def mean_of(values: Sequence[float | None]) -> float:
    """Mean of what is scored, nan where nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else math.nan


def _sum(weights: Sequence[float], row: Sequence[float | None]) -> float | None:
    known = [value for value in row if value is not None]
    return sum(w * value for w, value in zip(weights, known, strict=True)) if len(known) == len(row) else None
