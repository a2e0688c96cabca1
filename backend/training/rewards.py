"""Rewards for GRPO, in TRL's form: picklable callables with a name, rows in, values out, unscored is None.

What fails costs its own batch only: the exception becomes None for every row, counted and logged. A UserError
(an endpoint that refuses the key, a budget used up) ends the run with its sentence, and so does a reward that
has scored nothing for `patience` rollouts in a row.
"""

import asyncio
import logging
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from backend.diversity import repetition
from backend.errors import UserError
from backend.judges.base import Draft, Judge, Sample
from backend.judges.registry import House, build
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.text import length, squeeze
from backend.training.rarity import Rarity
from backend.vocabulary import RUBRIC_EXCELLENT, Scale

log = logging.getLogger(__name__)

Values = list[float | None]
THRESHOLD = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT, Scale.SCORE: 0.0}
"""From which value on a greeting counts as good."""
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


class JudgeReward(Reward):
    """A judge of the house: `principle`, `rubric`, `panel` or `ngram`. All calls of a batch run at once."""

    def __init__(self, spec: JudgeSpec, house: Callable[[], House], *, binary: bool = False) -> None:
        """`house` opens what the judge is built from, in whichever process that happens."""
        self.name = spec.name
        super().__init__()
        self.spec, self.house, self.binary = spec, house, binary
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
        if not self.binary:
            return values
        threshold = THRESHOLD[self.judge.scale]
        return [None if value is None else float(value >= threshold) for value in values]

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

    `debias` takes out of the score what length alone explains, where the model came with the figures for it.
    """

    name = "reward_model"

    def __init__(
        self,
        path: Path,
        debias: bool = True,
        *,
        max_length: int = 1024,
        batch: int = 64,
        binary: bool = False,
    ) -> None:
        super().__init__()
        self.path, self.debias, self.binary = path, debias, binary
        self.max_length, self.batch = max_length, batch
        self._model: Any = None
        self._debias: Any = None

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
            from backend.training.debias import Debias
            from backend.training.reward_server import RewardModel

            self._model = RewardModel(self.path, self.max_length, self.batch)
            self._debias = Debias.load(self.path) if self.debias else None
        return self._model

    def score(self, requests: Sequence[str], texts: Sequence[str]) -> Values:
        """The model's scores; None where a text is empty or longer than the model reads."""
        model = self._load()
        given = [i for i, text in enumerate(texts) if squeeze(text)]
        values: Values = [None] * len(texts)
        for i, value in zip(given, model.score([[requests[i], texts[i]] for i in given]), strict=True):
            values[i] = None if value is None else self._value(texts[i], value)
        return values

    def _value(self, text: str, score: float) -> float:
        score = self._debias.apply(text, score) if self._debias else score
        return float(score > 0) if self.binary else score

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None, "_debias": None}


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
