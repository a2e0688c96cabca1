"""The panel: praise and blame in parallel, a judge who weighs both, and a reviewer who may overturn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from backend.core.enums import Scale
from backend.core.errors import UserError
from backend.core.text import strip_white_space
from backend.judges.asking import (
    ItemJudge,
    JudgeModel,
    answer_details,
    failure_reason,
    gather_all,
    prompt_template,
    sent_text,
    shorten_text,
    untrusted_greeting,
    untrusted_request,
)
from backend.judges.base import EMPTY_GREETING, Judgment, Sample, unscored_judgment, version_of
from backend.llm.ask import StructuredAnswer, ask_for_fields
from backend.llm.fields import FieldSpec, explanation_field, reply_instruction, text_list_field, verdict_field
from backend.llm.messages import ChatMessage
from backend.llm.prompts import UntrustedText

PANEL_ROLES = ("positive", "negative", "judge", "reflect")
# What of an agent's list the next one reads: a model in a loop may list thousands, and every one is paid for
# again.
MAX_STATEMENTS, STATEMENT_CHARACTERS = 20, 200
MERIT_FIELDS = (text_list_field("merits", "优点", "positive", "advantages", hint="优点的列表，没有则为空"),)
FAULT_FIELDS = (text_list_field("faults", "缺点", "negative", "problems", hint="缺点的列表，没有则为空"),)
VERDICT_FIELDS = (explanation_field(hint="一两句话的理由，点出采信的关键意见"), verdict_field())
FINAL_FIELDS = (
    # Required: the reviewer may overturn only for a clear reason, and one that gives none has not reviewed.
    explanation_field(hint="维持或推翻初判的理由", required=True),
    verdict_field(hint="最终结论，1 表示优秀，0 表示不优秀"),
)
NONE_TEXT = "（无）"
LATER_TEXT = "（上一步的结果会放在这里）"
NO_FIRST_VERDICT = "（没有初判。请直接根据原文和双方意见给出结论。）"
# Of deciding without a judge; raise it when the rule changes.
COUNTING_RULE = 1
EXAMPLES_TEXT = "（检索到的范例会放在这里）"


class Retriever(Protocol):
    """Liked greetings for similar requests, as examples for the panel."""

    @property
    def version(self) -> str:
        """Hash of what decides its examples; a part of the judge's version."""

    async def examples(self, prompt: str, greeting: str = "") -> Sequence[Sample]:
        """The examples for a request, best first; none is fine.

        `greeting` is the one under judgement: neither it nor a near-duplicate is an example.
        """


@dataclass(frozen=True)
class NoExamples:
    """Retrieves nothing."""

    version: str = ""

    async def examples(self, prompt: str, greeting: str = "") -> Sequence[Sample]:  # noqa: ARG002
        """No example."""
        return ()


@dataclass(frozen=True)
class PanelAgents:
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
class PanelJudge(ItemJudge[Sample, Judgment]):
    """Verdict 1 or 0; up to four calls an item. `details` keeps every statement and both verdicts.

    `others` holds, by role (see PANEL_ROLES), the models of agents that do not ask `model`.
    """

    model: JudgeModel
    agents: PanelAgents = PanelAgents()
    others: Mapping[str, JudgeModel] = field(default_factory=dict)
    retriever: Retriever = field(default_factory=NoExamples)
    name: str = "panel"
    scale: Scale = Scale.BINARY

    @cached_property
    def version(self) -> str:
        """Hash of model, prompts, agents and retrieval."""
        other_identities = {agent_role: agent_model.identity for agent_role, agent_model in sorted(self.others.items())}
        return version_of(
            {
                "judge": "panel",
                "prompts": [prompt_template(f"panel_{role_name}").template_hash for role_name in PANEL_ROLES],
                "agents": [self.agents.positive, self.agents.negative, self.agents.reflect],
                # Named only where it is left out, so that panels of before this choice keep their version.
                **({} if self.agents.judge else {"without": "judge", "rule": COUNTING_RULE}),
                "retriever": self.retriever.version,
                "asked": [
                    reply_instruction(field_specs)
                    for field_specs in (MERIT_FIELDS, FAULT_FIELDS, VERDICT_FIELDS, FINAL_FIELDS)
                ],
                "model": self.model.identity,
                **({"others": other_identities} if other_identities else {}),
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call, as far as it is known beforehand."""
        examples_text = NONE_TEXT if isinstance(self.retriever, NoExamples) else EXAMPLES_TEXT
        panel_case = _PanelCase(self.model, self.others, sample, examples_text)
        previewed_texts = []
        if self.agents.positive:
            previewed_texts.append(sent_text(panel_case.build_message("positive"), MERIT_FIELDS))
        if self.agents.negative:
            previewed_texts.append(sent_text(panel_case.build_message("negative"), FAULT_FIELDS))
        if self.agents.judge:
            previewed_texts.append(sent_text(panel_case.build_message("judge", statements=LATER_TEXT), VERDICT_FIELDS))
        if self.agents.reflect:
            previewed_texts.append(
                sent_text(
                    panel_case.build_message("reflect", statements=LATER_TEXT, first_verdict=LATER_TEXT),
                    FINAL_FIELDS,
                )
            )
        return previewed_texts

    def unscored(self, reason: str) -> Judgment:
        """No value, and why."""
        return unscored_judgment(reason)

    async def judge_item(self, item: Sample) -> Judgment:
        """The panel's verdict on one sample; unscored as soon as one agent gives no usable reply."""
        if not strip_white_space(item.greeting):
            return EMPTY_GREETING
        examples = await self.retriever.examples(item.prompt, item.greeting)
        panel_case = _PanelCase(self.model, self.others, item, _list_examples(examples))
        panel_record = _PanelRecord()
        if examples:
            panel_record.details["examples"] = [[example.prompt, example.greeting] for example in examples]
        for role_label, answers in zip(("褒方", "贬方"), await self._collect_opinions(panel_case), strict=True):
            if panel_record.add_answers(role_label, answers) is None:
                return panel_record.judgment()
        # Behind a fence like the greeting: what agents list quotes it, orders to the judge included.
        statements_text = UntrustedText(_list_statements(panel_record.details), "意见")
        first_verdict: dict[str, Any] | None = None
        first_verdict_text: str | UntrustedText = NO_FIRST_VERDICT
        if self.agents.judge:
            first_verdict = panel_record.add_answers(
                "评审", [await panel_case.ask_for_fields("judge", VERDICT_FIELDS, statements=statements_text)]
            )
            if first_verdict is None:
                return panel_record.judgment()
            panel_record.details["first"] = first_verdict
            first_verdict_text = UntrustedText(
                f"结论：{first_verdict['verdict']}\n理由：{first_verdict.get('explanation', NONE_TEXT)}",
                "初判",
            )
        if not self.agents.reflect:
            return panel_record.judgment(first_verdict or _counted_verdict(panel_record.details))
        final_verdict = panel_record.add_answers(
            "复核",
            [
                await panel_case.ask_for_fields(
                    "reflect", FINAL_FIELDS, statements=statements_text, first_verdict=first_verdict_text
                )
            ],
        )
        if final_verdict is None:
            return panel_record.judgment()
        return (
            panel_record.judgment(final_verdict)
            if first_verdict is None
            else panel_record.judgment(first_verdict, final_verdict)
        )

    async def _collect_opinions(
        self, panel_case: "_PanelCase"
    ) -> tuple[list[StructuredAnswer], list[StructuredAnswer]]:
        active_roles = (self.agents.positive, self.agents.negative)
        # At once: neither side reads the other, and the item takes three calls' time instead of four.
        opinion_calls = [
            panel_case.ask_for_fields(agent_role, field_specs)
            for agent_role, field_specs, is_active in zip(
                ("positive", "negative"), (MERIT_FIELDS, FAULT_FIELDS), active_roles, strict=True
            )
            if is_active
        ]
        answers = iter(await gather_all(*opinion_calls))
        return [next(answers)] if active_roles[0] else [], [next(answers)] if active_roles[1] else []


@dataclass(frozen=True)
class _PanelCase:
    """One greeting before the panel."""

    model: JudgeModel
    others: Mapping[str, JudgeModel]
    sample: Sample
    examples: str | UntrustedText

    def build_message(self, agent_role: str, **more: str | UntrustedText) -> ChatMessage:
        return self.model.build_message(
            prompt_template(f"panel_{agent_role}"),
            prompt=untrusted_request(self.sample.prompt),
            greeting=untrusted_greeting(self.sample.greeting),
            examples=self.examples,
            **more,
        )

    async def ask_for_fields(
        self, agent_role: str, field_specs: Sequence[FieldSpec], **more: str | UntrustedText
    ) -> StructuredAnswer:
        model, message = self.others.get(agent_role, self.model), self.build_message(agent_role, **more)
        return await ask_for_fields(model.connected_client, [message], field_specs, **model.call_options)


class _PanelRecord:
    """The statements and verdicts so far, and the calls that gave them."""

    def __init__(self) -> None:
        self.answers: list[StructuredAnswer] = []
        self.details: dict[str, Any] = {}
        self._failure_text = ""

    def add_answers(self, role_label: str, answers: Sequence[StructuredAnswer]) -> dict[str, Any] | None:
        """Keep the answers of a role (none where it is switched off); None where one failed."""
        self.answers += answers
        for answer in answers:
            if answer.field_values is None:
                self._failure_text = f"{role_label}没有给出可用的答复：{failure_reason(answer)}"
                return None
            self.details |= {
                list_name: answer.field_values[list_name]
                for list_name in ("merits", "faults")
                if list_name in answer.field_values
            }
        # Nothing, and not None, for a role that is switched off: that is no failure.
        return answers[0].field_values if answers else {}

    def judgment(
        self, first_verdict: dict[str, Any] | None = None, final_verdict: dict[str, Any] | None = None
    ) -> Judgment:
        """The judgment from what is there: unscored, the first verdict, or the final one."""
        details = {**self.details, **answer_details(*self.answers)}
        if first_verdict is None or self._failure_text:
            return Judgment(None, self._failure_text, details)
        deciding_verdict = final_verdict or first_verdict
        if final_verdict is not None:
            details |= {
                "final": final_verdict,
                "overturned": final_verdict["verdict"] != first_verdict["verdict"],
            }
        reason_text = deciding_verdict.get("explanation", "")
        if details.get("overturned"):
            reason_text = f"推翻初判：{reason_text}"
        return Judgment(float(deciding_verdict["verdict"]), reason_text, details)


def _counted_verdict(details: dict[str, Any]) -> dict[str, Any]:
    """What the lists alone decide."""
    merit_count, fault_count = len(details.get("merits", ())), len(details.get("faults", ()))
    return {
        "verdict": int(merit_count > fault_count),
        "explanation": f"数出优点 {merit_count} 条、缺点 {fault_count} 条",
    }


def _list_examples(examples: Sequence[Sample]) -> str | UntrustedText:
    if not examples:
        return NONE_TEXT
    example_lines = [
        f"{example_number}. 请求：{example.prompt}\n   祝福语：{example.greeting}"
        for example_number, example in enumerate(examples, 1)
    ]
    return UntrustedText(shorten_text("\n".join(example_lines)), "范例")


def _list_statements(details: dict[str, Any]) -> str:
    role_lists = [("褒方", "merits"), ("贬方", "faults")]
    return (
        "\n".join(
            f"{role_label}：\n{_bullet_list(details[list_key])}"
            for role_label, list_key in role_lists
            if list_key in details
        )
        or NONE_TEXT
    )


def _bullet_list(statements: Sequence[str]) -> str:
    return "\n".join(f"- {statement[:STATEMENT_CHARACTERS]}" for statement in statements[:MAX_STATEMENTS]) or "- 没有"
