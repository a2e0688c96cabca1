"""From advice to a proposal in the archive."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.principles.adversary import StepResult
from backend.principles.agents import ProposedRules
from backend.principles.book import NewVersion, RulesVersion, StepData
from backend.principles.cases import Advice
from backend.principles.rules import RuleSet, draft_rules
from backend.principles.table import GameRun
from backend.principles.vocabulary import DecisionReason, GamePhase, Proposer, Role


@dataclass(frozen=True)
class Proposal:
    """A new version and, where it cannot even be tried, why."""

    version: RulesVersion
    refused: DecisionReason | None


async def propose_rules(
    game_run: GameRun,
    round_number: int,
    game_phase: GamePhase,
    agent_role: Role,
    advice_pieces: Sequence[Advice],
) -> Proposal | None:
    """The optimiser's new set of rules for a role; None where nobody gave any advice."""
    parent_version = game_run.search_state.version_in_force(agent_role)

    async def ask_optimiser() -> StepResult:
        if not advice_pieces:
            return {"version": None}, None, ()
        proposed_rules = await game_run.agents.optimise(
            parent_version.rules,
            [advice_piece.text for advice_piece in advice_pieces],
            game_run.search_state.rejected[agent_role],
            game_run.variant(round_number, game_phase),
        )
        return proposal_step(parent_version, proposed_rules, advice_pieces, Proposer.OPTIMISER)

    return read_proposal(game_run, agent_role, await game_run.run_step(round_number, game_phase, ask_optimiser))


def proposal_step(
    parent_version: RulesVersion,
    proposed_rules: ProposedRules,
    advice_pieces: Sequence[Advice],
    proposer: Proposer,
) -> StepResult:
    """What an optimiser said as a step with a new version, whatever it is worth."""
    evidence = [[advice_pieces[entry].source for entry in cited_indices] for cited_indices in proposed_rules.evidence]
    rules_draft = draft_rules(parent_version.rules, proposed_rules.rules, evidence)
    step_data: StepData = {
        "rules": rules_draft.rules.plain(),
        "refused": rules_draft.refused.value if rules_draft.refused else None,
        "advice": [[entry.source, entry.text] for entry in advice_pieces],
    }
    return step_data, NewVersion(rules_draft.rules, parent_version.id, proposer, proposed_rules.reason), ()


def read_proposal(game_run: GameRun, agent_role: Role, step_data: StepData) -> Proposal | None:
    """The proposal of a kept step. An S_D that came to the gate before in this run is refused."""
    if step_data["version"] is None:
        return None
    rule_set = RuleSet.read(agent_role, step_data["rules"])
    refusal_reason = DecisionReason(step_data["refused"]) if step_data["refused"] else None
    if refusal_reason is None and agent_role is Role.DETECTOR and rule_set.hash in game_run.search_state.tried_hashes:
        refusal_reason = DecisionReason.SEEN
    return Proposal(RulesVersion(step_data["version"], rule_set), refusal_reason)
