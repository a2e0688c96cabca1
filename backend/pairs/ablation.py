"""The panel with an agent left out, one at a time, against what people say of the same greetings."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from backend.agreement.board import JudgeRow
from backend.board import BoardService
from backend.errors import UserError
from backend.jobs.records import JobInfo
from backend.judges.panel import ROLES
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.scoring.records import RunEstimate, ScoreProgress, ScoreRequest
from backend.scoring.service import ScoringService
from backend.scoring.targets import Target

WITHOUT = " without "


def without(spec: JudgeSpec, roles: Iterable[str]) -> JudgeSpec:
    """The panel with these agents switched off, under a name that says so. Raises UserError for no panel."""
    off = [role for role in ROLES if role in set(roles)]
    if not off:
        return spec
    if spec.kind is not JudgeKind.PANEL:
        raise UserError(
            f"Only a panel has agents to leave out; “{spec.name}” is none.",
            f"只有评审团才能去掉某个角色，“{spec.name}”不是评审团。",
        )
    switched = {**spec.config, **dict.fromkeys(off, False)}
    return replace(spec, name=f"{spec.name}{WITHOUT}{'+'.join(off)}", config=switched)


def variants(spec: JudgeSpec) -> list[JudgeSpec]:
    """The whole panel, then each agent left out."""
    return [spec, *(without(spec, [role]) for role in ROLES)]


@dataclass(frozen=True)
class AblationRow:
    """One variant beside the human labels; `off` is the agent left out, empty for the whole panel."""

    off: str
    figures: JudgeRow


class Ablation:
    """Scores the variants of a panel over a labelled data set or campaign and compares them with people."""

    def __init__(self, scoring: ScoringService, board: BoardService) -> None:
        self._scoring, self._board = scoring, board

    def estimate(self, spec: JudgeSpec, target: Target) -> list[RunEstimate]:
        """What each variant will take. Raises UserError."""
        return [self._scoring.estimate(ScoreRequest(one, target)) for one in variants(spec)]

    def submit(self, spec: JudgeSpec, target: Target, max_cost: float | None = None) -> list[JobInfo]:
        """Queue one scoring job for each variant; what is scored already is not asked again."""
        return [self._scoring.submit(ScoreRequest(one, target, max_cost=max_cost)) for one in variants(spec)]

    def run(self, spec: JudgeSpec, target: Target, max_cost: float | None = None) -> list[ScoreProgress]:
        """Score every variant in this process."""
        return [self._scoring.run(ScoreRequest(one, target, max_cost=max_cost)) for one in variants(spec)]

    def table(self, spec: JudgeSpec, reference: str) -> list[AblationRow]:
        """The variants with verdicts on a human reference, beside it. Raises UserError without labels."""
        names = {one.name: "" if one is spec else one.name.rpartition(WITHOUT)[2] for one in variants(spec)}
        known = [name for name in names if name in self._board.judge_names()]
        rows = {row.judge: row for row in self._board.board(reference, known).rows if not row.newer}
        return [AblationRow(names[name], rows[name]) for name in known if name in rows]
