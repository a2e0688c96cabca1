"""The principle judge: good or not, under a set of written principles (the method's path B)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from backend.judges.asking import Model, each, greeting, prompt_file, request, sent, trace, why
from backend.judges.base import EMPTY, Draft, Sample, unscored, version_of
from backend.judges.principles import numbered
from backend.llm.fields import explanation, verdict
from backend.llm.messages import ChatMessage
from backend.llm.schema import instruction
from backend.text import squeeze
from backend.vocabulary import Scale

FIELDS = (explanation(hint="一两句话的理由，引用祝福语里的词句"), verdict())


@dataclass(frozen=True)
class PrincipleJudge:
    """Verdict 1 or 0 with an explanation; one call an item."""

    model: Model
    principles: tuple[str, ...]
    name: str = "principle"
    scale: Scale = Scale.BINARY

    @cached_property
    def version(self) -> str:
        """Hash of model, prompt and principles."""
        return version_of(
            {
                "judge": "principle",
                "prompt": prompt_file("principle").hash,
                "principles": self.principles,
                "asked": instruction(FIELDS),
                "model": self.model.identity,
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call."""
        return [sent(self._message(sample), FIELDS)]

    async def score(self, batch: Sequence[Sample]) -> list[Draft]:
        """One verdict per sample. Raises LLMError only where it ends the whole run."""
        return await each(self._one, batch, unscored)

    async def _one(self, sample: Sample) -> Draft:
        if not squeeze(sample.greeting):
            return EMPTY
        answer = await self.model.ask(self._message(sample), FIELDS)
        if answer.value is None:
            return Draft(None, why(answer), trace(answer))
        return Draft(float(answer.value["verdict"]), answer.value.get("explanation", ""), trace(answer))

    def _message(self, sample: Sample) -> ChatMessage:
        return self.model.message(
            prompt_file("principle"),
            principles=numbered(self.principles),
            prompt=request(sample.prompt),
            greeting=greeting(sample.greeting),
        )
