"""From advice to a decided S_D: propose, try on the minibatch, then the gate, then safety."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.principles import gate, safety
from backend.principles.adversary import Kept, Minibatch
from backend.principles.agents import Proposed
from backend.principles.book import Data, New, Version
from backend.principles.cases import Advice
from backend.principles.gate import Ruling
from backend.principles.rules import RuleSet, draft
from backend.principles.table import Table
from backend.principles.vocabulary import Phase, Proposer, Role, Why


@dataclass(frozen=True)
class Proposal:
    """A new version and, where it cannot even be tried, why."""

    version: Version
    refused: Why | None


async def propose(
    table: Table, number: int, phase: Phase, role: Role, advice: Sequence[Advice]
) -> Proposal | None:
    """The optimiser's new set of rules for a role; None where nobody gave any advice."""
    parent = table.standing.present(role)

    async def ask() -> Kept:
        if not advice:
            return {"version": None}, None, ()
        said = await table.agents.optimise(
            parent.rules,
            [one.text for one in advice],
            table.standing.rejected[role],
            table.variant(number, phase),
        )
        return kept_proposal(parent, said, advice, Proposer.OPTIMISER)

    return proposal_in(table, role, await table.once(number, phase, ask))


def kept_proposal(parent: Version, said: Proposed, advice: Sequence[Advice], proposer: Proposer) -> Kept:
    """What an optimiser said as a step with a new version, whatever it is worth."""
    evidence = [[advice[one].source for one in numbers] for numbers in said.evidence]
    made = draft(parent.rules, said.rules, evidence)
    data: Data = {
        "rules": made.rules.plain(),
        "refused": made.refused.value if made.refused else None,
        "advice": [[one.source, one.text] for one in advice],
    }
    return data, New(made.rules, parent.id, proposer, said.reason), ()


def proposal_in(table: Table, role: Role, kept: Data) -> Proposal | None:
    """The proposal of a kept step. An S_D that came to the gate before in this run is refused."""
    if kept["version"] is None:
        return None
    rules = RuleSet.read(role, kept["rules"])
    refused = Why(kept["refused"]) if kept["refused"] else None
    if refused is None and role is Role.DETECTOR and rules.hash in table.standing.tried:
        refused = Why.SEEN
    return Proposal(Version(kept["version"], rules), refused)


async def decide(table: Table, number: int, proposal: Proposal, minibatch: Minibatch) -> bool:
    """Whether the proposed S_D is in; the standing is brought up to date."""
    rules = proposal.version.rules
    tried = await table.once(number, Phase.TRY_D, lambda: _try(table, proposal, minibatch))
    accepted = False
    if tried["passed"]:
        ruled = await table.once(number, Phase.GATE_D, lambda: _gate(table, proposal.version))
        accepted = ruled["accepted"]
        if accepted:
            table.standing.enter(proposal.version, ruled)
        table.standing.settle(Role.DETECTOR, rules, accepted=accepted)
    return accepted


async def _try(table: Table, proposal: Proposal, minibatch: Minibatch) -> Kept:
    if proposal.refused is not None:
        ruling, values = Ruling(False, proposal.refused, {}), None
    else:
        values = await table.read(proposal.version.rules, minibatch.labels)
        result = gate.compare(minibatch.labels, minibatch.before, values)
        ruling = gate.passes_minibatch(result)
    outcomes = () if ruling.accepted else (table.outcome(proposal.version.id, ruling),)
    data = {"passed": ruling.accepted, "why": ruling.why.value, "facts": ruling.facts, "values": values}
    return data, None, outcomes


async def _gate(table: Table, version: Version) -> Kept:
    labels, standing = table.deal.gate, table.standing
    values = await table.read(version.rules, labels)
    result = gate.compare(labels, standing.gate, values)
    ruling = gate.passes_gate(result, standing.gate, values, table.settings.each_alpha)
    withstood = None
    if ruling.accepted:
        withstood = await table.withstand(version.rules)
        silent = sum(value is None for value in standing.safety)
        safe = gate.passes_safety(safety.compare(standing.safety, withstood), silent)
        facts = {**ruling.facts, "safety": safe.facts}
        if safe.why is Why.UNSCORED:
            facts |= safe.facts
        ruling = Ruling(safe.accepted, safe.why, facts)
    figure = gate.score(labels, values)
    outcome = table.outcome(version.id, ruling, figure)
    data: Data = {
        "values": values,
        "safety": withstood,
        "accepted": ruling.accepted,
        "why": ruling.why.value,
        "facts": ruling.facts,
        "score": figure.value,
    }
    return data, None, (outcome,)
