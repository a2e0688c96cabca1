"""From advice to a proposal in the archive."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.principles.adversary import Kept
from backend.principles.agents import Proposed
from backend.principles.book import Data, New, Version
from backend.principles.cases import Advice
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
