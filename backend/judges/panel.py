"""The panel: praise and blame in parallel, a judge who weighs both, and a reviewer who may overturn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from backend.errors import UserError
from backend.judges.asking import (
    Model,
    each,
    greeting,
    prompt_file,
    readable,
    request,
    sent,
    together,
    trace,
    why,
)
from backend.judges.base import EMPTY, Draft, Sample, unscored, version_of
from backend.llm.ask import Answer
from backend.llm.fields import Field, explanation, texts, verdict
from backend.llm.messages import ChatMessage
from backend.llm.prompts import Untrusted
from backend.llm.schema import instruction
from backend.text import squeeze
from backend.vocabulary import Scale

ROLES = ("positive", "negative", "judge", "reflect")
STATEMENTS, STATEMENT = 20, 200
MERITS = (texts("merits", "优点", "positive", "advantages", hint="优点的列表，没有则为空"),)
FAULTS = (texts("faults", "缺点", "negative", "problems", hint="缺点的列表，没有则为空"),)
VERDICT = (explanation(hint="一两句话的理由，点出采信的关键意见"), verdict())
FINAL = (
    explanation(hint="维持或推翻初判的理由", required=True),
    verdict(hint="最终结论，1 表示优秀，0 表示不优秀"),
)
NONE = "（无）"
LATER = "（上一步的结果会放在这里）"
NOBODY = "（没有初判。请直接根据原文和双方意见给出结论。）"
RULE = 1
"""Of deciding without a judge; raise it when the rule changes."""
SOUGHT = "（检索到的范例会放在这里）"


class Retriever(Protocol):
    """Liked greetings for similar requests, as examples for the panel."""

    @property
    def version(self) -> str:
        """Hash of what decides its examples; a part of the judge's version."""

    async def examples(self, prompt: str, greeting: str = "") -> Sequence[Sample]:
        """The examples for a request, best first; none is fine.

        `greeting` is the one under judgement: neither it nor what says the same is an example.
        """


@dataclass(frozen=True)
class NoExamples:
    """Retrieves nothing."""

    version: str = ""

    async def examples(self, prompt: str, greeting: str = "") -> Sequence[Sample]:  # noqa: ARG002
        """No example."""
        return ()


@dataclass(frozen=True)
class Agents:
    """Which agents take part (switched off one by one in ablations).

    Without the judge the reviewer decides alone, from both lists and no first verdict. Without judge and
    reviewer the lists are counted: 1 where more merits than faults were found, else 0.
    """

    positive: bool = True
    negative: bool = True
    judge: bool = True
    reflect: bool = True

    def __post_init__(self) -> None:
        if not (self.judge or self.reflect or (self.positive and self.negative)):
            raise UserError(
                "Without judge and reviewer both sides must speak, so that merits and faults can be counted.",
                "去掉评审和复核时，褒贬双方都要在场，才能数优缺点。",
            )


@dataclass(frozen=True)
class PanelJudge:
    """Verdict 1 or 0; up to four calls an item. `details` keeps every statement and both verdicts.

    `others` holds the models of agents (see ROLES) that do not ask `model`.
    """

    model: Model
    agents: Agents = Agents()
    others: Mapping[str, Model] = field(default_factory=dict)
    retriever: Retriever = field(default_factory=NoExamples)
    name: str = "panel"
    scale: Scale = Scale.BINARY

    @cached_property
    def version(self) -> str:
        """Hash of model, prompts, agents and retrieval."""
        others = {role: model.identity for role, model in sorted(self.others.items())}
        return version_of(
            {
                "judge": "panel",
                "prompts": [prompt_file(f"panel_{name}").hash for name in ROLES],
                "agents": [self.agents.positive, self.agents.negative, self.agents.reflect],
                **({} if self.agents.judge else {"without": "judge", "rule": RULE}),
                "retriever": self.retriever.version,
                "asked": [instruction(fields) for fields in (MERITS, FAULTS, VERDICT, FINAL)],
                "model": self.model.identity,
                **({"others": others} if others else {}),
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call, as far as it is known beforehand."""
        examples = NONE if isinstance(self.retriever, NoExamples) else SOUGHT
        case = _Case(self.model, self.others, sample, examples)
        shown = []
        if self.agents.positive:
            shown.append(sent(case.message("positive"), MERITS))
        if self.agents.negative:
            shown.append(sent(case.message("negative"), FAULTS))
        if self.agents.judge:
            shown.append(sent(case.message("judge", statements=LATER), VERDICT))
        if self.agents.reflect:
            shown.append(sent(case.message("reflect", statements=LATER, first_verdict=LATER), FINAL))
        return shown

    async def score(self, batch: Sequence[Sample]) -> list[Draft]:
        """One verdict per sample. Raises LLMError only where it ends the whole run."""
        return await each(self._one, batch, unscored)

    async def _one(self, sample: Sample) -> Draft:
        if not squeeze(sample.greeting):
            return EMPTY
        examples = await self.retriever.examples(sample.prompt, sample.greeting)
        case = _Case(self.model, self.others, sample, _listed(examples))
        kept = _Kept()
        if examples:
            kept.details["examples"] = [[one.prompt, one.greeting] for one in examples]
        for role, answers in zip(("褒方", "贬方"), await self._debate(case), strict=True):
            if kept.add(role, answers) is None:
                return kept.draft()
        statements = Untrusted(_statements(kept.details), "意见")
        first: dict[str, Any] | None = None
        told: str | Untrusted = NOBODY
        if self.agents.judge:
            first = kept.add("评审", [await case.ask("judge", VERDICT, statements=statements)])
            if first is None:
                return kept.draft()
            kept.details["first"] = first
            told = Untrusted(f"结论：{first['verdict']}\n理由：{first.get('explanation', NONE)}", "初判")
        if not self.agents.reflect:
            return kept.draft(first or _counted(kept.details))
        final = kept.add(
            "复核", [await case.ask("reflect", FINAL, statements=statements, first_verdict=told)]
        )
        if final is None:
            return kept.draft()
        return kept.draft(final) if first is None else kept.draft(first, final)

    async def _debate(self, case: "_Case") -> tuple[list[Answer], list[Answer]]:
        wanted = (self.agents.positive, self.agents.negative)
        calls = [
            case.ask(role, fields)
            for role, fields, wish in zip(("positive", "negative"), (MERITS, FAULTS), wanted, strict=True)
            if wish
        ]
        answers = iter(await together(*calls))
        return [next(answers)] if wanted[0] else [], [next(answers)] if wanted[1] else []


@dataclass(frozen=True)
class _Case:
    """One greeting before the panel."""

    model: Model
    others: Mapping[str, Model]
    sample: Sample
    examples: str | Untrusted

    def message(self, role: str, **more: str | Untrusted) -> ChatMessage:
        return self.model.message(
            prompt_file(f"panel_{role}"),
            prompt=request(self.sample.prompt),
            greeting=greeting(self.sample.greeting),
            examples=self.examples,
            **more,
        )

    async def ask(self, role: str, fields: Sequence[Field], **more: str | Untrusted) -> Answer:
        return await self.others.get(role, self.model).ask(self.message(role, **more), fields)


class _Kept:
    """What was said so far, and by which calls."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.details: dict[str, Any] = {}
        self._failed = ""

    def add(self, role: str, answers: Sequence[Answer]) -> dict[str, Any] | None:
        """Keep the answers of a role (none where it is switched off); None where one failed."""
        self.answers += answers
        for answer in answers:
            if answer.value is None:
                self._failed = f"{role}没有给出可用的答复：{why(answer)}"
                return None
            self.details |= {
                name: answer.value[name] for name in ("merits", "faults") if name in answer.value
            }
        return answers[0].value if answers else {}

    def draft(self, first: dict[str, Any] | None = None, final: dict[str, Any] | None = None) -> Draft:
        """The draft from what is there: unscored, the first verdict, or the final one."""
        details = {**self.details, **trace(*self.answers)}
        if first is None or self._failed:
            return Draft(None, self._failed, details)
        last = final or first
        if final is not None:
            details |= {"final": final, "overturned": final["verdict"] != first["verdict"]}
        reason = last.get("explanation", "")
        if details.get("overturned"):
            reason = f"推翻初判：{reason}"
        return Draft(float(last["verdict"]), reason, details)


def _counted(details: dict[str, Any]) -> dict[str, Any]:
    """What the lists alone decide."""
    merits, faults = len(details.get("merits", ())), len(details.get("faults", ()))
    return {"verdict": int(merits > faults), "explanation": f"数出优点 {merits} 条、缺点 {faults} 条"}


def _listed(examples: Sequence[Sample]) -> str | Untrusted:
    if not examples:
        return NONE
    lines = [f"{n}. 请求：{one.prompt}\n   祝福语：{one.greeting}" for n, one in enumerate(examples, 1)]
    return Untrusted(readable("\n".join(lines)), "范例")


def _statements(details: dict[str, Any]) -> str:
    sides = [("褒方", "merits"), ("贬方", "faults")]
    return "\n".join(f"{role}：\n{_bullets(details[key])}" for role, key in sides if key in details) or NONE


def _bullets(statements: Sequence[str]) -> str:
    return "\n".join(f"- {one[:STATEMENT]}" for one in statements[:STATEMENTS]) or "- 没有"
