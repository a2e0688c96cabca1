"""Every judge of the house on one greeting that was written here: shown, never stored."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backend.errors import Conflict, UserError
from backend.judges.base import Judgment, Sample
from backend.judges.spec import TRAINED_HERE, JudgeKind, JudgeSpec
from backend.playground.records import CardVerdict
from backend.scoring import TRIVIAL, ScoringService
from backend.vocabulary import Scale

MAX_CONCURRENT = 2
TURN_TIMEOUT_S = 60.0


class CardJudges:
    """The baselines and the newest version of every other judge of single greetings."""

    def __init__(self, scoring: ScoringService) -> None:
        self._scoring = scoring
        self._turn_semaphore = threading.BoundedSemaphore(MAX_CONCURRENT)

    def judge_names(self) -> list[str]:
        """Who can be asked; the baselines first."""
        known_judges = self._scoring.catalog.judges()
        other_names = [
            judge_info.name
            for judge_info in known_judges
            if judge_info.newest
            and judge_info.spec is not None
            and judge_info.kind not in (JudgeKind.PAIRWISE, *TRAINED_HERE)
        ]
        return [*TRIVIAL, *sorted(set(other_names))]

    def judge_greeting(self, judge_name: str, prompt_text: str, greeting_text: str) -> CardVerdict:
        """What one judge says. Raises NotFound for a name, UserError for a judge that cannot work."""
        if judge_name not in self.judge_names():
            self._scoring.catalog.resolve(judge_name)  # says which are known
            raise UserError(
                f"“{judge_name}” compares two greetings and cannot judge one.",
                f"“{judge_name}”是两两比较的裁判，不能评一条。",
            )
        judge_spec = (
            JudgeSpec(JudgeKind(judge_name), judge_name)
            if judge_name in TRIVIAL
            else self._scoring.catalog.resolve(judge_name)
        )
        with self._wait_for_turn():
            judgment = self._scoring.judge_sample(judge_spec, Sample(prompt_text, greeting_text))
        assert isinstance(judgment, Judgment)
        return CardVerdict(
            judge_name,
            judge_spec.kind.value,
            self._judge_scale(judge_name).value,
            judgment.value,
            judgment.reason,
        )

    def _judge_scale(self, judge_name: str) -> Scale:
        judge_info = next(
            (judge_info for judge_info in self._scoring.catalog.judges() if judge_info.name == judge_name),
            None,
        )
        return judge_info.scale if judge_info is not None and judge_info.scale is not None else Scale.SCORE

    @contextmanager
    def _wait_for_turn(self) -> Iterator[None]:
        if not self._turn_semaphore.acquire(timeout=TURN_TIMEOUT_S):
            raise Conflict("The judges are busy; try again in a minute.", "裁判正忙，请过一分钟再试。")
        try:
            yield
        finally:
            self._turn_semaphore.release()
