"""Every judge of the house on one greeting that was written here: shown, never stored."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backend.errors import Conflict, UserError
from backend.judges.base import Draft, Sample
from backend.judges.spec import TRAINED_HERE, JudgeKind, JudgeSpec
from backend.playground.records import JudgeSays
from backend.scoring import TRIVIAL, ScoringService
from backend.vocabulary import Scale

AT_ONCE = 2
PATIENCE_S = 60.0


class CardJudges:
    """The baselines and the newest version of every other judge of single greetings."""

    def __init__(self, scoring: ScoringService) -> None:
        self._scoring = scoring
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def names(self) -> list[str]:
        """Who can be asked; the baselines first."""
        known = self._scoring.catalog.judges()
        others = [
            info.name
            for info in known
            if info.newest and info.spec is not None and info.kind not in (JudgeKind.PAIRWISE, *TRAINED_HERE)
        ]
        return [*TRIVIAL, *sorted(set(others))]

    def ask(self, name: str, prompt: str, greeting: str) -> JudgeSays:
        """What one judge says. Raises NotFound for a name, UserError for a judge that cannot work."""
        if name not in self.names():
            self._scoring.catalog.resolve(name)  # says which are known
            raise UserError(
                f"“{name}” compares two greetings and cannot judge one.",
                f"“{name}”是两两比较的裁判，不能评一条。",
            )
        spec = JudgeSpec(JudgeKind(name), name) if name in TRIVIAL else self._scoring.catalog.resolve(name)
        with self._turn():
            said = self._scoring.judge_one(spec, Sample(prompt, greeting))
        assert isinstance(said, Draft)
        return JudgeSays(name, spec.kind.value, self._scale(name).value, said.value, said.reason)

    def _scale(self, name: str) -> Scale:
        info = next((info for info in self._scoring.catalog.judges() if info.name == name), None)
        return info.scale if info is not None and info.scale is not None else Scale.SCORE

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=PATIENCE_S):
            raise Conflict("The judges are busy; try again in a minute.", "裁判正忙，请过一分钟再试。")
        try:
            yield
        finally:
            self._turns.release()
