"""Rewards that judge: LLM judges and a trained reward model. Torch is loaded with the model and not before."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from backend.core.enums import REWARD_THRESHOLDS
from backend.core.errors import Message, UserError
from backend.core.text import strip_white_space
from backend.judges.base import Judge, JudgeKind, JudgeSpec, Judgment, Sample
from backend.judges.constancy import ValueCounts
from backend.judges.context import JudgeContext
from backend.judges.registry import build_judge
from backend.training.programs.rewards import Reward, RewardValues


class JudgeReward(Reward):
    """A judge of the catalogue: `principle`, `rubric`, `panel` or `ngram`. All calls of a batch run at once."""

    def __init__(
        self, judge_spec: JudgeSpec, open_context: Callable[[], JudgeContext], *, binary: bool = False
    ) -> None:
        """`open_context`, which must be picklable, opens what the judge is built from, in whichever process that is."""
        self.name = judge_spec.name
        super().__init__()
        self.spec, self.open_context, self.binary = judge_spec, open_context, binary
        self._value_counts = ValueCounts()
        self._judge: Judge | None = None
        self._opened: JudgeContext | None = None
        self._runner: asyncio.Runner | None = None

    @property
    def judge(self) -> Judge:
        """The judge, built at first use. Raises UserError where it cannot be."""
        if self._judge is None:
            if self.spec.kind is JudgeKind.PAIRWISE:
                raise UserError(
                    f"The judge “{self.spec.name}” compares pairs; choose one that scores single greetings.",
                    f"裁判“{self.spec.name}”只会比较两条祝福，请选择给单条评分的裁判。",
                )
            self._opened = self.open_context()
            self._judge = cast(Judge, build_judge(self.spec, self._opened))
        return self._judge

    def prepare(self) -> None:
        """Build the judge."""
        _ = self.judge

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """The judge's values, or 1 and 0 by its scale's threshold."""
        samples = [
            Sample(prompt_text, greeting_text) for prompt_text, greeting_text in zip(requests, greetings, strict=True)
        ]
        # One loop for the whole run: the client's connections belong to it.
        self._runner = self._runner or asyncio.Runner()
        judgments = self._runner.run(self.judge_samples(samples))
        self._count_failures(judgments)
        reward_values = [judgment.value for judgment in judgments]
        self._value_counts.add_values(reward_values)
        if not self.binary:
            return reward_values
        # Scales differ: a rubric's middle is no probability.
        threshold = REWARD_THRESHOLDS[self.judge.scale]
        return [None if reward_value is None else float(reward_value >= threshold) for reward_value in reward_values]

    async def judge_samples(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One judgment per sample, in order."""
        return await self.judge.score(samples)

    @property
    def notice(self) -> Message | None:
        """The notice about a judge that gave one value to all it scored so far."""
        return self._value_counts.notice

    def state(self) -> Any:
        """Which values the judge gave, until two of them differ."""
        return {"values": self._value_counts.as_json_pairs()}

    def restore(self, saved_state: Any) -> None:
        """Go on counting."""
        self._value_counts = ValueCounts(dict(saved_state["values"]))

    def close(self) -> None:
        """Close the clients of the judge, in the loop that they belong to."""
        with self._runner or asyncio.Runner() as loop_runner:
            if self._opened is not None:
                loop_runner.run(self._opened.close())
        self._judge = self._opened = self._runner = None

    def _count_failures(self, judgments: Sequence[Judgment]) -> None:
        for judgment in judgments:
            if judgment.value is None:
                self.failures[judgment.reason] += 1

    def __getstate__(self) -> dict[str, Any]:
        # Open clients and loops belong to one process; another one opens its own.
        return self.__dict__ | {"_judge": None, "_opened": None, "_runner": None}


class RewardModelReward(Reward):
    """A trained reward model in this process. With `binary`, 1 where its score is above 0, else 0.

    A model that came with a length term takes it out of its scores itself (`reward_server.RewardModel`).
    """

    name = "reward_model"

    def __init__(
        self,
        model_path: Path,
        *,
        max_length: int = 1024,
        batch_size: int = 64,
        binary: bool = False,
    ) -> None:
        super().__init__()
        self.model_path, self.binary = model_path, binary
        self.max_length, self.batch_size = max_length, batch_size
        self._model: Any = None

    def prepare(self) -> None:
        """Look at the model's files. Raises UserError where they hold none that can be used."""
        from backend.training.programs.reward_server import check_artifact

        with self._explained():
            check_artifact(self.model_path)

    def place(self, device: str) -> None:
        """Load the model onto `device`. Raises UserError where that fails."""
        with self._explained():
            self._model = self._load_model(device)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            error_text = str(error).strip().splitlines()[0]
            raise UserError(
                f"The reward model at {self.model_path} cannot be loaded ({error_text}); choose another one.",
                f"无法加载奖励模型 {self.model_path}（{error_text}），请另选一个。",
            ) from error

    def _load_model(self, device: str | None = None) -> Any:
        from backend.training.programs.reward_server import RewardModel

        return RewardModel(self.model_path, self.max_length, self.batch_size, device)

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """The model's scores; None where a text is empty or longer than the model reads."""
        if self._model is None:
            self._model = self._load_model()
        # An empty text is unscored, though the model would give it some number.
        filled_indexes = [
            text_index for text_index, greeting_text in enumerate(greetings) if strip_white_space(greeting_text)
        ]
        reward_values: RewardValues = [None] * len(greetings)
        for text_index, reward_value in zip(
            filled_indexes,
            self._model.score([[requests[text_index], greetings[text_index]] for text_index in filled_indexes]),
            strict=True,
        ):
            reward_values[text_index] = (
                float(reward_value > 0) if self.binary and reward_value is not None else reward_value
            )
        return reward_values

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}
