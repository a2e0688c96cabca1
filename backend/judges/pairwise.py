"""The pairwise judge: which of two greetings is better, asked in both orders."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backend.judges.asking import Model, greeting, guarded, prompt_file, request, sent, together, trace, why
from backend.judges.base import PairDraft, PairOutcome, PairSample, version_of
from backend.llm.ask import Answer
from backend.llm.fields import choice, explanation
from backend.llm.messages import ChatMessage
from backend.llm.schema import instruction
from backend.text import squeeze

_FIRST = ("甲", "祝福语甲", "祝福甲", "第一条", "前者", "first", "a", "1", "一")
_SECOND = ("乙", "祝福语乙", "祝福乙", "第二条", "后者", "second", "b", "2", "二")
_TIE = ("平", "平手", "平局", "相当", "一样", "一样好", "难分高下", "不分上下", "tie", "draw", "equal", "0")
FIELDS = (
    explanation(hint="一两句话的理由，引用关键的词句"),
    choice(
        "better",
        {**dict.fromkeys(_FIRST, "甲"), **dict.fromkeys(_SECOND, "乙"), **dict.fromkeys(_TIE, "平")},
        "更好",
        "胜者",
        "结论",
        "选择",
        "判定",
        "winner",
        "verdict",
        weak=("答案", "结果", "answer", "result"),
        hint="更好的一条，难分高下时为平",
        tie="平",
    ),
)
_IN_ORDER = {"甲": PairOutcome.A, "乙": PairOutcome.B, "平": PairOutcome.TIE}
_SWAPPED = {"甲": PairOutcome.B, "乙": PairOutcome.A, "平": PairOutcome.TIE}
EMPTY = PairDraft(None, False, ("祝福语为空，无法比较",))
EQUAL = PairDraft(PairOutcome.TIE, False, ("两条祝福语文字相同",))


@dataclass(frozen=True)
class PairwiseJudge:
    """Two calls a pair. A greeting wins only if it wins in both places; opposite winners are a flip."""

    model: Model
    name: str = "pairwise"

    @cached_property
    def version(self) -> str:
        """Hash of model and prompt."""
        return version_of(
            {
                "judge": "pairwise",
                "prompt": prompt_file("pairwise").hash,
                "asked": instruction(FIELDS),
                "model": self.model.identity,
            }
        )

    def preview(self, sample: PairSample) -> list[str]:
        """What would be sent for this pair, call by call."""
        return [sent(message, FIELDS) for message in self._messages(sample)]

    async def compare(self, prompt: str, first: str, second: str) -> PairDraft:
        """The better one, a tie, or unscored. Raises LLMError only where it ends the whole run."""
        return await guarded(self._compare, PairSample(prompt, first, second), _unscored)

    async def _compare(self, sample: PairSample) -> PairDraft:
        if not squeeze(sample.first) or not squeeze(sample.second):
            return EMPTY
        if squeeze(sample.first) == squeeze(sample.second):
            return EQUAL
        answers = await together(*(self.model.ask(message, FIELDS) for message in self._messages(sample)))
        return _combined(*answers)

    def _messages(self, sample: PairSample) -> tuple[ChatMessage, ChatMessage]:
        return (
            self._message(sample.prompt, sample.first, sample.second),
            self._message(sample.prompt, sample.second, sample.first),
        )

    def _message(self, prompt: str, first: str, second: str) -> ChatMessage:
        return self.model.message(
            prompt_file("pairwise"), prompt=request(prompt), first=greeting(first), second=greeting(second)
        )


def _combined(in_order: Answer, swapped: Answer) -> PairDraft:
    details = trace(in_order, swapped)
    if in_order.value is None or swapped.value is None:
        failed = in_order if in_order.value is None else swapped
        return PairDraft(None, False, (why(failed),), details)
    votes = (_IN_ORDER[in_order.value["better"]], _SWAPPED[swapped.value["better"]])
    flip = set(votes) == {PairOutcome.A, PairOutcome.B}
    outcome = votes[0] if votes[0] == votes[1] else PairOutcome.TIE
    reasons = (*_told(in_order.value, "甲为 A"), *_told(swapped.value, "甲为 B"))
    told = ("交换位置后结论相反，按平局计",) if flip else ()
    return PairDraft(outcome, flip, (*told, *reasons), {**details, "votes": [vote.value for vote in votes]})


def _told(value: dict[str, Any], place: str) -> tuple[str, ...]:
    return (f"（{place}）{value['explanation']}",) if value.get("explanation") else ()


def _unscored(reason: str) -> PairDraft:
    return PairDraft(None, False, (reason,))
