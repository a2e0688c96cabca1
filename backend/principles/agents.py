"""The agents that write, confirm, reflect and rewrite. The Detector is the `principle` judge itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.judges.asking import Model, greeting, readable, request, together
from backend.judges.base import Draft
from backend.judges.principles import MAX_RULES, numbered
from backend.llm.ask import Answer
from backend.llm.fields import Field, explanation, text, texts, verdict
from backend.llm.prompts import Untrusted
from backend.principles.cases import Claim, Planted
from backend.principles.draws import Task
from backend.principles.labels import Label
from backend.principles.lost import refuse_lost
from backend.principles.planting import Author
from backend.principles.prompts import prompt_file
from backend.principles.rules import RuleSet
from backend.principles.vocabulary import FLAWS, Agent, Role

NONE = "（无）"
UNCLAIMED = "没有人说是哪一处：请自己在原文里找这一类缺陷，确实找得到一处才算存在。"
ADVICE, MOST_REJECTED = 300, 20
CONFIRMED: tuple[Field, ...] = (explanation(), verdict(hint="1 表示缺陷确实存在，0 表示不存在或拿不准"))
ADVISED: tuple[Field, ...] = (text("advice", "建议", "suggestion", hint="一到三句话的修改建议"),)
REWRITTEN: tuple[Field, ...] = (
    texts("rules", "原则", "策略", "principles", hint="新的一套，每项一条"),
    texts("evidence", "依据", hint="与 rules 等长，每项是采纳的序号", required=False),
)
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Proposed:
    """What an optimiser said: rules, and for each the numbers (from 0) of the advice it took up."""

    rules: tuple[str, ...]
    evidence: tuple[tuple[int, ...], ...]
    raw: str
    reason: str = ""


@dataclass(frozen=True)
class Agents:
    """The models of the four agents that are no judge. All calls of a list go out at once; answers are
    joined by position. Raises LLMError where it ends the run, EndpointLost where an endpoint is gone."""

    generator: Author
    confirmer: Model
    reflector: Model
    optimiser: Model

    async def write(self, tasks: Sequence[Task], rules: RuleSet, variant: str) -> list[Planted]:
        """A greeting with a planted flaw for each task; what came to nothing says why."""
        return await self.generator.write(tasks, rules, variant)

    async def confirm(self, cases: Sequence[Planted]) -> list[Claim]:
        """Whether each planted flaw is really there."""
        answers = await together(*map(self._confirm, cases))
        refuse_lost((answer.kind for answer in answers), Agent.CONFIRMER)
        return [_claim(answer) for answer in answers]

    async def reflect(self, missed: Sequence[tuple[Label, Draft]], rules: RuleSet) -> list[str]:
        """Advice on each label that the Detector got wrong; "" where there is none."""
        answers = await together(*(self._reflect(label, said, rules) for label, said in missed))
        refuse_lost((answer.kind for answer in answers), Agent.REFLECTOR)
        return [answer.value["advice"] if answer.value else "" for answer in answers]

    async def optimise(
        self, current: RuleSet, advice: Sequence[str], rejected: Sequence[str], variant: str
    ) -> Proposed:
        """One new set of rules from all the advice. `rejected` are rules that were tried in vain.

        An optimiser that gives more rules than allowed is asked once more, and told so.
        """
        first = await self._optimise(current, advice, rejected, NONE, variant)
        if len(first.rules) <= MAX_RULES:
            return first
        note = f"上一次写了 {len(first.rules)} 条，超过了 {MAX_RULES} 条，没有采用。请合并或删去一些。"
        return await self._optimise(current, advice, rejected, note, variant)

    async def rewrite(self, current: RuleSet, examples: Sequence[Label], variant: str) -> Proposed:
        """One rewriting from labelled examples, as a baseline."""
        lines = (
            f"请求：{one.prompt}\n祝福语：{one.greeting}\n定论：{'优秀' if one.good else '不优秀'}"
            for one in examples
        )
        message = self.optimiser.message(
            prompt_file("rewrite"),
            principles=numbered(current.texts),
            examples=Untrusted(_listed(tuple(lines)), "例子"),
            most=str(MAX_RULES),
        )
        answer = await replace(self.optimiser, variant=variant).ask(message, REWRITTEN[:1])
        refuse_lost([answer.kind], Agent.OPTIMISER)
        return _proposed(answer, 0)

    async def _optimise(
        self, current: RuleSet, advice: Sequence[str], rejected: Sequence[str], note: str, variant: str
    ) -> Proposed:
        message = self.optimiser.message(
            prompt_file("optimise_d" if current.role is Role.DETECTOR else "optimise_g"),
            principles=numbered(current.texts),
            advice=Untrusted(_listed(advice), "建议"),
            rejected=Untrusted(_listed(rejected[-MOST_REJECTED:]), "未通过") if rejected else NONE,
            note=note,
            most=str(MAX_RULES),
        )
        answer = await replace(self.optimiser, variant=variant).ask(message, REWRITTEN)
        refuse_lost([answer.kind], Agent.OPTIMISER)
        return _proposed(answer, len(advice))

    async def _confirm(self, case: Planted) -> Answer:
        told = f"片段：{case.place or NONE}\n说明：{case.explanation or NONE}"
        message = self.confirmer.message(
            prompt_file("confirmer"),
            prompt=request(case.prompt),
            greeting=greeting(case.greeting),
            claim=Untrusted(readable(told), "声称") if case.asked else UNCLAIMED,
            flaw=FLAWS[case.flaw],
        )
        return await self.confirmer.ask(message, CONFIRMED)

    async def _reflect(self, label: Label, said: Draft, rules: RuleSet) -> Answer:
        message = self.reflector.message(
            prompt_file("reflector"),
            principles=numbered(rules.texts),
            prompt=request(label.prompt),
            greeting=greeting(label.greeting),
            said=Untrusted(readable(f"判定：{said.value:g}\n理由：{said.reason or NONE}"), "判断"),
            truth="优秀（1）" if label.good else "不优秀（0）",
        )
        return await self.reflector.ask(message, ADVISED)


def _claim(answer: Answer) -> Claim:
    if answer.value is None:
        return Claim(None, answer.reason.zh if answer.reason else "")
    return Claim(answer.value["verdict"] == 1, answer.value.get("explanation", ""))


def _proposed(answer: Answer, advice: int) -> Proposed:
    if answer.value is None:
        return Proposed((), (), answer.raw, answer.reason.zh if answer.reason else "")
    rules = tuple(answer.value["rules"])
    told = answer.value.get("evidence") or []
    everything = tuple(range(advice))
    if len(told) != len(rules):
        return Proposed(rules, (everything,) * len(rules), answer.raw)
    named = (tuple(int(one) - 1 for one in _NUMBERS.findall(line)) for line in told)
    return Proposed(rules, tuple(_known(numbers, everything) for numbers in named), answer.raw)


def _known(numbers: Sequence[int], everything: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(one for one in numbers if one in everything)) or tuple(everything)


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"{number}. {line[:ADVICE]}" for number, line in enumerate(lines, 1))
