"""The agents that write, confirm, reflect and rewrite, and when so many calls fail that a run stops.

The Detector is the `principle` judge itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.enums import FLAW_DESCRIPTIONS, Agent, Role
from backend.judges.asking import JudgeModel, gather_all, shorten_text, untrusted_greeting, untrusted_request
from backend.judges.base import Judgment
from backend.judges.criteria import MAX_RULES, numbered_rules
from backend.llm.ask import StructuredAnswer, ask_for_fields
from backend.llm.fields import FieldSpec, explanation_field, text_field, text_list_field, verdict_field
from backend.llm.prompts import UntrustedText
from backend.principles.algorithm.draws import FlawTask
from backend.principles.algorithm.labels import GameLabel
from backend.principles.algorithm.planting import FlawGenerator
from backend.principles.algorithm.rules import RuleSet, prompt_file
from backend.principles.algorithm.state import FlawConfirmation, PlantedFlaw, refuse_unavailable

NONE_TEXT = "（无）"
# For policies, which were never asked to plant anything and so claim nothing.
UNCLAIMED_FLAW = "没有人说是哪一处：请自己在原文里找这一类缺陷，确实找得到一处才算存在。"
# Rejected rules pile up over the rounds; only the newest go into the prompt, which has to fit the model's
# context.
MAX_ADVICE_LENGTH, MAX_REJECTED_RULES = 300, 20
CONFIRMER_FIELDS: tuple[FieldSpec, ...] = (
    explanation_field(),
    # In doubt 0: an unconfirmed flaw teaches nothing, one confirmed wrongly teaches something false.
    verdict_field(hint="1 表示缺陷确实存在，0 表示不存在或拿不准"),
)
REFLECTOR_FIELDS: tuple[FieldSpec, ...] = (text_field("advice", "建议", "suggestion", hint="一到三句话的修改建议"),)
OPTIMISER_FIELDS: tuple[FieldSpec, ...] = (
    text_list_field("rules", "原则", "策略", "principles", hint="新的一套，每项一条"),
    # Not required: rules without evidence can be tried as well, and small models often leave it out.
    text_list_field("evidence", "依据", hint="与 rules 等长，每项是采纳的序号", required=False),
)
_NUMBER_PATTERN = re.compile(r"\d+")


@dataclass(frozen=True)
class ProposedRules:
    """What an optimiser proposes: rules, and for each the numbers (from 0) of the advice it took up."""

    rules: tuple[str, ...]
    evidence: tuple[tuple[int, ...], ...]
    raw: str
    reason: str = ""


@dataclass(frozen=True)
class GameAgents:
    """The models of the four agents that are no judge. All calls of a list go out at once; answers are
    joined by position. Raises LLMError where it ends the run, EndpointUnavailable where an endpoint is gone."""

    generator: FlawGenerator
    confirmer: JudgeModel
    reflector: JudgeModel
    optimiser: JudgeModel

    async def write(self, flaw_tasks: Sequence[FlawTask], rule_set: RuleSet, variant: str) -> list[PlantedFlaw]:
        """A greeting with a planted flaw for each task; what came to nothing says why."""
        return await self.generator.write(flaw_tasks, rule_set, variant)

    async def confirm(self, planted_flaws: Sequence[PlantedFlaw]) -> list[FlawConfirmation]:
        """Whether each planted flaw is really there."""
        # Joined by position: a number that the model has to echo could come back wrong or not at all.
        model_answers = await gather_all(*map(self._ask_confirmer, planted_flaws))
        # Before the answers are read: where the endpoint is gone, “not there” would be no finding.
        refuse_unavailable((model_answer.failure_kind for model_answer in model_answers), Agent.CONFIRMER)
        return [_read_confirmation(model_answer) for model_answer in model_answers]

    async def reflect(self, missed_labels: Sequence[tuple[GameLabel, Judgment]], rule_set: RuleSet) -> list[str]:
        """Advice on each label that the Detector got wrong; "" where there is none."""
        model_answers = await gather_all(
            *(self._ask_reflector(missed_label, judgment, rule_set) for missed_label, judgment in missed_labels)
        )
        refuse_unavailable((model_answer.failure_kind for model_answer in model_answers), Agent.REFLECTOR)
        return [
            model_answer.field_values["advice"] if model_answer.field_values else "" for model_answer in model_answers
        ]

    async def optimise(
        self, current_rules: RuleSet, advice_texts: Sequence[str], rejected_rules: Sequence[str], variant: str
    ) -> ProposedRules:
        """One new set of rules from all the advice. rejected_rules: tried in vain before.

        An optimiser that gives more rules than allowed is asked once more, with that reason.
        """
        first_proposal = await self._ask_optimiser(current_rules, advice_texts, rejected_rules, NONE_TEXT, variant)
        if len(first_proposal.rules) <= MAX_RULES:
            return first_proposal
        retry_note = f"上一次写了 {len(first_proposal.rules)} 条，超过了 {MAX_RULES} 条，没有采用。请合并或删去一些。"
        # Once: a second set that is too long is refused like any other, and nothing is cut to fit.
        return await self._ask_optimiser(current_rules, advice_texts, rejected_rules, retry_note, variant)

    async def rewrite(self, current_rules: RuleSet, examples: Sequence[GameLabel], variant: str) -> ProposedRules:
        """One rewriting from labelled examples, as a baseline."""
        example_lines = (
            f"请求：{example.prompt}\n祝福语：{example.greeting}\n定论：{'优秀' if example.good else '不优秀'}"
            for example in examples
        )
        message = self.optimiser.build_message(
            prompt_file("rewrite"),
            principles=numbered_rules(current_rules.texts),
            examples=UntrustedText(_numbered_lines(tuple(example_lines)), "例子"),
            most=str(MAX_RULES),
        )
        model_answer = await ask_for_fields(
            self.optimiser.connected_client,
            [message],
            # Without numbered advice there is nothing that evidence could refer to.
            OPTIMISER_FIELDS[:1],
            # The variant is part of the ledger's key, so another round or seed samples anew instead of
            # getting the old answer.
            **self.optimiser.call_options | {"variant": variant},
        )
        refuse_unavailable([model_answer.failure_kind], Agent.OPTIMISER)
        return _read_proposal(model_answer, 0)

    async def _ask_optimiser(
        self,
        current_rules: RuleSet,
        advice_texts: Sequence[str],
        rejected_rules: Sequence[str],
        retry_note: str,
        variant: str,
    ) -> ProposedRules:
        message = self.optimiser.build_message(
            prompt_file("optimise_d" if current_rules.role is Role.DETECTOR else "optimise_g"),
            principles=numbered_rules(current_rules.texts),
            # Advice repeats words of greetings, which may be hostile; it stands in a fence like them.
            advice=UntrustedText(_numbered_lines(advice_texts), "建议"),
            rejected=UntrustedText(_numbered_lines(rejected_rules[-MAX_REJECTED_RULES:]), "未通过")
            if rejected_rules
            else NONE_TEXT,
            note=retry_note,
            most=str(MAX_RULES),
        )
        model_answer = await ask_for_fields(
            self.optimiser.connected_client,
            [message],
            OPTIMISER_FIELDS,
            **self.optimiser.call_options | {"variant": variant},
        )
        refuse_unavailable([model_answer.failure_kind], Agent.OPTIMISER)
        return _read_proposal(model_answer, len(advice_texts))

    async def _ask_confirmer(self, planted_flaw: PlantedFlaw) -> StructuredAnswer:
        claim_text = f"片段：{planted_flaw.place or NONE_TEXT}\n说明：{planted_flaw.explanation or NONE_TEXT}"
        message = self.confirmer.build_message(
            prompt_file("confirmer"),
            prompt=untrusted_request(planted_flaw.prompt),
            greeting=untrusted_greeting(planted_flaw.greeting),
            claim=UntrustedText(shorten_text(claim_text), "声称") if planted_flaw.asked else UNCLAIMED_FLAW,
            flaw=FLAW_DESCRIPTIONS[planted_flaw.flaw],
        )
        call_options = self.confirmer.call_options
        return await ask_for_fields(self.confirmer.connected_client, [message], CONFIRMER_FIELDS, **call_options)

    async def _ask_reflector(self, missed_label: GameLabel, judgment: Judgment, rule_set: RuleSet) -> StructuredAnswer:
        message = self.reflector.build_message(
            prompt_file("reflector"),
            principles=numbered_rules(rule_set.texts),
            prompt=untrusted_request(missed_label.prompt),
            greeting=untrusted_greeting(missed_label.greeting),
            said=UntrustedText(shorten_text(f"判定：{judgment.value:g}\n理由：{judgment.reason or NONE_TEXT}"), "判断"),
            truth="优秀（1）" if missed_label.good else "不优秀（0）",
        )
        call_options = self.reflector.call_options
        return await ask_for_fields(self.reflector.connected_client, [message], REFLECTOR_FIELDS, **call_options)


def _read_confirmation(model_answer: StructuredAnswer) -> FlawConfirmation:
    if model_answer.field_values is None:
        return FlawConfirmation(None, model_answer.failure_message.zh if model_answer.failure_message else "")
    return FlawConfirmation(model_answer.field_values["verdict"] == 1, model_answer.field_values.get("explanation", ""))


def _read_proposal(model_answer: StructuredAnswer, advice_count: int) -> ProposedRules:
    if model_answer.field_values is None:
        return ProposedRules(
            (),
            (),
            model_answer.raw_reply,
            model_answer.failure_message.zh if model_answer.failure_message else "",
        )
    rule_texts = tuple(model_answer.field_values["rules"])
    evidence_lines = model_answer.field_values.get("evidence") or []
    all_indices = tuple(range(advice_count))
    # Which line belongs to which rule is anybody's guess then, so every rule cites all of the advice.
    if len(evidence_lines) != len(rule_texts):
        return ProposedRules(rule_texts, (all_indices,) * len(rule_texts), model_answer.raw_reply)
    cited_groups = (
        # Prompts count from 1.
        tuple(int(number_text) - 1 for number_text in _NUMBER_PATTERN.findall(evidence_line))
        for evidence_line in evidence_lines
    )
    return ProposedRules(
        rule_texts,
        tuple(_adopted_advice(cited_indices, all_indices) for cited_indices in cited_groups),
        model_answer.raw_reply,
    )


def _adopted_advice(cited_indices: Sequence[int], all_indices: Sequence[int]) -> tuple[int, ...]:
    # Numbers that no advice has are dropped; a rule that cites nothing is taken to rest on all of it.
    return tuple(dict.fromkeys(cited_index for cited_index in cited_indices if cited_index in all_indices)) or tuple(
        all_indices
    )


def _numbered_lines(listed_lines: Sequence[str]) -> str:
    return "\n".join(
        f"{line_number}. {listed_line[:MAX_ADVICE_LENGTH]}" for line_number, listed_line in enumerate(listed_lines, 1)
    )
