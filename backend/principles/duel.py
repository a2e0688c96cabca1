"""Two S_G on the same requests: the new one is in if it fools the Detector more often with real flaws."""

from dataclasses import asdict

from backend.agreement.paired import Paired, sign_flip
from backend.principles import draws
from backend.principles.adversary import Kept, attack, confirm
from backend.principles.book import Data, Version
from backend.principles.cases import Claim
from backend.principles.gate import Ruling
from backend.principles.proposals import Proposal
from backend.principles.table import Table
from backend.principles.vocabulary import Phase, Role, Why


async def decide(table: Table, number: int, proposal: Proposal) -> bool:
    """Whether the proposed S_G is in. A duel costs no look at the gate: labels play no part in it."""
    new, old = proposal.version, table.standing.generator
    accepted = False
    duel = await table.once(number, Phase.DUEL, lambda: _fight(table, number, proposal, old))
    if duel["cases"]:
        claims = await confirm(table, number, Phase.DUEL, Phase.DUEL_CONFIRM, duel["cases"])
        ruled = await table.once(number, Phase.GATE_G, lambda: _rule(table, new, duel["cases"], claims))
        accepted = ruled["accepted"]
        if accepted:
            table.standing.generator = new
        table.standing.settle(Role.GENERATOR, new.rules, accepted=accepted)
    return accepted


async def _fight(table: Table, number: int, proposal: Proposal, old: Version) -> Kept:
    """Cases of the old S_G first, then the new one's on the same requests in the same order."""
    if proposal.refused is not None:
        ruling = Ruling(False, proposal.refused, {})
        return {"cases": []}, None, (table.outcome(proposal.version.id, ruling),)
    settings = table.settings
    tasks = draws.tasks(table.deal.play, settings.seed, number, settings.duels, "duel")
    variant = table.variant(number, Phase.DUEL)
    before = await attack(table, tasks, old.rules, variant)
    after = await attack(table, tasks, proposal.version.rules, variant)
    return {"cases": [*before, *after], "old": old.id, "new": proposal.version.id}, None, ()


async def _rule(table: Table, new: Version, cases: list[Data], claims: list[Claim]) -> Kept:
    won = [_won(case, claim) for case, claim in zip(cases, claims, strict=True)]
    half = len(won) // 2
    result = _compare(won[:half], won[half:])
    level = table.settings.each_alpha
    facts = {
        **asdict(result),
        "level": level,
        "before": sum(one is True for one in won[:half]),
        "after": sum(one is True for one in won[half:]),
    }
    better = result.gain > 0 and result.p <= level
    ruling = Ruling(better, Why.BETTER if better else Why.NOT_FOOLING, facts)
    data = {"accepted": better, "why": ruling.why.value, "facts": facts}
    return data, None, (table.outcome(new.id, ruling),)


def _won(case: Data, claim: Claim) -> bool | None:
    """Whether the Detector was fooled by a flaw that is there; None where that cannot be told.

    A Generator that refuses or returns the request fools nobody.
    """
    if case["fault"]:
        return False
    if case["value"] is None or (case["value"] == 1 and claim.there is None):
        return None
    return case["value"] == 1 and claim.there is True


def _compare(before: list[bool | None], after: list[bool | None]) -> Paired:
    both = [(old, new) for old, new in zip(before, after, strict=True) if old is not None and new is not None]
    change = [int(new) - int(old) for old, new in both]
    return Paired(
        n=len(both),
        unscored=len(before) - len(both),
        fixed=change.count(1),
        broken=change.count(-1),
        p=sign_flip(change),
    )
