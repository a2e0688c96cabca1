"""Each change of a proposal by itself: a rule that harms does not ride in on the back of one that helps.

Tried on played labels outside the minibatch, so it costs no look at the gate. A proposal with one change, or
with so many that it is a new text, goes to the gate as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.judges.principles import MAX_RULES
from backend.principles import draws, gate
from backend.principles.adversary import StepResult
from backend.principles.book import NewVersion, RulesVersion
from backend.principles.gate import Ruling
from backend.principles.labels import GameLabel
from backend.principles.proposals import Proposal
from backend.principles.rules import MAX_TOTAL_LENGTH, PrincipleRule, RuleSet
from backend.principles.table import GameRun
from backend.principles.vocabulary import DecisionReason, GamePhase, Proposer, Role

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

    seen: the labels of the minibatch, which inspired the proposal and say nothing more.
    """
    rule_changes = proposal_changes(game_run.search_state.detector.rules, proposal.version.rules)
    trim_labels = draws.draw_other_labels(
        game_run.partitions.play,
        game_run.settings.seed,
        round_number,
        game_run.settings.trim,
        minibatch_labels,
    )
    if not 2 <= len(rule_changes) <= MAX_CHANGES or not trim_labels:
        return proposal.version
    trim_data = await game_run.run_step(
        round_number,
        GamePhase.TRIM,
        lambda: _trim_step(game_run, proposal.version, rule_changes, trim_labels),
    )
    if trim_data["left"] is None:
        return None
    if trim_data["left"] == "same":
        return proposal.version
    return RulesVersion(trim_data["version"], RuleSet.read(Role.DETECTOR, trim_data["rules"]))


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
) -> StepResult:
    rule_set = proposed_version.rules
    whole_values = await game_run.detector_values(rule_set, trim_labels)
    plain_changes, remaining_rules = [], rule_set
    for rule_change in rule_changes:
        rules_without = rule_change.without_change(rule_set)
        # Ten rules of which one was replaced are eleven with the old one back: no judge takes them.
        paired_test = (
            gate.compare_values(trim_labels, whole_values, await game_run.detector_values(rules_without, trim_labels))
            if _is_allowed_size(rules_without)
            else None
        )
        is_harmful = paired_test is not None and paired_test.gain > 0
        reduced_rules = rule_change.without_change(remaining_rules)
        is_undone = is_harmful and _is_allowed_size(reduced_rules)
        remaining_rules = reduced_rules if is_undone else remaining_rules
        change_counts = [paired_test.fixed, paired_test.broken] if paired_test else None
        plain_changes.append(
            {
                "added": rule_change.added,
                "text": rule_change.rule.text,
                "undone": is_undone,
                "change": change_counts,
            }
        )
    return _trim_result(game_run, proposed_version, remaining_rules, plain_changes)


def _trim_result(
    game_run: GameRun,
    proposed_version: RulesVersion,
    remaining_rules: RuleSet,
    plain_changes: list[dict[str, object]],
) -> StepResult:
    search_state = game_run.search_state
    step_data: dict[str, object] = {"changes": plain_changes}
    if remaining_rules.hash == proposed_version.rules.hash:
        return {**step_data, "left": "same"}, None, ()
    ruling_facts = {
        "undone": sum(bool(plain_change["undone"]) for plain_change in plain_changes),
        "of": len(plain_changes),
    }
    if remaining_rules.hash in search_state.tried_hashes:
        decision_reason = (
            DecisionReason.USELESS if remaining_rules.hash == search_state.detector.rules.hash else DecisionReason.SEEN
        )
        return (
            {**step_data, "left": None},
            None,
            (game_run.version_outcome(proposed_version.id, Ruling(False, decision_reason, ruling_facts)),),
        )
    trim_outcome = game_run.version_outcome(proposed_version.id, Ruling(False, DecisionReason.TRIMMED, ruling_facts))
    new_version = NewVersion(remaining_rules, search_state.detector.id, Proposer.OPTIMISER, f"v{proposed_version.id}")
    return {**step_data, "left": "less", "rules": remaining_rules.plain()}, new_version, (trim_outcome,)


def _is_allowed_size(rule_set: RuleSet) -> bool:
    return 0 < len(rule_set.rules) <= MAX_RULES and sum(map(len, rule_set.texts)) <= MAX_TOTAL_LENGTH
