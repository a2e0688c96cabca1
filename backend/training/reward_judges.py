"""Rewards that judge: the judges of the house, and a trained reward model."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from backend.errors import Message, UserError
from backend.judges.base import Draft, Judge, Sample
from backend.judges.constancy import ValueCounts
from backend.judges.registry import House, build
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.text import squeeze
from backend.training.rewards import Reward, Values
from backend.vocabulary import RUBRIC_EXCELLENT, Scale

THRESHOLD = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT, Scale.SCORE: 0.0}
"""From which value on a greeting counts as good."""


class JudgeReward(Reward):
    """A judge of the house: `principle`, `rubric`, `panel` or `ngram`. All calls of a batch run at once."""

    def __init__(self, spec: JudgeSpec, house: Callable[[], House], *, binary: bool = False) -> None:
        """`house` opens what the judge is built from, in whichever process that happens."""
        self.name = spec.name
        super().__init__()
        self.spec, self.house, self.binary = spec, house, binary
        self._counts = ValueCounts()
        self._judge: Judge | None = None
        self._opened: House | None = None
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
            self._opened = self.house()
            self._judge = cast(Judge, build(self.spec, self._opened))
        return self._judge

    def prepare(self) -> None:
        """Build the judge."""
        _ = self.judge

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """The judge's values, or 1 and 0 by its scale's threshold."""
        batch = [Sample(request, text) for request, text in zip(requests, texts, strict=True)]
        # One loop for the whole run: the client's connections belong to it.
        self._runner = self._runner or asyncio.Runner()
        drafts = self._runner.run(self.judge.score(batch))
        self._note(drafts)
        values = [draft.value for draft in drafts]
        self._counts.add(values)
        if not self.binary:
            return values
        threshold = THRESHOLD[self.judge.scale]
        return [None if value is None else float(value >= threshold) for value in values]

    @property
    def notice(self) -> Message | None:
        """Said of a judge that gave one value to all it scored so far."""
        return self._counts.notice

    def state(self) -> Any:
        """Which values the judge gave, until two of them differ."""
        return {"values": self._counts.plain()}

    def restore(self, state: Any) -> None:
        """Go on counting."""
        self._counts = ValueCounts(dict(state["values"]))

    def close(self) -> None:
        """Close the house's clients, in the loop that they belong to."""
        with self._runner or asyncio.Runner() as runner:
            if closing := getattr(self._opened, "close", None):
                runner.run(closing())
        self._judge = self._opened = self._runner = None

    def _note(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            if draft.value is None:
                self.failures[draft.reason] += 1

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_judge": None, "_opened": None, "_runner": None}


class RewardModelReward(Reward):
    """A trained reward model in this process. With `binary`, 1 where its score is above 0.

    A model that came with a length term takes it out of its scores itself (`reward_server.RewardModel`).
    """

    name = "reward_model"

    def __init__(
        self,
        path: Path,
        *,
        max_length: int = 1024,
        batch: int = 64,
        binary: bool = False,
    ) -> None:
        super().__init__()
        self.path, self.binary = path, binary
        self.max_length, self.batch = max_length, batch
        self._model: Any = None

    def prepare(self) -> None:
        """Load the model. Raises UserError where there is none that can be used."""
        try:
            self._load()
        except (OSError, ValueError, RuntimeError) as error:
            said = str(error).strip().splitlines()[0]
            raise UserError(
                f"The reward model at {self.path} cannot be loaded ({said}); choose another one.",
                f"无法加载奖励模型 {self.path}（{said}），请另选一个。",
            ) from error

    def _load(self) -> Any:
        if self._model is None:
            from backend.training.reward_server import RewardModel

            self._model = RewardModel(self.path, self.max_length, self.batch)
        return self._model

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """The model's scores; None where a text is empty or longer than the model reads."""
        model = self._load()
        given = [i for i, text in enumerate(texts) if squeeze(text)]
        values: Values = [None] * len(texts)
        for i, value in zip(given, model.score([[requests[i], texts[i]] for i in given]), strict=True):
            values[i] = float(value > 0) if self.binary and value is not None else value
        return values

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}
