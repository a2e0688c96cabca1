"""Who writes for the adversarial phase: a model that is instructed to plant a flaw, or a policy trained here."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from backend.core.enums import FLAW_DESCRIPTIONS, Agent
from backend.core.text import digest
from backend.generation.checks import Fault, clean_greeting
from backend.generation.writer import BIGGEST_SEED, GreetingWriter, SamplingSettings, WrittenGreeting
from backend.judges.asking import JudgeModel, gather_all, untrusted_request
from backend.judges.criteria import numbered_rules
from backend.llm.ask import StructuredAnswer, ask_for_fields
from backend.llm.fields import FieldSpec, explanation_field, text_field
from backend.principles.algorithm.draws import UNREADABLE_REPLY, FlawTask, unjudgeable_fault
from backend.principles.algorithm.rules import RuleSet, prompt_file
from backend.principles.algorithm.state import (
    PlantedFlaw,
    refuse_unavailable,
)

GENERATOR_FIELDS: tuple[FieldSpec, ...] = (
    text_field("greeting", "祝福语", "text", hint="祝福语全文"),
    # Not required: a flaw of tone or fit has no single place in the text.
    text_field("place", "片段", "span", hint="缺陷所在的原文片段，逐字照抄", required=False),
    explanation_field(hint="为什么是缺陷，怎样才能看出来"),
)


# The same for every policy, so that a replay asks the same whatever became of its files.
POLICY_SAMPLING = SamplingSettings(temperature=0.8, top_p=0.95, max_tokens=160)


class FlawGenerator(Protocol):
    """Writes a greeting for each task, in order; what came to nothing says why."""

    async def write(self, flaw_tasks: Sequence[FlawTask], rule_set: RuleSet, variant: str) -> list[PlantedFlaw]:
        """Raises LLMError where it ends the run, EndpointUnavailable where the endpoint is gone."""


@dataclass(frozen=True)
class InstructedGenerator:
    """A model that follows instructions: which flaw to plant, and how to hide it."""

    model: JudgeModel

    async def write(self, flaw_tasks: Sequence[FlawTask], rule_set: RuleSet, variant: str) -> list[PlantedFlaw]:
        """One call for each task, all at once; raises as the protocol says."""
        model_answers = await gather_all(
            *(
                self._ask_model(flaw_task, rule_set, f"{variant}-{task_index}")
                for task_index, flaw_task in enumerate(flaw_tasks)
            )
        )
        refuse_unavailable((model_answer.failure_kind for model_answer in model_answers), Agent.GENERATOR)
        return [
            _read_planted_flaw(flaw_task, model_answer)
            for flaw_task, model_answer in zip(flaw_tasks, model_answers, strict=True)
        ]

    async def _ask_model(self, flaw_task: FlawTask, rule_set: RuleSet, variant: str) -> StructuredAnswer:
        message = self.model.build_message(
            prompt_file("generator"),
            principles=numbered_rules(rule_set.texts),
            prompt=untrusted_request(flaw_task.prompt),
            flaw=FLAW_DESCRIPTIONS[flaw_task.flaw],
        )
        call_options = self.model.call_options | {"variant": variant}
        return await ask_for_fields(self.model.connected_client, [message], GENERATOR_FIELDS, **call_options)


@dataclass(frozen=True)
class PolicyGenerator:
    """A trained policy, woken for each phase that needs it: in between it may have gone to rest."""

    open_writer: Callable[[], Awaitable[GreetingWriter]]

    async def write(
        self,
        flaw_tasks: Sequence[FlawTask],
        rule_set: RuleSet,  # noqa: ARG002 (S_G does not reach it)
        variant: str,
    ) -> list[PlantedFlaw]:
        """All at once. Raises UserError too where the policy cannot be woken."""
        # Opened and closed for each phase: between two of them a served policy may rest and be woken
        # elsewhere.
        async with await self.open_writer() as policy_writer:
            written_texts = await gather_all(
                *(
                    _sample_greeting(policy_writer, flaw_task, f"{variant}-{task_index}")
                    for task_index, flaw_task in enumerate(flaw_tasks)
                )
            )
        refuse_unavailable((written_text.kind for written_text in written_texts), Agent.GENERATOR)
        return [
            _unprompted_flaw(flaw_task, written_text)
            for flaw_task, written_text in zip(flaw_tasks, written_texts, strict=True)
        ]


async def _sample_greeting(policy_writer: GreetingWriter, flaw_task: FlawTask, variant: str) -> WrittenGreeting:
    # From the variant, so that a replay asks with the same seeds and another round with others.
    random_seed = int(digest("policy", variant)[:8], 16) % BIGGEST_SEED
    return await policy_writer.write_one(flaw_task.prompt, replace(POLICY_SAMPLING, seed=random_seed))


def _read_planted_flaw(flaw_task: FlawTask, model_answer: StructuredAnswer) -> PlantedFlaw:
    if model_answer.field_values is None:
        # A refusal is the model's decision, anything else its format; whoever reads the log must mend another
        # thing.
        is_refusal = unjudgeable_fault(flaw_task.prompt, model_answer.raw_reply) is Fault.REFUSED
        failure_reason = model_answer.failure_message.zh if model_answer.failure_message else ""
        return PlantedFlaw(
            flaw_task.prompt,
            flaw_task.flaw,
            fault=Fault.REFUSED if is_refusal else UNREADABLE_REPLY,
            note=failure_reason,
        )
    reply_values = model_answer.field_values
    greeting_text, flaw_span = clean_greeting(reply_values["greeting"]), reply_values.get("place", "")
    return PlantedFlaw(
        prompt=flaw_task.prompt,
        flaw=flaw_task.flaw,
        greeting=greeting_text,
        # A place that is not in the text can be neither shown nor checked, and would mislead who confirms.
        place=flaw_span if flaw_span in greeting_text else "",
        explanation=reply_values.get("explanation", ""),
        fault=unjudgeable_fault(flaw_task.prompt, greeting_text) or "",
    )


def _unprompted_flaw(flaw_task: FlawTask, written_text: WrittenGreeting) -> PlantedFlaw:
    if written_text.error is not None:
        return PlantedFlaw(
            # Not asked: the confirmer then looks for a flaw of this kind by itself instead of checking a
            # claim.
            flaw_task.prompt,
            flaw_task.flaw,
            fault=UNREADABLE_REPLY,
            note=written_text.error.zh,
            asked=False,
        )
    greeting_text = clean_greeting(written_text.text)
    greeting_fault = unjudgeable_fault(flaw_task.prompt, greeting_text) or ""
    return PlantedFlaw(flaw_task.prompt, flaw_task.flaw, greeting=greeting_text, fault=greeting_fault, asked=False)
