"""The adversarial phase, its confirmation, and self-reflection: where advice comes from.

A planted flaw that slipped through teaches the Detector only when somebody else has confirmed that it
is really there: the Generator may simply have written a good greeting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import UserError
from backend.judges.base import Draft, Sample
from backend.principles import draws
from backend.principles.book import Data, New, Outcome
from backend.principles.cases import Advice, Claim, Planted
from backend.principles.labels import Label
from backend.principles.rules import RuleSet
from backend.principles.table import Table, Values, plain_drafts, sample_of
from backend.principles.vocabulary import FLAWS, Confirm, Phase, Role

Kept = tuple[Data, New | None, Sequence[Outcome]]


class Waiting(UserError):
    """The run goes on when people have confirmed the planted flaws."""


@dataclass(frozen=True)
class Minibatch:
    """What inspired a proposal: samples with their true label, what the parent said, and advice by role."""

    samples: tuple[Sample, ...]
    labels: tuple[Label, ...]
    before: Values
    advice: dict[Role, list[Advice]]


async def play(table: Table, number: int) -> Minibatch:
    """The phases of round `number` up to the optimiser."""
    attacked = await table.once(number, Phase.ADVERSARY, lambda: _attack(table, number))
    confirmed = await confirm(table, number, Phase.ADVERSARY, Phase.CONFIRM, attacked["cases"])
    reflected = await table.once(number, Phase.REFLECT, lambda: _reflect(table, number))
    chosen = draws.labelled(table.deal.play, table.settings.seed, number, table.settings.labelled)
    taught = [place for place, claim in enumerate(confirmed) if claim.there]
    planted = [Planted.read(attacked["cases"][place]) for place in taught]
    # A flaw that is really there makes the greeting a bad one, whoever wrote it.
    labels = [
        *chosen,
        *(Label(-1 - place, one.prompt, one.greeting, False) for place, one in enumerate(planted)),
    ]
    return Minibatch(
        tuple(map(sample_of, labels)),
        tuple(labels),
        [*(item["value"] for item in reflected["items"]), *(1.0 for _ in planted)],
        {
            Role.DETECTOR: _for_detector(number, attacked, confirmed, reflected),
            Role.GENERATOR: _for_generator(number, attacked, confirmed),
        },
    )


async def attack(table: Table, tasks: Sequence[draws.Task], generator: RuleSet, variant: str) -> list[Data]:
    """Planted flaws and what the present Detector says of each; nothing where there is nothing to judge."""
    planted = await table.agents.write(tasks, generator, variant)
    there = [case for case in planted if not case.fault]
    drafts = iter(
        await table.detect(table.standing.detector.rules, [Sample(one.prompt, one.greeting) for one in there])
    )
    said = [None if case.fault else next(drafts) for case in planted]
    return [{**case.plain(), **_said(draft)} for case, draft in zip(planted, said, strict=True)]


async def confirm(table: Table, number: int, of: Phase, phase: Phase, cases: Sequence[Data]) -> list[Claim]:
    """For each case whether its flaw is really there: asked where the Detector was fooled, else None.

    Raises Waiting where a person is to say so and has not yet.
    """
    fooled = [place for place, case in enumerate(cases) if case["value"] == 1]

    async def ask() -> Kept:
        if table.settings.confirm is Confirm.PERSON:
            claims = _by_people(table, number, of, fooled)
        else:
            claims = await table.agents.confirm([Planted.read(cases[place]) for place in fooled])
        told = {str(place): [claim.there, claim.reason] for place, claim in zip(fooled, claims, strict=True)}
        return {"claims": told, "by": table.settings.confirm.value}, None, ()

    kept = (await table.once(number, phase, ask))["claims"]
    return [Claim(*kept.get(str(place), (None, ""))) for place in range(len(cases))]


def _by_people(table: Table, number: int, of: Phase, fooled: Sequence[int]) -> list[Claim]:
    answers = table.book.answers(number, of)
    open_cases = sum(place not in answers for place in fooled)
    if open_cases:
        raise Waiting(
            f"{open_cases} planted flaws wait for a person to confirm them; do so, then resume the run.",
            f"有 {open_cases} 处藏起来的缺陷等人确认，确认后继续运行。",
        )
    return [Claim(answers[place]) for place in fooled]


async def _attack(table: Table, number: int) -> Kept:
    chosen = draws.tasks(table.deal.play, table.settings.seed, number, table.settings.attacks, "attack")
    generator = table.standing.generator
    cases = await attack(table, chosen, generator.rules, table.variant(number, Phase.ADVERSARY))
    return {"cases": cases, "detector": table.standing.detector.id, "generator": generator.id}, None, ()


async def _reflect(table: Table, number: int) -> Kept:
    chosen = draws.labelled(table.deal.play, table.settings.seed, number, table.settings.labelled)
    rules = table.standing.detector.rules
    drafts = await table.detect(rules, list(map(sample_of, chosen)))
    wrong = [place for place, draft in enumerate(drafts) if _is_wrong(chosen[place], draft)]
    told = await table.agents.reflect([(chosen[place], drafts[place]) for place in wrong], rules)
    advice = dict(zip(wrong, told, strict=True))
    items = [
        {
            "id": label.id,
            "prompt": label.prompt,
            "greeting": label.greeting,
            "good": label.good,
            **said,
            "advice": advice.get(place, ""),
        }
        for place, (label, said) in enumerate(zip(chosen, plain_drafts(drafts), strict=True))
    ]
    return {"items": items, "detector": table.standing.detector.id}, None, ()


def _is_wrong(label: Label, draft: Draft) -> bool:
    return draft.value is not None and (draft.value == 1) != label.good


def _said(draft: Draft | None) -> Data:
    return {"value": draft.value if draft else None, "reason": draft.reason if draft else ""}


def _for_detector(number: int, attacked: Data, claims: Sequence[Claim], reflected: Data) -> list[Advice]:
    fooled = [
        Advice(
            f"漏看了“{FLAWS[case.flaw].split('：')[0]}”：{case.explanation or case.place or claim.reason}",
            f"r{number}.a{place}",
        )
        for place, claim in enumerate(claims)
        if claim.there
        for case in [Planted.read(attacked["cases"][place])]
    ]
    missed = [
        Advice(item["advice"], f"r{number}.l{place}")
        for place, item in enumerate(reflected["items"])
        if item["advice"]
    ]
    return [*fooled, *missed]


def _for_generator(number: int, attacked: Data, claims: Sequence[Claim]) -> list[Advice]:
    told = []
    for place, (case, claim) in enumerate(zip(attacked["cases"], claims, strict=True)):
        kind = FLAWS[Planted.read(case).flaw].split("：")[0]
        if case["value"] == 0:
            told.append(Advice(f"“{kind}”被看出来了：{case['reason']}", f"r{number}.a{place}"))
        elif case["value"] == 1 and claim.there is False:
            told.append(Advice(f"“{kind}”没藏成，缺陷并不存在：{claim.reason}", f"r{number}.a{place}"))
    return told
