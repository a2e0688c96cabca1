"""The locked set, opened once at the end: where the run began, what it found, and a plain rewriting."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from backend.agreement.statistics.figures import Figure
from backend.agreement.statistics.judge_rows import JudgeRow, judge_row
from backend.core.enums import DecisionReason, GamePhase, Proposer, Role, Scale
from backend.core.text import count_characters
from backend.principles.algorithm import draws, gate
from backend.principles.algorithm.decisions import Proposal, draft_proposal, read_proposal
from backend.principles.algorithm.game_run import GameRun, StepResult
from backend.principles.algorithm.gate import Ruling
from backend.principles.algorithm.labels import GameLabel
from backend.principles.algorithm.state import VersionOutcome
from backend.principles.algorithm.steps import LockedStep, ProposalStep

FIGURE_NAMES = ("accuracy", "kappa", "ac1", "auc", "matched_auc")
# As many labels as the minibatch of a round shows by default.
EXAMPLE_COUNT = 16
START_ROW, REWRITE_ROW, BEST_ROW, LENGTH_ROW = "start", "rewrite", "best", "length"


async def report_locked_set(game_run: GameRun) -> None:
    """The last two phases: the one-shot rewriting, and the readings of the locked set."""
    rewrite_proposal = await _rewrite_baseline(game_run) if game_run.settings.rewrite else None
    await game_run.run_step(0, GamePhase.LOCKED, LockedStep, lambda: _locked_step(game_run, rewrite_proposal))


async def _rewrite_baseline(game_run: GameRun) -> Proposal:
    """One rewriting of the first S_D from labelled examples, never gated: what the game must beat."""
    settings = game_run.settings

    async def ask_rewrite() -> StepResult[ProposalStep]:
        # From the played labels only: the baseline must know no more than the game does.
        examples = draws.draw_labels(game_run.partitions.play, settings.seed, 1, EXAMPLE_COUNT)
        proposed_rules = await game_run.agents.rewrite(
            game_run.first_version.rules, examples, game_run.variant(0, GamePhase.REWRITE)
        )
        return draft_proposal(game_run.first_version, proposed_rules, (), Proposer.REWRITE)

    rewrite_proposal = read_proposal(
        game_run, Role.DETECTOR, await game_run.run_step(0, GamePhase.REWRITE, ProposalStep, ask_rewrite)
    )
    assert rewrite_proposal is not None
    return rewrite_proposal


async def _locked_step(game_run: GameRun, rewrite_proposal: Proposal | None) -> StepResult[LockedStep]:
    locked_labels, search_state = game_run.partitions.locked, game_run.search_state
    values_by_row = {START_ROW: await game_run.detector_values(game_run.first_version.rules, locked_labels)}
    outcomes: tuple[VersionOutcome, ...] = ()
    if rewrite_proposal is not None:
        decision_reason = (
            DecisionReason.BASELINE
            # Texts that the game has tried as well are still what one rewriting gives.
            if rewrite_proposal.refused in (None, DecisionReason.SEEN)
            else rewrite_proposal.refused
        )
        outcomes = (game_run.version_outcome(rewrite_proposal.version.id, Ruling(False, decision_reason, {})),)
        if decision_reason is DecisionReason.BASELINE:
            values_by_row[REWRITE_ROW] = await game_run.detector_values(rewrite_proposal.version.rules, locked_labels)
    best_is_first = search_state.best.id == game_run.first_version.id
    # The same rules have the same verdicts, so a run that found nothing reads the set once.
    values_by_row[BEST_ROW] = (
        values_by_row[START_ROW]
        if best_is_first
        else await game_run.detector_values(search_state.best.rules, locked_labels)
    )
    report_rows = [
        locked_row(row_name, locked_labels, verdict_values) for row_name, verdict_values in values_by_row.items()
    ]
    report_rows.append(
        locked_row(
            # Counting characters is right on nine in ten labels of the research data: a judge below that row
            # adds nothing.
            LENGTH_ROW,
            locked_labels,
            [float(count_characters(label.greeting)) for label in locked_labels],
            Scale.SCORE,
        )
    )
    paired_test = gate.compare_values(locked_labels, values_by_row[START_ROW], values_by_row[BEST_ROW])
    locked_step = LockedStep(
        rows=report_rows, best=search_state.best.id, values=values_by_row, change=asdict(paired_test)
    )
    return locked_step, None, outcomes


# The judges' own figures, in place of some for the game alone, so that its report reads like the agreement
# page.
def locked_row(
    row_name: str,
    labels: Sequence[GameLabel],
    verdict_values: gate.VerdictValues,
    scale: Scale = Scale.BINARY,
) -> Any:
    figures_row = judge_row(
        row_name,
        "",
        np.array([float(label.good) for label in labels]),
        gate.as_floats(verdict_values),
        np.array([label.group for label in labels]),
        np.array([float(count_characters(label.greeting)) for label in labels]),
        scale,
        is_paired=False,
        # Fixed, since a replay compares the intervals of the report as well.
        random_seed=1,
    )
    return {
        "name": row_name,
        "n": figures_row.n,
        "unscored": figures_row.unscored,
        **_plain_figures(figures_row),
    }


def _plain_figures(figures_row: JudgeRow) -> dict[str, Any]:
    return {figure_name: _plain_figure(getattr(figures_row, figure_name)) for figure_name in FIGURE_NAMES}


def _plain_figure(figure: Figure) -> dict[str, Any]:
    explanation = [figure.why.en, figure.why.zh] if figure.why else None
    return {"value": figure.value, "low": figure.low, "high": figure.high, "why": explanation, "n": figure.n}
