"""The principle judge: good or not, under a set of written principles (the method's path B)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from backend.judges.asking import (
    JudgeModel,
    answer_details,
    failure_reason,
    process_each,
    prompt_template,
    sent_text,
    untrusted_greeting,
    untrusted_request,
)
from backend.judges.base import EMPTY_GREETING, Judgment, Sample, unscored_judgment, version_of
from backend.judges.principles import numbered_rules
from backend.llm.fields import explanation_field, verdict_field
from backend.llm.messages import ChatMessage
from backend.llm.schema import reply_instruction
from backend.text import strip_white_space
from backend.vocabulary import Scale

REPLY_FIELDS = (explanation_field(hint="一两句话的理由，引用祝福语里的词句"), verdict_field())


@dataclass(frozen=True)
class PrincipleJudge:
    """Verdict 1 or 0 with an explanation; one call an item."""

    model: JudgeModel
    principles: tuple[str, ...]
    name: str = "principle"
    scale: Scale = Scale.BINARY

    @cached_property
    def version(self) -> str:
        """Hash of model, prompt and principles."""
        return version_of(
            {
                "judge": "principle",
                "prompt": prompt_template("principle").template_hash,
                "principles": self.principles,
                "asked": reply_instruction(REPLY_FIELDS),
                "model": self.model.identity,
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call."""
        return [sent_text(self._message(sample), REPLY_FIELDS)]

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One verdict per sample. Raises LLMError only where it ends the whole run."""
        return await process_each(self._judge_sample, samples, unscored_judgment)

    async def _judge_sample(self, sample: Sample) -> Judgment:
        if not strip_white_space(sample.greeting):
            return EMPTY_GREETING
        answer = await self.model.ask_for_fields(self._message(sample), REPLY_FIELDS)
        if answer.field_values is None:
            return Judgment(None, failure_reason(answer), answer_details(answer))
        return Judgment(
            float(answer.field_values["verdict"]),
            answer.field_values.get("explanation", ""),
            answer_details(answer),
        )

    def _message(self, sample: Sample) -> ChatMessage:
        return self.model.build_message(
            prompt_template("principle"),
            principles=numbered_rules(self.principles),
            prompt=untrusted_request(sample.prompt),
            greeting=untrusted_greeting(sample.greeting),
        )
