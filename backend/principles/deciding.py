"""Whether a proposed S_D gets in: the minibatch that inspired it, each change by itself, gate, safety."""

from backend.principles import gate, safety
from backend.principles.adversary import Kept, Minibatch
from backend.principles.book import Data, Version
from backend.principles.gate import Ruling
from backend.principles.proposals import Proposal
from backend.principles.table import Table
from backend.principles.trimming import trim
from backend.principles.vocabulary import Phase, Role, Why


async def decide(table: Table, number: int, proposal: Proposal, minibatch: Minibatch) -> bool:
    """Whether the proposed S_D is in; the standing is brought up to date."""
    tried = await table.once(number, Phase.TRY_D, lambda: _try(table, proposal, minibatch))
    version = await trim(table, number, proposal, minibatch.labels) if tried["passed"] else None
    if version is None:
        return False
    ruled = await table.once(number, Phase.GATE_D, lambda: _gate(table, version))
    accepted = bool(ruled["accepted"])
    if accepted:
        table.standing.enter(version, ruled)
    table.standing.settle(Role.DETECTOR, version.rules, accepted=accepted)
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
