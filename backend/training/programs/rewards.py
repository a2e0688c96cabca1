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

from backend.core.errors import Message, UserError
from backend.generation.thoughts import remove_thoughts

logger = logging.getLogger(__name__)

RewardValues = list[float | None]
UNFINISHED_THOUGHT = "思考在写到 max_new_tokens 时仍未结束，没有祝福语可评"


class Reward(ABC):
    """Base of all: `score` is what a reward is, the call is TRL's form around it."""

    name = "reward"

    def __init__(self) -> None:
        # TRL names the curves of a reward by it, as it does with functions.
        self.__name__ = self.name
        self.failures: Counter[str] = Counter()
        self.patience: int | None = None
        # Tokens of all greetings that this process was asked about.
        self.token_count = 0
        self._unscored_rollouts = 0

    @abstractmethod
    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """One value per text; None where it is unscored."""

    def prepare(self) -> None:  # noqa: B027 - most rewards have nothing to load
        """Load what needs no device. Raises UserError where the run could not work: before a policy is loaded."""

    def place(self, device: str) -> None:  # noqa: B027 - and most compute nothing on a device
        """Load what computes on a device (“cuda:1”) onto it: known once the trainer is there. Raises UserError."""

    def close(self) -> None:  # noqa: B027 - nor to give back
        """Give back what is open."""

    def state(self) -> Any:
        """What a resumed run must know, ready for JSON; None where a score hangs on its texts alone."""
        return None

    def restore(self, saved_state: Any) -> None:  # noqa: B027 - nor to remember
        """Go on from an earlier reward's state, as it was read back from JSON."""

    def reasons(self) -> Counter[str]:
        """Why texts were left unscored so far, and how often."""
        return self.failures

    @property
    def notice(self) -> Message | None:
        """What to report of a reward although nothing failed: that it gives one value to everything."""
        return None

    def score_guarded(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """`score`, with every failure turned into None. Raises UserError only."""
        try:
            reward_values = self.score(requests, greetings)
            if len(reward_values) != len(greetings):
                raise ValueError(f"{len(reward_values)} values for {len(greetings)} texts")
        # What a person can mend ends the run; going on would train on nothing.
        except UserError:
            raise
        except Exception as error:
            self._count_failure(f"{type(error).__name__}: {error}"[:200])
            return [None] * len(greetings)
        return [
            # One infinite value would turn the advantages of its whole group into NaN.
            None if reward_value is None or not math.isfinite(reward_value) else float(reward_value)
            for reward_value in reward_values
        ]

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> RewardValues:
        """TRL's call. The column `request` holds the bare requests; without it the prompts are read.

        The column `opening` holds what the chat template has written of each answer already. Thoughts are taken out
        before anything is scored; where one was not ended, nothing is. Raises UserError where `patience` calls in a
        row scored nothing.
        """
        requests = columns.get("request") or [message_text(prompt_turns) for prompt_turns in prompts]
        openings = columns.get("opening") or [""] * len(completions)
        self.token_count += sum(map(len, columns.get("completion_ids") or ()))
        reasons_before = Counter(self.reasons())
        greetings = [
            remove_thoughts(opening + message_text(completion))
            for opening, completion in zip(openings, completions, strict=True)
        ]
        reward_values = self._score_answers(requests, greetings)
        self._unscored_rollouts = (
            self._unscored_rollouts + 1 if all(reward_value is None for reward_value in reward_values) else 0
        )
        # Nothing is learnt from such rollouts, while each still costs its time and its calls.
        if self._unscored_rollouts == self.patience:
            raise _nothing_scored_error(self.name, self._unscored_rollouts, self.reasons() - reasons_before)
        if log_metric := columns.get("log_metric"):
            for figure_name, figure in self.figures(reward_values).items():
                log_metric(figure_name, figure)
        return reward_values

    def _score_answers(self, requests: Sequence[str], greetings: Sequence[str | None]) -> RewardValues:
        unfinished_count = greetings.count(None)
        if unfinished_count:
            self.failures[UNFINISHED_THOUGHT] += unfinished_count
        # In their places, as empty ones: a reward may look at the greetings of one request together.
        reward_values = self.score_guarded(requests, [greeting or "" for greeting in greetings])
        return [
            None if greeting is None else reward_value
            for greeting, reward_value in zip(greetings, reward_values, strict=True)
        ]

    def figures(self, reward_values: Sequence[float | None]) -> dict[str, float]:
        """Figures worth a curve besides those that TRL logs itself."""
        return {"unscored": sum(reward_value is None for reward_value in reward_values) / max(1, len(reward_values))}

    def _count_failure(self, failure_reason: str) -> None:
        self.failures[failure_reason] += 1
        if self.failures[failure_reason] == 1:
            logger.warning("reward %s failed, its batch is unscored: %s", self.name, failure_reason, exc_info=True)


class MixedReward(Reward):
    """Weighted sum of rewards. None in one of them is None overall, so that no row is scored by half."""

    name = "mixed"

    def __init__(self, weighted_parts: Sequence[tuple[float, Reward]]) -> None:
        super().__init__()
        self.weighted_parts = tuple((weight, reward_part) for weight, reward_part in weighted_parts if weight)
        self._part_means: dict[str, float] = {}

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """The sum for each text."""
        part_columns = [reward_part.score_guarded(requests, greetings) for _, reward_part in self.weighted_parts]
        self._part_means = {
            f"part/{reward_part.name}": part_mean
            for (_, reward_part), part_values in zip(self.weighted_parts, part_columns, strict=True)
            if not math.isnan(part_mean := mean_scored(part_values))
        }
        weights = [weight for weight, _ in self.weighted_parts]
        return [_weighted_sum(weights, greeting_values) for greeting_values in zip(*part_columns, strict=True)]

    def prepare(self) -> None:
        """Prepare every part."""
        for _, reward_part in self.weighted_parts:
            reward_part.prepare()

    def place(self, device: str) -> None:
        """Place every part."""
        for _, reward_part in self.weighted_parts:
            reward_part.place(device)

    def close(self) -> None:
        """Close every part."""
        for _, reward_part in self.weighted_parts:
            reward_part.close()

    def state(self) -> Any:
        """Of the parts that have one, by name."""
        return {
            reward_part.name: part_state
            for _, reward_part in self.weighted_parts
            if (part_state := reward_part.state()) is not None
        } or None

    def restore(self, saved_state: Any) -> None:
        """Each part its own."""
        for _, reward_part in self.weighted_parts:
            if reward_part.name in saved_state:
                reward_part.restore(saved_state[reward_part.name])

    def reasons(self) -> Counter[str]:
        """Those of every part."""
        return sum((reward_part.reasons() for _, reward_part in self.weighted_parts), Counter(self.failures))

    @property
    def notice(self) -> Message | None:
        """That of the first part that has one."""
        return next(
            (reward_part.notice for _, reward_part in self.weighted_parts if reward_part.notice is not None),
            None,
        )

    def figures(self, reward_values: Sequence[float | None]) -> dict[str, float]:
        """The mean of every part as well, and what the parts have to show besides."""
        part_figures = {
            figure_name: figure
            for _, reward_part in self.weighted_parts
            for figure_name, figure in reward_part.figures(()).items()
        }
        return part_figures | super().figures(reward_values) | self._part_means


def _nothing_scored_error(reward_name: str, rollout_count: int, reasons: Counter[str]) -> UserError:
    commonest_reason = reasons.most_common(1)[0][0].rstrip("。.;") if reasons else "?"
    return UserError(
        f"The reward {reward_name} has scored nothing for {rollout_count} rollouts in a row ({commonest_reason}); "
        "mend it and resume.",
        f"奖励 {reward_name} 连续 {rollout_count} 轮没有给出任何评分（{commonest_reason}），请修复后继续训练。",
    )


def message_text(message: Any) -> str:
    """The text of a prompt or completion: plain, or the last turn of a conversation."""
    # A server's own parser leaves the content out where a model has only thought.
    return message if isinstance(message, str) else str(message[-1].get("content") or "")


def mean_scored(reward_values: Sequence[float | None]) -> float:
    """Mean of what is scored, nan where nothing is."""
    scored_values = [reward_value for reward_value in reward_values if reward_value is not None]
    return math.fsum(scored_values) / len(scored_values) if scored_values else math.nan


def _weighted_sum(weights: Sequence[float], part_values: Sequence[float | None]) -> float | None:
    scored_values = [reward_value for reward_value in part_values if reward_value is not None]
    return (
        sum(weight * reward_value for weight, reward_value in zip(weights, scored_values, strict=True))
        if len(scored_values) == len(part_values)
        else None
    )
