"""A run from its first reading of the gate to the locked report: rounds, early stop, best version."""

from collections.abc import Callable
from typing import Protocol

from backend.principles import adversary, deciding, duel, gate, proposals
from backend.principles.adversary import Kept, Minibatch
from backend.principles.gate import Ruling
from backend.principles.locked import report
from backend.principles.proposals import Proposal
from backend.principles.table import Table
from backend.principles.vocabulary import Phase, Role, Search, Why


class Searcher(Protocol):
    """Finds a new S_D in one round. Both searches stand behind the same gate."""

    async def search(self, table: Table, number: int) -> tuple[Proposal | None, Minibatch]:
        """A proposal, None where there is nothing to propose, and what inspired it."""


class GameSearch:
    """Adversarial phase, confirmation, self-reflection, optimiser."""

    async def search(self, table: Table, number: int) -> tuple[Proposal | None, Minibatch]:
        """One new S_D from all the advice of a minibatch."""
        minibatch = await adversary.play(table, number)
        advice = minibatch.advice[Role.DETECTOR]
        proposal = await proposals.propose(table, number, Phase.PROPOSE_D, Role.DETECTOR, advice)
        return proposal, minibatch


async def run(table: Table, searchers: dict[Search, Callable[[], Searcher]]) -> None:
    """Play until the rounds are over or nothing new gets in any more, then open the locked set.

    A kept phase is never played again, so the same call goes on where a run stopped. Raises LLMError
    where the run cannot go on (budget, cancelled, fatal), EndpointLost, and Waiting for people.
    """
    await _start(table)
    searcher = searchers[table.settings.search]()
    for number in range(1, table.settings.rounds + 1):
        if table.standing.idle >= table.settings.patience:
            break
        await _round(table, searcher, number)
    await report(table)


async def _start(table: Table) -> None:
    first = table.standing.detector

    async def read() -> Kept:
        values = await table.read(first.rules, table.deal.gate)
        withstood = await table.withstand(first.rules)
        figure = gate.score(table.deal.gate, values)
        entered = Ruling(True, Why.START, {"missing": sum(one is None for one in values), "of": len(values)})
        outcomes = (
            table.outcome(first.id, entered, figure),
            table.outcome(table.standing.generator.id, Ruling(True, Why.START, {})),
        )
        return {"values": values, "safety": withstood, "score": figure.value}, None, outcomes

    kept = await table.once(0, Phase.START, read)
    table.standing.enter(first, kept)
    table.standing.tried |= {first.rules.hash, table.standing.generator.rules.hash}


async def _round(table: Table, searcher: Searcher, number: int) -> None:
    proposal, minibatch = await searcher.search(table, number)
    improved = proposal is not None and await deciding.decide(table, number, proposal, minibatch)
    if table.settings.evolve_generator and table.settings.search is Search.GAME:
        advice = minibatch.advice[Role.GENERATOR]
        harder = await proposals.propose(table, number, Phase.PROPOSE_G, Role.GENERATOR, advice)
        improved |= harder is not None and await duel.decide(table, number, harder)
    table.standing.idle = 0 if improved else table.standing.idle + 1
