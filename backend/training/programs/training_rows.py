"""Which rows of a snapshot a training can learn from: short enough, whole, and with something to learn in them.

What is left out is counted and reported before anything is trained. Nothing is cut: a greeting without its end teaches
a model not to stop, and two greetings that are equal once they are cut teach nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.core.enums import Split
from backend.core.errors import Message, UserError
from backend.generation.thoughts import holds_thought, remove_thoughts
from backend.training.messages import ROWS_LEFT_OUT, TEMPLATE_DIFFERS
from backend.training.programs import starter_tokenizer
from backend.training.programs.chat_format import (
    PROBE_GREETING,
    PROBE_REQUEST,
    EncodedGreeting,
    encode_exchange,
    encode_greeting,
    find_answer_opening,
    render_exchange,
    render_request,
)
from backend.training.programs.program import TrainingRun
from backend.training.snapshot import DataRow

GREETINGS, PAIRS, REQUESTS = Message("greetings", "条祝福"), Message("pairs", "个偏好对"), Message("requests", "个请求")
RAISE_LENGTH = Message("raise max_length", "请增大 max_length")
TOO_LONG, EQUAL, UNFINISHED, THOUGHTLESS = "too_long", "equal", "unfinished", "thoughtless"
_REASONS = {
    TOO_LONG: Message("{count} longer than {limit} tokens", "{count} 个超过 {limit} 个词元"),
    EQUAL: Message("{count} of two equal greetings", "{count} 个两条祝福相同"),
    UNFINISHED: Message("{count} with nothing after a thought", "{count} 个思考之后没有内容"),
    THOUGHTLESS: Message(
        "{count} without the thoughts that thinking=true would teach", "{count} 个没有 thinking=true 要学的思考过程"
    ),
}


@dataclass(frozen=True)
class EncodedPair:
    """A preference pair in tokens, with the row that it comes from."""

    row: DataRow
    chosen_ids: list[int]
    rejected_ids: list[int]


@dataclass
class RowSelection:
    """Rows of one split on their way into a training; what is left out is counted by reason."""

    kind: Message
    split: Split
    token_limit: int | None
    total: int
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def used(self) -> int:
        """Rows that are learnt from."""
        return self.total - self.left_out.total()

    @property
    def reasons(self) -> Message:
        """What was left out, for people."""
        counted = [(_REASONS[reason], count) for reason, count in self.left_out.items() if count]
        return Message(
            ", ".join(reason.en.format(count=count, limit=self.token_limit) for reason, count in counted),
            "，".join(reason.zh.format(count=count, limit=self.token_limit) for reason, count in counted),
        )

    def report_to(self, training_run: TrainingRun[Any], needed_count: int) -> None:
        """Log what was left out. Raises UserError where fewer than `needed_count` rows are left because of it."""
        self.require(needed_count)
        if not self.left_out.total():
            return
        training_run.report.log(
            ROWS_LEFT_OUT.fill(
                split=self.split.value,
                left_out=self.left_out.total(),
                total=self.total,
                kind_en=self.kind.en,
                kind_zh=self.kind.zh,
                reasons_en=self.reasons.en,
                reasons_zh=self.reasons.zh,
            )
        )

    def require(self, needed_count: int) -> None:
        """Raises UserError where rows were left out and fewer than `needed_count` remain."""
        if self.left_out.total() and self.used < needed_count:
            raise self._too_few(needed_count)

    def _too_few(self, needed_count: int) -> UserError:
        remedy = RAISE_LENGTH if self.left_out[TOO_LONG] else Message("", "")
        if self.left_out[THOUGHTLESS]:
            remedy = Message("set thinking=false", "请设置 thinking=false")
        return UserError(
            f"{self.used} of {self.total} {self.kind.en} can be learnt from, at least {needed_count} are needed "
            f"(left out: {self.reasons.en}); {remedy.en or 'import or label others'}.",
            f"{self.total} {self.kind.zh}中可用的只有 {self.used}，至少需要 {needed_count}"
            f"（未用：{self.reasons.zh}），{remedy.zh or '请另行导入或标注'}。",
        )


def select_greetings(
    training_run: TrainingRun[Any],
    tokenizer: Any,
    split: Split,
    data_rows: Sequence[DataRow],
    token_limit: int | None,
    needed_count: int = 0,
) -> list[EncodedGreeting]:
    """Rows of SFT of at most `token_limit` tokens (None: of any length), in tokens; reports what is left out.

    Raises UserError where fewer than `needed_count` are left.
    """
    selection = RowSelection(GREETINGS, split, token_limit, len(data_rows))
    vocabulary, keeps_thoughts = tokenizer.get_vocab(), training_run.settings.thinking
    learns_empty_thought = keeps_thoughts and _writes_empty_thought(tokenizer)
    encoded_greetings = []
    for data_row in data_rows:
        completion = starter_tokenizer.text_with_plan(data_row, vocabulary)
        greeting = completion if keeps_thoughts else remove_thoughts(completion)
        if not greeting or remove_thoughts(greeting) is None:
            selection.left_out[UNFINISHED] += 1
        elif learns_empty_thought and not holds_thought(greeting):
            selection.left_out[THOUGHTLESS] += 1
        else:
            encoded = encode_greeting(tokenizer, data_row["prompt"], greeting)
            if token_limit is not None and len(encoded.token_ids) > token_limit:
                selection.left_out[TOO_LONG] += 1
            else:
                encoded_greetings.append(encoded)
    selection.report_to(training_run, needed_count)
    return encoded_greetings


def select_pairs(
    training_run: TrainingRun[Any],
    tokenizer: Any,
    split: Split,
    data_rows: Sequence[DataRow],
    token_limit: int,
    needed_count: int = 0,
) -> list[EncodedPair]:
    """Pairs whose two exchanges differ and have at most `token_limit` tokens each; reports what is left out.

    Raises UserError where fewer than `needed_count` are left.
    """
    selection = RowSelection(PAIRS, split, token_limit, len(data_rows))
    encoded_pairs = []
    for data_row in data_rows:
        greetings = [remove_thoughts(data_row[choice]) for choice in ("chosen", "rejected")]
        if not all(greetings):
            selection.left_out[UNFINISHED] += 1
            continue
        chosen_ids, rejected_ids = (
            encode_exchange(tokenizer, data_row["prompt"], str(greeting)) for greeting in greetings
        )
        if chosen_ids == rejected_ids:
            selection.left_out[EQUAL] += 1
        elif max(len(chosen_ids), len(rejected_ids)) > token_limit:
            selection.left_out[TOO_LONG] += 1
        else:
            encoded_pairs.append(EncodedPair(data_row, chosen_ids, rejected_ids))
    selection.report_to(training_run, needed_count)
    return encoded_pairs


def warn_if_template_differs(training_run: TrainingRun[Any], tokenizer: Any) -> None:
    """Report a template that writes an answer's beginning for a model that answers, and not in a row it learns from."""
    request_text = render_request(tokenizer, PROBE_REQUEST)
    exchange_text = render_exchange(tokenizer, PROBE_REQUEST, PROBE_GREETING)
    if not exchange_text.startswith(request_text):
        training_run.report.log(TEMPLATE_DIFFERS.fill(opening=find_answer_opening(tokenizer) or request_text[-20:]))


def _writes_empty_thought(tokenizer: Any) -> bool:
    """Whether the template puts an empty thought before a greeting, and leaves it to a model that answers."""
    request_text = render_request(tokenizer, PROBE_REQUEST)
    answer_text = render_exchange(tokenizer, PROBE_REQUEST, PROBE_GREETING).removeprefix(request_text)
    return "<think>" in answer_text.partition(PROBE_GREETING)[0]
