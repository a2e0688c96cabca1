"""The pairwise judge: which of two greetings is better, asked in both orders."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backend.core.text import strip_white_space
from backend.judges.asking import (
    ItemJudge,
    JudgeModel,
    answer_details,
    failure_reason,
    gather_all,
    prompt_template,
    sent_text,
    untrusted_greeting,
    untrusted_request,
)
from backend.judges.base import PairJudgment, PairOutcome, PairSample, version_of
from backend.llm.ask import StructuredAnswer, ask_for_fields
from backend.llm.fields import choice_field, explanation_field, reply_instruction
from backend.llm.messages import ChatMessage

_FIRST_WORDS = ("甲", "祝福语甲", "祝福甲", "第一条", "前者", "first", "a", "1", "一")
_SECOND_WORDS = ("乙", "祝福语乙", "祝福乙", "第二条", "后者", "second", "b", "2", "二")
_TIE_WORDS = (
    "平",
    "平手",
    "平局",
    "相当",
    "一样",
    "一样好",
    "难分高下",
    "不分上下",
    "tie",
    "draw",
    "equal",
    "0",
)
REPLY_FIELDS = (
    explanation_field(hint="一两句话的理由，引用关键的词句"),
    choice_field(
        "better",
        {
            **dict.fromkeys(_FIRST_WORDS, "甲"),
            **dict.fromkeys(_SECOND_WORDS, "乙"),
            **dict.fromkeys(_TIE_WORDS, "平"),
        },
        "更好",
        "胜者",
        "结论",
        "选择",
        "判定",
        "winner",
        "verdict",
        weak_names=("答案", "结果", "answer", "result"),
        hint="更好的一条，难分高下时为平",
        tie_value="平",
    ),
)
_OUTCOME_IN_ORDER = {"甲": PairOutcome.A, "乙": PairOutcome.B, "平": PairOutcome.TIE}
_OUTCOME_SWAPPED = {"甲": PairOutcome.B, "乙": PairOutcome.A, "平": PairOutcome.TIE}
EMPTY_PAIR = PairJudgment(None, False, ("祝福语为空，无法比较",))
# No call: between equal texts a model could only prefer a place.
EQUAL_PAIR = PairJudgment(PairOutcome.TIE, False, ("两条祝福语文字相同",))


@dataclass(frozen=True)
class PairwiseJudge(ItemJudge[PairSample, PairJudgment]):
    """Two calls a pair. A greeting wins only if it wins in both places; opposite winners are a flip."""

    model: JudgeModel
    name: str = "pairwise"

    @cached_property
    def version(self) -> str:
        """Hash of model and prompt."""
        return version_of(
            {
                "judge": "pairwise",
                "prompt": prompt_template("pairwise").template_hash,
                "asked": reply_instruction(REPLY_FIELDS),
                "model": self.model.identity,
            }
        )

    def preview(self, sample: PairSample) -> list[str]:
        """What would be sent for this pair, call by call."""
        return [sent_text(message, REPLY_FIELDS) for message in self._ordered_messages(sample)]

    async def judge_item(self, item: PairSample) -> PairJudgment:
        """The better one, a tie, or unscored. Raises LLMError only where it ends the whole run."""
        first_text, second_text = strip_white_space(item.first_greeting), strip_white_space(item.second_greeting)
        if not first_text or not second_text:
            return EMPTY_PAIR
        if first_text == second_text:
            return EQUAL_PAIR
        client, call_options = self.model.connected_client, self.model.call_options
        answers = await gather_all(
            *(
                ask_for_fields(client, [message], REPLY_FIELDS, **call_options)
                for message in self._ordered_messages(item)
            )
        )
        return _combine_answers(*answers)

    def unscored(self, reason: str) -> PairJudgment:
        """No outcome, and why."""
        return PairJudgment(None, False, (reason,))

    def _ordered_messages(self, sample: PairSample) -> tuple[ChatMessage, ChatMessage]:
        return (
            self._build_message(sample.prompt, sample.first_greeting, sample.second_greeting),
            self._build_message(sample.prompt, sample.second_greeting, sample.first_greeting),
        )

    def _build_message(self, prompt: str, first_greeting: str, second_greeting: str) -> ChatMessage:
        return self.model.build_message(
            prompt_template("pairwise"),
            prompt=untrusted_request(prompt),
            first=untrusted_greeting(first_greeting),
            second=untrusted_greeting(second_greeting),
        )


def _combine_answers(answer_in_order: StructuredAnswer, answer_swapped: StructuredAnswer) -> PairJudgment:
    details = answer_details(answer_in_order, answer_swapped)
    # The other order alone is no verdict: nobody would know whether the place decided.
    if answer_in_order.field_values is None or answer_swapped.field_values is None:
        failed_answer = answer_in_order if answer_in_order.field_values is None else answer_swapped
        return PairJudgment(None, False, (failure_reason(failed_answer),), details)
    votes = (
        _OUTCOME_IN_ORDER[answer_in_order.field_values["better"]],
        _OUTCOME_SWAPPED[answer_swapped.field_values["better"]],
    )
    is_flip = set(votes) == {PairOutcome.A, PairOutcome.B}
    # A win beside a tie is a tie too, but no flip: the two orders do not contradict each other.
    outcome = votes[0] if votes[0] == votes[1] else PairOutcome.TIE
    reasons = (
        *_position_explanation(answer_in_order.field_values, "甲为 A"),
        *_position_explanation(answer_swapped.field_values, "甲为 B"),
    )
    flip_notes = ("交换位置后结论相反，按平局计",) if is_flip else ()
    return PairJudgment(outcome, is_flip, (*flip_notes, *reasons), {**details, "votes": [vote.value for vote in votes]})


def _position_explanation(field_values: dict[str, Any], position_note: str) -> tuple[str, ...]:
    return (f"（{position_note}）{field_values['explanation']}",) if field_values.get("explanation") else ()
