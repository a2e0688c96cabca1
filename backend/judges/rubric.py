"""The rubric judge: five dimensions from 1 to 3, weighted as people are asked to weigh them."""

from collections.abc import Mapping, Sequence
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
from backend.llm.fields import explanation_field, integer_field
from backend.llm.messages import ChatMessage
from backend.llm.schema import reply_instruction
from backend.text import strip_white_space
from backend.vocabulary import RUBRIC_EXCELLENT, RUBRIC_WEIGHTS, Scale

DIMENSION_NAMES = {
    "language": ("语言",),
    "creativity": ("创意", "创造力"),
    "emotion": ("情感", "情意"),
    "culture": ("文化",),
    "richness": ("充实", "丰富", "内容"),
}
REPLY_FIELDS = (
    explanation_field(hint="一两句话的理由，引用祝福语里的词句"),
    *(integer_field(name, 1, 3, *DIMENSION_NAMES[name], hint=DIMENSION_NAMES[name][0]) for name in RUBRIC_WEIGHTS),
)


@dataclass(frozen=True)
class RubricJudge:
    """The weighted total, 1 to 3; one call an item. `details` holds the dimensions and "excellent"."""

    model: JudgeModel
    name: str = "rubric"
    scale: Scale = Scale.RUBRIC

    @cached_property
    def version(self) -> str:
        """Hash of model, prompt and weights."""
        return version_of(
            {
                "judge": "rubric",
                "prompt": prompt_template("rubric").template_hash,
                "weights": RUBRIC_WEIGHTS,
                "asked": reply_instruction(REPLY_FIELDS),
                "model": self.model.identity,
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call."""
        return [sent_text(self._message(sample), REPLY_FIELDS)]

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One total per sample. Raises LLMError only where it ends the whole run."""
        return await process_each(self._judge_sample, samples, unscored_judgment)

    async def _judge_sample(self, sample: Sample) -> Judgment:
        if not strip_white_space(sample.greeting):
            return EMPTY_GREETING
        answer = await self.model.ask_for_fields(self._message(sample), REPLY_FIELDS)
        if answer.field_values is None:
            return Judgment(None, failure_reason(answer), answer_details(answer))
        dimensions = {dimension: answer.field_values[dimension] for dimension in RUBRIC_WEIGHTS}
        weighted_total = weighted_mean(dimensions)
        details = {
            "dimensions": dimensions,
            "excellent": weighted_total >= RUBRIC_EXCELLENT,
            **answer_details(answer),
        }
        return Judgment(weighted_total, answer.field_values.get("explanation", ""), details)

    def _message(self, sample: Sample) -> ChatMessage:
        return self.model.build_message(
            prompt_template("rubric"),
            prompt=untrusted_request(sample.prompt),
            greeting=untrusted_greeting(sample.greeting),
        )


def weighted_mean(dimension_scores: Mapping[str, int]) -> float:
    """The weighted mean, rounded so that 2 is exactly 2 in spite of binary fractions."""
    return round(sum(weight * dimension_scores[dimension] for dimension, weight in RUBRIC_WEIGHTS.items()), 6)
