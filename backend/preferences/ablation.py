"""The panel with an agent left out, one at a time, against what people say of the same greetings."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from backend.agreement.board import BoardService
from backend.agreement.statistics.judge_rows import JudgeRow
from backend.core.errors import UserError
from backend.jobs.records import JobInfo
from backend.judges.base import JudgeKind, JudgeSpec
from backend.judges.panel import PANEL_ROLES
from backend.judges.scoring.records import RunEstimate, ScoreProgress, ScoreRequest
from backend.judges.scoring.service import ScoringService
from backend.judges.scoring.targets import ScoringTarget

# The names of variants are names of judges, under which their verdicts are stored and found again by `table`:
# another wording would ask every variant anew.
WITHOUT_INFIX = " without "


def without_agents(judge_spec: JudgeSpec, left_out_roles: Iterable[str]) -> JudgeSpec:
    """The panel with these agents switched off, under a name that says so. Raises UserError for no panel."""
    # In the panel's own order, so that the same agents give the same name however they were listed.
    switched_off = [agent_role for agent_role in PANEL_ROLES if agent_role in set(left_out_roles)]
    if not switched_off:
        return judge_spec
    if judge_spec.kind is not JudgeKind.PANEL:
        raise UserError(
            f"Only a panel has agents to leave out; “{judge_spec.name}” is none.",
            f"只有评审团才能去掉某个角色，“{judge_spec.name}”不是评审团。",
        )
    variant_config = {**judge_spec.config, **dict.fromkeys(switched_off, False)}
    return replace(judge_spec, name=f"{judge_spec.name}{WITHOUT_INFIX}{'+'.join(switched_off)}", config=variant_config)


def panel_variants(judge_spec: JudgeSpec) -> list[JudgeSpec]:
    """The whole panel, then each agent left out."""
    # The given object itself comes first: `table` knows the
    # whole panel by identity, since its name may hold anything.
    return [judge_spec, *(without_agents(judge_spec, [agent_role]) for agent_role in PANEL_ROLES)]


@dataclass(frozen=True)
class AblationRow:
    """One variant beside the human labels; `off` is the agent left out, empty for the whole panel."""

    off: str
    figures: JudgeRow


class Ablation:
    """Scores the variants of a panel over a labelled data set or campaign and compares them with people."""

    def __init__(self, scoring: ScoringService, board: BoardService) -> None:
        self._scoring, self._board = scoring, board

    def estimate(self, judge_spec: JudgeSpec, score_target: ScoringTarget) -> list[RunEstimate]:
        """What scoring each variant will take, the whole panel first. Raises UserError."""
        return [self._scoring.estimate(ScoreRequest(variant, score_target)) for variant in panel_variants(judge_spec)]

    def submit(
        self, judge_spec: JudgeSpec, score_target: ScoringTarget, max_cost: float | None = None
    ) -> list[JobInfo]:
        """Queue one scoring job for each variant, each capped at `max_cost` of its own.

        The cap is in the currency of the endpoint's prices. What is scored already is not asked again.
        Raises UserError.
        """
        return [
            self._scoring.submit(ScoreRequest(variant, score_target, max_cost=max_cost))
            for variant in panel_variants(judge_spec)
        ]

    def run(
        self, judge_spec: JudgeSpec, score_target: ScoringTarget, max_cost: float | None = None
    ) -> list[ScoreProgress]:
        """Score every variant in this process, one after the other. Raises UserError."""
        return [
            self._scoring.run(ScoreRequest(variant, score_target, max_cost=max_cost))
            for variant in panel_variants(judge_spec)
        ]

    def table(self, judge_spec: JudgeSpec, reference_name: str) -> list[AblationRow]:
        """The variants with verdicts on a human reference, beside it. Raises UserError without labels."""
        left_out_by_name = {
            # By the last infix: a panel may itself be called “… without …”.
            variant.name: "" if variant is judge_spec else variant.name.rpartition(WITHOUT_INFIX)[2]
            for variant in panel_variants(judge_spec)
        }
        scored_names = [variant_name for variant_name in left_out_by_name if variant_name in self._board.judge_names()]
        rows_by_judge = {
            judge_row.judge: judge_row
            for judge_row in self._board.board(reference_name, scored_names).rows
            # A newer version that has judged less stands in a
            # row of its own; the row kept here judged the most.
            if not judge_row.newer
        }
        return [
            AblationRow(left_out_by_name[variant_name], rows_by_judge[variant_name])
            for variant_name in scored_names
            if variant_name in rows_by_judge
        ]
