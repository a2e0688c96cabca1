"""Judges that read one greeting under written criteria: principles (good or not) and the rubric (five dimensions)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from backend.core.enums import RUBRIC_WEIGHTS, Scale, is_excellent
from backend.core.errors import UserError
from backend.core.text import strip_white_space
from backend.judges.asking import (
    ItemJudge,
    JudgeModel,
    answer_details,
    failure_reason,
    prompt_template,
    sent_text,
    untrusted_greeting,
    untrusted_request,
)
from backend.judges.base import EMPTY_GREETING, Judgment, Sample, unscored_judgment, version_of
from backend.llm.ask import ask_for_fields
from backend.llm.fields import FieldSpec, explanation_field, integer_field, reply_instruction, verdict_field
from backend.llm.messages import ChatMessage

# As in the published method, where both texts of the game have at most ten rules.
MAX_RULES = 10
MAX_RULE_CHARACTERS = 500
START_FILE = Path(__file__).parent / "prompts" / "principles_start.txt"
# Not before another digit: a rule may begin with a figure such as "3.5".
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
    """The ten rules that a new judge begins with, from `START_FILE`."""
    return parse_principles(START_FILE.read_text(encoding="utf-8"))


def numbered_rules(rules: tuple[str, ...]) -> str:
    """The rules one a line, numbered from 1, as a prompt and an editor show them."""
    return "\n".join(f"{rule_number}. {rule}" for rule_number, rule in enumerate(rules, 1))


# The explanation first: fields are asked for in this order, so the verdict follows from reasons that stand
# already.
PRINCIPLE_FIELDS = (explanation_field(hint="一两句话的理由，引用祝福语里的词句"), verdict_field())
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
ReadVerdict = Callable[[Mapping[str, Any]], tuple[float, dict[str, Any]]]


@dataclass(frozen=True)
class Criteria:
    """What one kind of these judges has that another has not.

    `prompt_name` names the prompt file and stands in the version; `hashed` is what else of the criteria decides
    verdicts; `prompt_values` fill the template beside request and greeting; `read_verdict` turns the fields of a reply
    into the value and what stands beside it.
    """

    prompt_name: str
    scale: Scale
    reply_fields: Sequence[FieldSpec]
    read_verdict: ReadVerdict
    hashed: Mapping[str, Any]
    prompt_values: Mapping[str, str]


@dataclass(frozen=True)
class CriteriaJudge(ItemJudge[Sample, Judgment]):
    """One call an item: an explanation and a value on the scale of the criteria."""

    model: JudgeModel
    criteria: Criteria
    name: str

    @property
    def scale(self) -> Scale:
        """What the values mean."""
        return self.criteria.scale

    @cached_property
    def version(self) -> str:
        """Hash of model, prompt and criteria."""
        return version_of(
            {
                "judge": self.criteria.prompt_name,
                "prompt": prompt_template(self.criteria.prompt_name).template_hash,
                # The words that ask for the fields shape the reply as the prompt does.
                "asked": reply_instruction(self.criteria.reply_fields),
                "model": self.model.identity,
                **self.criteria.hashed,
            }
        )

    def preview(self, sample: Sample) -> list[str]:
        """What would be sent for this sample, call by call."""
        return [sent_text(self.build_message(sample), self.criteria.reply_fields)]

    def build_message(self, sample: Sample) -> ChatMessage:
        """The prompt for one sample."""
        return self.model.build_message(
            prompt_template(self.criteria.prompt_name),
            prompt=untrusted_request(sample.prompt),
            greeting=untrusted_greeting(sample.greeting),
            **self.criteria.prompt_values,
        )

    async def judge_item(self, item: Sample) -> Judgment:
        """The verdict on one sample; unscored where the greeting is empty or no reply can be read."""
        if not strip_white_space(item.greeting):
            return EMPTY_GREETING
        messages, reply_fields = [self.build_message(item)], self.criteria.reply_fields
        answer = await ask_for_fields(self.model.connected_client, messages, reply_fields, **self.model.call_options)
        if answer.field_values is None:
            return Judgment(None, failure_reason(answer), answer_details(answer))
        value, verdict_details = self.criteria.read_verdict(answer.field_values)
        return Judgment(
            value, answer.field_values.get("explanation", ""), {**verdict_details, **answer_details(answer)}
        )

    def unscored(self, reason: str) -> Judgment:
        """No value, and why."""
        return unscored_judgment(reason)


def principle_judge(model: JudgeModel, rules: tuple[str, ...], name: str = "principle") -> CriteriaJudge:
    """The judge that says 1 (good) or 0 under at most ten rules."""
    criteria = Criteria(
        prompt_name="principle",
        scale=Scale.BINARY,
        reply_fields=PRINCIPLE_FIELDS,
        read_verdict=lambda field_values: (float(field_values["verdict"]), {}),
        hashed={"principles": rules},
        prompt_values={"principles": numbered_rules(rules)},
    )
    return CriteriaJudge(model, criteria, name)


def rubric_judge(model: JudgeModel, name: str = "rubric") -> CriteriaJudge:
    """The judge that gives the weighted total, 1 to 3. `details` holds the dimensions and "excellent"."""
    criteria = Criteria(
        prompt_name="rubric",
        scale=Scale.RUBRIC,
        reply_fields=RUBRIC_FIELDS,
        read_verdict=_read_dimensions,
        # With other weights the same five figures are another verdict.
        hashed={"weights": RUBRIC_WEIGHTS},
        prompt_values={},
    )
    return CriteriaJudge(model, criteria, name)


def _read_dimensions(field_values: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    dimensions = {dimension: field_values[dimension] for dimension in RUBRIC_WEIGHTS}
    weighted_total = weighted_mean(dimensions)
    return weighted_total, {"dimensions": dimensions, "excellent": is_excellent(weighted_total, Scale.RUBRIC)}


def weighted_mean(dimension_scores: Mapping[str, int]) -> float:
    """The weighted mean, rounded so that 2 is exactly 2 in spite of binary fractions."""
    return round(sum(weight * dimension_scores[dimension] for dimension, weight in RUBRIC_WEIGHTS.items()), 6)
