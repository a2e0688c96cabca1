"""Judges that read one greeting under written criteria: principles (good or not) and the rubric (five dimensions)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backend.core.enums import RUBRIC_WEIGHTS, Scale, is_excellent
from backend.core.errors import UserError
from backend.core.text import strip_white_space
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
from backend.llm.fields import explanation_field, integer_field, reply_instruction, verdict_field
from backend.llm.messages import ChatMessage

MAX_RULES = 10
MAX_RULE_CHARACTERS = 500
START_FILE = Path(__file__).parent / "prompts" / "principles_start.txt"
_LIST_MARKER = re.compile(r"^\s*(?:[-*•·]|[（(]?(?:\d{1,2}|[一二三四五六七八九十]{1,2})[.、．)）:：](?!\d))\s*")


def parse_principles(principles_text: str) -> tuple[str, ...]:
    """The rules of a text, one a line; numbers and bullets in front are dropped.

    Raises UserError for none, more than ten, or one that is too long.
    """
    rules = tuple(
        rule for text_line in principles_text.splitlines() if (rule := _LIST_MARKER.sub("", text_line).strip())
    )
    if not rules:
        raise UserError("Write at least one principle, one a line.", "请至少写一条原则，每行一条。")
    if len(rules) > MAX_RULES:
        raise UserError(
            f"There are {len(rules)} principles; at most {MAX_RULES} are allowed: merge or drop some.",
            f"现有 {len(rules)} 条原则，最多 {MAX_RULES} 条，请合并或删去一些。",
        )
    long_rule_number = next(
        (rule_number for rule_number, rule in enumerate(rules, 1) if len(rule) > MAX_RULE_CHARACTERS), None
    )
    if long_rule_number is not None:
        raise UserError(
            f"Principle {long_rule_number} is longer than {MAX_RULE_CHARACTERS} characters; shorten it.",
            f"第 {long_rule_number} 条原则超过 {MAX_RULE_CHARACTERS} 字，请精简。",
        )
    return rules


def starting_principles() -> tuple[str, ...]:
    """Our own ten."""
    return parse_principles(START_FILE.read_text(encoding="utf-8"))


def numbered_rules(rules: tuple[str, ...]) -> str:
    """The rules as a prompt and an editor show them."""
    return "\n".join(f"{rule_number}. {rule}" for rule_number, rule in enumerate(rules, 1))


PRINCIPLE_FIELDS = (explanation_field(hint="一两句话的理由，引用祝福语里的词句"), verdict_field())


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
                "asked": reply_instruction(PRINCIPLE_FIELDS),
                "model": self.model.identity,
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call."""
        return [sent_text(self._message(sample), PRINCIPLE_FIELDS)]

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One verdict per sample. Raises LLMError only where it ends the whole run."""
        return await process_each(self._judge_sample, samples, unscored_judgment)

    async def _judge_sample(self, sample: Sample) -> Judgment:
        if not strip_white_space(sample.greeting):
            return EMPTY_GREETING
        answer = await self.model.ask_for_fields(self._message(sample), PRINCIPLE_FIELDS)
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


DIMENSION_NAMES = {
    "language": ("语言",),
    "creativity": ("创意", "创造力"),
    "emotion": ("情感", "情意"),
    "culture": ("文化",),
    "richness": ("充实", "丰富", "内容"),
}
RUBRIC_FIELDS = (
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
                "asked": reply_instruction(RUBRIC_FIELDS),
                "model": self.model.identity,
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call."""
        return [sent_text(self._message(sample), RUBRIC_FIELDS)]

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One total per sample. Raises LLMError only where it ends the whole run."""
        return await process_each(self._judge_sample, samples, unscored_judgment)

    async def _judge_sample(self, sample: Sample) -> Judgment:
        if not strip_white_space(sample.greeting):
            return EMPTY_GREETING
        answer = await self.model.ask_for_fields(self._message(sample), RUBRIC_FIELDS)
        if answer.field_values is None:
            return Judgment(None, failure_reason(answer), answer_details(answer))
        dimensions = {dimension: answer.field_values[dimension] for dimension in RUBRIC_WEIGHTS}
        weighted_total = weighted_mean(dimensions)
        details = {
            "dimensions": dimensions,
            "excellent": is_excellent(weighted_total, Scale.RUBRIC),
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
