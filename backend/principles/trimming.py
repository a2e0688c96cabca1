"""Each change of a proposal by itself: a rule that harms does not ride in on the back of one that helps.

Tried on played labels outside the minibatch, so it costs no look at the gate. A proposal with one change, or
with so many that it is a new text, goes to the gate as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.judges.principles import MAX_RULES
from backend.principles import draws, gate
from backend.principles.adversary import Kept
from backend.principles.book import New, Version
from backend.principles.gate import Ruling
from backend.principles.labels import Label
from backend.principles.proposals import Proposal
from backend.principles.rules import MAX_TOTAL, Rule, RuleSet
from backend.principles.table import Table
from backend.principles.vocabulary import Phase, Proposer, Role, Why

MOST_CHANGES = 6


@dataclass(frozen=True)
class Change:
    """A rule that the proposal adds, or one that it leaves out."""

    rule: Rule
    added: bool

    def undone(self, rules: RuleSet) -> RuleSet:
        """The rules without this change."""
        if self.added:
            return RuleSet(rules.role, tuple(one for one in rules.rules if one.id != self.rule.id))
        return RuleSet(rules.role, (*rules.rules, self.rule))


async def trim(table: Table, number: int, proposal: Proposal, seen: Sequence[Label]) -> Version | None:
    """The version that goes to the gate; None where nothing of the proposal is left or it was there before.

    seen: the labels of the minibatch, which inspired the proposal and say nothing more.
    """
    found = changes(table.standing.detector.rules, proposal.version.rules)
    labels = draws.others(table.deal.play, table.settings.seed, number, table.settings.trim, seen)
    if not 2 <= len(found) <= MOST_CHANGES or not labels:
        return proposal.version
    kept = await table.once(number, Phase.TRIM, lambda: _trim(table, proposal.version, found, labels))
    if kept["left"] is None:
        return None
    if kept["left"] == "same":
        return proposal.version
    return Version(kept["version"], RuleSet.read(Role.DETECTOR, kept["rules"]))


def changes(before: RuleSet, after: RuleSet) -> list[Change]:
    """What a proposal adds and leaves out."""
    old, new = ({rule.id for rule in rules.rules} for rules in (before, after))
    added = [Change(rule, added=True) for rule in after.rules if rule.id not in old]
    return [*added, *(Change(rule, added=False) for rule in before.rules if rule.id not in new)]


async def _trim(table: Table, version: Version, found: Sequence[Change], labels: Sequence[Label]) -> Kept:
    rules = version.rules
    whole = await table.read(rules, labels)
    told, left = [], rules
    for change in found:
        other = change.undone(rules)
        # Ten rules of which one was replaced are eleven with the old one back: no judge takes them.
        result = gate.compare(labels, whole, await table.read(other, labels)) if _fits(other) else None
        harms = result is not None and result.gain > 0
        after = change.undone(left)
        undo = harms and _fits(after)
        left = after if undo else left
        figures = [result.fixed, result.broken] if result else None
        told.append({"added": change.added, "text": change.rule.text, "undone": undo, "change": figures})
    return _kept(table, version, left, told)


def _kept(table: Table, version: Version, left: RuleSet, told: list[dict[str, object]]) -> Kept:
    standing = table.standing
    data: dict[str, object] = {"changes": told}
    if left.hash == version.rules.hash:
        return {**data, "left": "same"}, None, ()
    facts = {"undone": sum(bool(one["undone"]) for one in told), "of": len(told)}
    if left.hash in standing.tried:
        why = Why.USELESS if left.hash == standing.detector.rules.hash else Why.SEEN
        return {**data, "left": None}, None, (table.outcome(version.id, Ruling(False, why, facts)),)
    outcome = table.outcome(version.id, Ruling(False, Why.TRIMMED, facts))
    new = New(left, standing.detector.id, Proposer.OPTIMISER, f"v{version.id}")
    return {**data, "left": "less", "rules": left.plain()}, new, (outcome,)


def _fits(rules: RuleSet) -> bool:
    return 0 < len(rules.rules) <= MAX_RULES and sum(map(len, rules.texts)) <= MAX_TOTAL
