"""From advice to a proposal, each of its changes tried by itself, and whether it gets in: minibatch, then gate."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.enums import DecisionReason, GamePhase, Proposer, Role
from backend.judges.criteria import MAX_RULES
from backend.principles.algorithm import draws, gate
from backend.principles.algorithm.adversary import Minibatch
from backend.principles.algorithm.agents import ProposedRules
from backend.principles.algorithm.game_run import GameRun, StepResult
from backend.principles.algorithm.gate import Ruling
from backend.principles.algorithm.labels import GameLabel
from backend.principles.algorithm.rules import MAX_TOTAL_LENGTH, PrincipleRule, RuleSet, draft_rules
from backend.principles.algorithm.state import Advice, NewVersion, RulesVersion
from backend.principles.algorithm.steps import GateStep, ProposalStep, TrialStep, TriedChange, TrimStep


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

    async def ask_optimiser() -> StepResult[ProposalStep]:
        if not advice_pieces:
            return ProposalStep(version=None), None, ()
        proposed_rules = await game_run.agents.optimise(
            parent_version.rules,
            [advice_piece.text for advice_piece in advice_pieces],
            game_run.search_state.rejected[agent_role],
            game_run.variant(round_number, game_phase),
        )
        return draft_proposal(parent_version, proposed_rules, advice_pieces, Proposer.OPTIMISER)

    proposal_step = await game_run.run_step(round_number, game_phase, ProposalStep, ask_optimiser)
    return read_proposal(game_run, agent_role, proposal_step)


def draft_proposal(
    parent_version: RulesVersion,
    proposed_rules: ProposedRules,
    advice_pieces: Sequence[Advice],
    proposer: Proposer,
) -> StepResult[ProposalStep]:
    """What an optimiser wrote as a step with a new version, whatever it is worth."""
    evidence = [[advice_pieces[entry].source for entry in cited_indices] for cited_indices in proposed_rules.evidence]
    rules_draft = draft_rules(parent_version.rules, proposed_rules.rules, evidence)
    proposal_step = ProposalStep(
        rules=list(rules_draft.rules.rules),
        refused=rules_draft.refused.value if rules_draft.refused else None,
        advice=[(entry.source, entry.text) for entry in advice_pieces],
    )
    # A refused draft is a version too: the archive shows all that was ever proposed.
    return proposal_step, NewVersion(rules_draft.rules, parent_version.id, proposer, proposed_rules.reason), ()


def read_proposal(game_run: GameRun, agent_role: Role, proposal_step: ProposalStep) -> Proposal | None:
    """The proposal of a stored step. An S_D that came to the gate before in this run is refused."""
    if proposal_step.version is None:
        return None
    rule_set = RuleSet(agent_role, tuple(proposal_step.rules))
    refusal_reason = DecisionReason(proposal_step.refused) if proposal_step.refused else None
    # Decided when the step is read and not when it is stored: the set of tried texts is rebuilt with every
    # resume.
    if refusal_reason is None and agent_role is Role.DETECTOR and rule_set.hash in game_run.search_state.tried_hashes:
        refusal_reason = DecisionReason.SEEN
    return Proposal(RulesVersion(proposal_step.version, rule_set), refusal_reason)


# Each change costs a reading of the trim labels; beyond six it is a new text, and judged as a whole.
MAX_CHANGES = 6


@dataclass(frozen=True)
class RuleChange:
    """A rule that the proposal adds, or one that it leaves out."""

    rule: PrincipleRule
    added: bool

    def without_change(self, rule_set: RuleSet) -> RuleSet:
        """The rules without this change."""
        if self.added:
            return RuleSet(
                rule_set.role,
                tuple(other_rule for other_rule in rule_set.rules if other_rule.id != self.rule.id),
            )
        return RuleSet(rule_set.role, (*rule_set.rules, self.rule))


async def trim_proposal(
    game_run: GameRun, round_number: int, proposal: Proposal, minibatch_labels: Sequence[GameLabel]
) -> RulesVersion | None:
    """The version that goes to the gate; None where nothing of the proposal is left or it was there before.

    minibatch_labels: those that inspired the proposal, which say nothing more about it.
    """
    rule_changes = proposal_changes(game_run.search_state.detector.rules, proposal.version.rules)
    # The labels of the minibatch have inspired the changes, so they would speak for them.
    trim_labels = draws.draw_other_labels(
        game_run.partitions.play,
        game_run.settings.seed,
        round_number,
        game_run.settings.trim,
        minibatch_labels,
    )
    # A single change has been tried by itself on the minibatch already.
    if not 2 <= len(rule_changes) <= MAX_CHANGES or not trim_labels:
        return proposal.version
    trim_step = await game_run.run_step(
        round_number,
        GamePhase.TRIM,
        TrimStep,
        lambda: _trim_step(game_run, proposal.version, rule_changes, trim_labels),
    )
    if trim_step.left is None:
        return None
    if trim_step.left == "same" or trim_step.version is None:
        return proposal.version
    return RulesVersion(trim_step.version, RuleSet(Role.DETECTOR, tuple(trim_step.rules)))


def proposal_changes(old_rules: RuleSet, new_rules: RuleSet) -> list[RuleChange]:
    """What a proposal adds and leaves out."""
    old_ids, new_ids = ({rule.id for rule in rule_set.rules} for rule_set in (old_rules, new_rules))
    added_changes = [RuleChange(rule, added=True) for rule in new_rules.rules if rule.id not in old_ids]
    return [
        *added_changes,
        *(RuleChange(rule, added=False) for rule in old_rules.rules if rule.id not in new_ids),
    ]


async def _trim_step(
    game_run: GameRun,
    proposed_version: RulesVersion,
    rule_changes: Sequence[RuleChange],
    trim_labels: Sequence[GameLabel],
) -> StepResult[TrimStep]:
    rule_set = proposed_version.rules
    whole_values = await game_run.detector_values(rule_set, trim_labels)
    tried_changes: list[TriedChange] = []
    remaining_rules = rule_set
    for rule_change in rule_changes:
        # Each against the whole proposal and not against what is left so far, so that their order decides
        # nothing.
        rules_without = rule_change.without_change(rule_set)
        # Ten rules of which one was replaced are eleven with the old one back: no judge takes them.
        paired_test = (
            gate.compare_values(trim_labels, whole_values, await game_run.detector_values(rules_without, trim_labels))
            if _is_allowed_size(rules_without)
            else None
        )
        # The point estimate is enough: this test undoes a change at most, and lets nothing in.
        is_harmful = paired_test is not None and paired_test.gain > 0
        reduced_rules = rule_change.without_change(remaining_rules)
        is_undone = is_harmful and _is_allowed_size(reduced_rules)
        remaining_rules = reduced_rules if is_undone else remaining_rules
        change_counts = (paired_test.fixed, paired_test.broken) if paired_test else None
        tried_changes.append(
            TriedChange(added=rule_change.added, text=rule_change.rule.text, undone=is_undone, change=change_counts)
        )
    return _trim_result(game_run, proposed_version, remaining_rules, tried_changes)


def _trim_result(
    game_run: GameRun,
    proposed_version: RulesVersion,
    remaining_rules: RuleSet,
    tried_changes: list[TriedChange],
) -> StepResult[TrimStep]:
    search_state = game_run.search_state
    if remaining_rules.hash == proposed_version.rules.hash:
        return TrimStep(changes=tried_changes, left="same"), None, ()
    ruling_facts = {
        "undone": sum(tried_change.undone for tried_change in tried_changes),
        "of": len(tried_changes),
    }
    if remaining_rules.hash in search_state.tried_hashes:
        decision_reason = (
            # All changes undone gives back the rules in force; anything else was at the gate before.
            DecisionReason.USELESS if remaining_rules.hash == search_state.detector.rules.hash else DecisionReason.SEEN
        )
        return (
            TrimStep(changes=tried_changes, left=None),
            None,
            (game_run.version_outcome(proposed_version.id, Ruling(False, decision_reason, ruling_facts)),),
        )
    trim_outcome = game_run.version_outcome(proposed_version.id, Ruling(False, DecisionReason.TRIMMED, ruling_facts))
    # Its parent is the version in force: the untrimmed proposal was never in.
    new_version = NewVersion(remaining_rules, search_state.detector.id, Proposer.OPTIMISER, f"v{proposed_version.id}")
    trim_step = TrimStep(changes=tried_changes, left="less", rules=list(remaining_rules.rules))
    return trim_step, new_version, (trim_outcome,)


def _is_allowed_size(rule_set: RuleSet) -> bool:
    return 0 < len(rule_set.rules) <= MAX_RULES and sum(map(len, rule_set.texts)) <= MAX_TOTAL_LENGTH


async def decide_proposal(game_run: GameRun, round_number: int, proposal: Proposal, minibatch: Minibatch) -> bool:
    """Whether the proposed S_D is in; the standing is brought up to date."""
    # Cheapest first: most proposals fall at the minibatch, and only what is left costs a look at the gate.
    trial_step = await game_run.run_step(
        round_number, GamePhase.TRY_D, TrialStep, lambda: _minibatch_step(game_run, proposal, minibatch)
    )
    trimmed_version = (
        await trim_proposal(game_run, round_number, proposal, minibatch.labels) if trial_step.passed else None
    )
    if trimmed_version is None:
        return False
    gate_step = await game_run.run_step(
        round_number, GamePhase.GATE_D, GateStep, lambda: _gate_step(game_run, trimmed_version)
    )
    if gate_step.accepted:
        game_run.search_state.adopt_detector(trimmed_version, gate_step)
    # After adopting: which rules count as refused is measured against the version that is in force by then.
    game_run.search_state.remember_result(Role.DETECTOR, trimmed_version.rules, accepted=gate_step.accepted)
    return gate_step.accepted


async def _minibatch_step(game_run: GameRun, proposal: Proposal, minibatch: Minibatch) -> StepResult[TrialStep]:
    if proposal.refused is not None:
        # Nobody reads a refused proposal: no call is spent on it.
        ruling, new_values = Ruling(False, proposal.refused, {}), None
    else:
        new_values = await game_run.detector_values(proposal.version.rules, minibatch.labels)
        paired_test = gate.compare_values(minibatch.labels, minibatch.parent_values, new_values)
        ruling = gate.passes_minibatch(paired_test)
    outcomes = () if ruling.accepted else (game_run.version_outcome(proposal.version.id, ruling),)
    trial_step = TrialStep(passed=ruling.accepted, why=ruling.why.value, facts=dict(ruling.facts), values=new_values)
    return trial_step, None, outcomes


async def _gate_step(game_run: GameRun, new_version: RulesVersion) -> StepResult[GateStep]:
    gate_labels, search_state = game_run.partitions.gate, game_run.search_state
    new_values = await game_run.detector_values(new_version.rules, gate_labels)
    paired_test = gate.compare_values(gate_labels, search_state.gate, new_values)
    ruling = gate.passes_gate(paired_test, search_state.gate, new_values, game_run.settings.alpha_per_round)
    safety_values = None
    # The safety set is read only for what is better, which most proposals are not.
    if ruling.accepted:
        safety_values = await game_run.safety_values(new_version.rules)
        unscored_count = sum(safety_value is None for safety_value in search_state.safety)
        safety_ruling = gate.passes_safety(gate.compare_safety(search_state.safety, safety_values), unscored_count)
        ruling_facts = {**ruling.facts, "safety": safety_ruling.facts}
        if safety_ruling.why is DecisionReason.UNSCORED:
            # The sentence names how many of which set are open: here of the safety set instead of the gate
            # set.
            ruling_facts |= safety_ruling.facts
        ruling = Ruling(safety_ruling.accepted, safety_ruling.why, ruling_facts)
    gate_figure = gate.gate_score(gate_labels, new_values)
    gate_outcome = game_run.version_outcome(new_version.id, ruling, gate_figure)
    gate_step = GateStep(
        values=new_values,
        safety=safety_values,
        accepted=ruling.accepted,
        why=ruling.why.value,
        facts=dict(ruling.facts),
        score=gate_figure.value,
    )
    return gate_step, None, (gate_outcome,)
