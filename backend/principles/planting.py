"""Who writes for the adversarial phase: a model that is told to plant a flaw, or a policy trained here.

A trained policy knows bare requests and nothing else, so nobody can tell it what to hide, and S_G does not
reach it. It writes as it always does; of each text the Confirmer is asked whether a flaw of the kind whose
turn it is stands there. So the Detector learns from what that very policy gets past it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from backend.judges.asking import Model, request, together
from backend.judges.principles import numbered
from backend.llm.ask import Answer
from backend.llm.fields import Field, explanation, text
from backend.principles.cases import Planted
from backend.principles.draws import Task
from backend.principles.faults import UNREADABLE, no_greeting
from backend.principles.lost import refuse_lost
from backend.principles.prompts import prompt_file
from backend.principles.rules import RuleSet
from backend.principles.vocabulary import FLAWS, Agent
from backend.text import digest
from backend.writing.faults import Fault
from backend.writing.tidy import clean
from backend.writing.writer import BIGGEST_SEED, Sampling, Writer, Written

WRITTEN: tuple[Field, ...] = (
    text("greeting", "祝福语", "text", hint="祝福语全文"),
    text("place", "片段", "span", hint="缺陷所在的原文片段，逐字照抄", required=False),
    explanation(hint="为什么是缺陷，怎样才能看出来"),
)
POLICY = Sampling(temperature=0.8, top_p=0.95, max_tokens=160)
"""The same for every policy, so that a replay asks the same whatever became of its files."""


class Author(Protocol):
    """Writes a greeting for each task, in order; what came to nothing says why."""

    async def write(self, tasks: Sequence[Task], rules: RuleSet, variant: str) -> list[Planted]:
        """Raises LLMError where it ends the run, EndpointLost where the endpoint is gone."""


@dataclass(frozen=True)
class Told:
    """A model that follows instructions: which flaw to plant, and how to hide it."""

    model: Model

    async def write(self, tasks: Sequence[Task], rules: RuleSet, variant: str) -> list[Planted]:
        """All at once."""
        answers = await together(
            *(self._one(task, rules, f"{variant}-{place}") for place, task in enumerate(tasks))
        )
        refuse_lost((answer.kind for answer in answers), Agent.GENERATOR)
        return [_planted(task, answer) for task, answer in zip(tasks, answers, strict=True)]

    async def _one(self, task: Task, rules: RuleSet, variant: str) -> Answer:
        message = self.model.message(
            prompt_file("generator"),
            principles=numbered(rules.texts),
            prompt=request(task.prompt),
            flaw=FLAWS[task.flaw],
        )
        return await replace(self.model, variant=variant).ask(message, WRITTEN)


@dataclass(frozen=True)
class Policy:
    """A trained policy, woken for each phase that needs it: in between it may have gone to rest."""

    open: Callable[[], Awaitable[Writer]]

    async def write(
        self,
        tasks: Sequence[Task],
        rules: RuleSet,  # noqa: ARG002 (S_G does not reach it)
        variant: str,
    ) -> list[Planted]:
        """All at once. Raises UserError too where the policy cannot be woken."""
        async with await self.open() as writer:
            written = await together(
                *(_drawn(writer, task, f"{variant}-{n}") for n, task in enumerate(tasks))
            )
        refuse_lost((one.kind for one in written), Agent.GENERATOR)
        return [_unasked(task, one) for task, one in zip(tasks, written, strict=True)]


async def _drawn(writer: Writer, task: Task, variant: str) -> Written:
    seed = int(digest("policy", variant)[:8], 16) % BIGGEST_SEED
    return (await writer.write(task.prompt, 1, replace(POLICY, seed=seed)))[0]


def _planted(task: Task, answer: Answer) -> Planted:
    if answer.value is None:
        refused = no_greeting(task.prompt, answer.raw) is Fault.REFUSED
        why = answer.reason.zh if answer.reason else ""
        return Planted(task.prompt, task.flaw, fault=Fault.REFUSED if refused else UNREADABLE, note=why)
    said = answer.value
    made, place = clean(said["greeting"]), said.get("place", "")
    return Planted(
        prompt=task.prompt,
        flaw=task.flaw,
        greeting=made,
        place=place if place in made else "",
        explanation=said.get("explanation", ""),
        fault=no_greeting(task.prompt, made) or "",
    )


def _unasked(task: Task, written: Written) -> Planted:
    if written.error is not None:
        return Planted(task.prompt, task.flaw, fault=UNREADABLE, note=written.error.zh, asked=False)
    made = clean(written.text)
    fault = no_greeting(task.prompt, made) or ""
    return Planted(task.prompt, task.flaw, greeting=made, fault=fault, asked=False)
