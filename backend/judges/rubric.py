"""The rubric judge: five dimensions from 1 to 3, weighted as people are asked to weigh them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from backend.judges.asking import Model, each, greeting, prompt_file, request, sent, trace, why
from backend.judges.base import EMPTY, Draft, Sample, unscored, version_of
from backend.llm.fields import explanation, integer
from backend.llm.messages import ChatMessage
from backend.llm.schema import instruction
from backend.text import squeeze
from backend.vocabulary import RUBRIC_EXCELLENT, RUBRIC_WEIGHTS, Scale

NAMES = {
    "language": ("语言",),
    "creativity": ("创意", "创造力"),
    "emotion": ("情感", "情意"),
    "culture": ("文化",),
    "richness": ("充实", "丰富", "内容"),
}
FIELDS = (
    explanation(hint="一两句话的理由，引用祝福语里的词句"),
    *(integer(name, 1, 3, *NAMES[name], hint=NAMES[name][0]) for name in RUBRIC_WEIGHTS),
)


@dataclass(frozen=True)
class RubricJudge:
    """The weighted total, 1 to 3; one call an item. `details` holds the dimensions and "excellent"."""

    model: Model
    name: str = "rubric"
    scale: Scale = Scale.RUBRIC

    @cached_property
    def version(self) -> str:
        """Hash of model, prompt and weights."""
        return version_of(
            {
                "judge": "rubric",
                "prompt": prompt_file("rubric").hash,
                "weights": RUBRIC_WEIGHTS,
                "asked": instruction(FIELDS),
                "model": self.model.identity,
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call."""
        return [sent(self._message(sample), FIELDS)]

    async def score(self, batch: Sequence[Sample]) -> list[Draft]:
        """One total per sample. Raises LLMError only where it ends the whole run."""
        return await each(self._one, batch, unscored)

    async def _one(self, sample: Sample) -> Draft:
        if not squeeze(sample.greeting):
            return EMPTY
        answer = await self.model.ask(self._message(sample), FIELDS)
        if answer.value is None:
            return Draft(None, why(answer), trace(answer))
        dimensions = {name: answer.value[name] for name in RUBRIC_WEIGHTS}
        total = weighted(dimensions)
        details = {"dimensions": dimensions, "excellent": total >= RUBRIC_EXCELLENT, **trace(answer)}
        return Draft(total, answer.value.get("explanation", ""), details)

    def _message(self, sample: Sample) -> ChatMessage:
        return self.model.message(
            prompt_file("rubric"), prompt=request(sample.prompt), greeting=greeting(sample.greeting)
        )


def weighted(dimensions: Mapping[str, int]) -> float:
    """The weighted mean, rounded so that 2 is exactly 2 in spite of binary fractions."""
    return round(sum(weight * dimensions[name] for name, weight in RUBRIC_WEIGHTS.items()), 6)
