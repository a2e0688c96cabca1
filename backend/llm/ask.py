"""Ask for named fields: one call, one re-ask that says what was wrong, then a failure with its reason. Replies are read
tolerantly in form and strictly in value."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.core.errors import Message
from backend.core.text import digest
from backend.llm.errors import LLMError
from backend.llm.fields import FieldSpec, explanation_field, json_schema, reply_instruction, verdict_field
from backend.llm.loose_json import objects
from backend.llm.messages import ChatMessage, Completion, LLMClient
from backend.llm.phrases import InvalidValue
from backend.llm.quotations import copied_field, repeats_question, unwrap_quotation, without_echo, without_thoughts
from backend.llm.reply_fields import ReplyReader

# Of a longer reply only the end is read: the verdict comes last, and reading must not take seconds an item.
MAX_REPLY_CHARACTERS = 40_000
_FAILURE_SENTENCES = {
    "empty": ("The reply is empty.", "回复是空的。"),
    "truncated": ("The reply was cut off before its verdict.", "回复在给出结论之前被截断。"),
    "no_answer": ("The reply holds no answer in the form asked for.", "回复中没有所要求形式的结论。"),
    "missing": ('The reply lacks "{field}".', "回复缺少“{field}”。"),
    "conflicting": (
        'The reply gives values of "{field}" that disagree.',
        "回复给出的“{field}”互相矛盾。",
    ),
    "unclear": (
        'The reply says more about "{field}" than one clear value.',
        "回复中的“{field}”不是一个明确的取值，还带着别的意思。",
    ),
    "out_of_range": ('"{field}" in the reply is outside its scale.', "回复中的“{field}”超出了规定范围。"),
    "copied": (
        'The reply copied the format and did not fill in "{field}".',
        "回复照抄了格式，没有填写“{field}”。",
    ),
    "repeated": ("The reply only repeats what was asked.", "回复只是重复了提问。"),
    "not_a_choice": (
        '"{field}" in the reply is none of the allowed values.',
        "回复中的“{field}”不是允许的取值。",
    ),
    "no_order": (
        'The reply does not give one clear order in "{field}".',
        "回复中的“{field}”没有给出明确的顺序。",
    ),
}


@dataclass(frozen=True)
class ParseFailure:
    """Why a reply could not be read; `reason` is a key for counting, `raw_reply` the reply as it came."""

    reason: str
    raw_reply: str
    field_name: str = ""

    @property
    def message(self) -> Message:
        """One sentence for people, and for the model that is asked again."""
        en, zh = _FAILURE_SENTENCES[self.reason]
        return Message(en.format(field=self.field_name), zh.format(field=self.field_name))


ParsedReply = dict[str, Any] | ParseFailure


def parse_verdict_reply(reply_text: str, *, is_truncated: bool = False) -> dict[str, Any] | ParseFailure:
    """`{"verdict": 0 | 1, "explanation": str}` (the explanation where there is one)."""
    return parse_structured_reply(reply_text, [verdict_field(), explanation_field()], is_truncated=is_truncated)


def parse_structured_reply(
    reply_text: str, field_specs: Sequence[FieldSpec], *, is_truncated: bool = False
) -> dict[str, Any] | ParseFailure:
    """The fields of a reply, by name, or why there are none.

    `is_truncated` means that the reply ended at the token limit: then only what stands in an object that reaches the
    end, or in labels at line starts, is believed. A copy of the format that was asked for is no answer.
    """

    def reread_values(remaining_text: str) -> dict[str, Any] | None:
        reparsed_fields = _parse_fields(remaining_text, field_specs, is_truncated)
        return None if isinstance(reparsed_fields, ParseFailure) else reparsed_fields

    parsed_fields = _parse_fields(reply_text, field_specs, is_truncated)
    field_values = None if isinstance(parsed_fields, ParseFailure) else parsed_fields
    copied_name = copied_field(
        _answer_text(reply_text[-MAX_REPLY_CHARACTERS:], field_specs),
        field_specs,
        field_values,
        reread_values,
    )
    return parsed_fields if copied_name is None else ParseFailure("copied", reply_text, copied_name)


def _parse_fields(
    reply_text: str, field_specs: Sequence[FieldSpec], is_truncated: bool
) -> dict[str, Any] | ParseFailure:
    answer_text = _answer_text(reply_text[-MAX_REPLY_CHARACTERS:], field_specs)
    if not answer_text:
        return ParseFailure("truncated" if is_truncated else "empty", reply_text)
    reply_reader = ReplyReader(answer_text, field_specs, is_truncated)
    field_values: dict[str, Any] = {}
    for field_spec in field_specs:
        field_value = reply_reader.read_field(field_spec)
        if isinstance(field_value, InvalidValue):
            return ParseFailure(field_value.reason, reply_text, field_spec.name)
        if field_value is not None:
            field_values[field_spec.name] = field_value
        elif field_spec.required:
            return ParseFailure(_absence_reason(reply_reader, is_truncated), reply_text, field_spec.name)
    return field_values


def _absence_reason(reply_reader: ReplyReader, is_truncated: bool) -> str:
    if is_truncated:
        return "truncated"
    return "missing" if reply_reader.own_objects else "no_answer"


def _answer_text(reply_text: str, field_specs: Sequence[FieldSpec]) -> str:
    """The reply without its thinking, an echo of the format, and quotation marks around the whole of it."""
    object_spans = (
        [(json_object.start, json_object.end) for json_object in objects(reply_text)] if "<" in reply_text else []
    )
    return without_echo(_decode_json_string(unwrap_quotation(without_thoughts(reply_text, object_spans))), field_specs)


def _decode_json_string(answer_text: str) -> str:
    """The text of a reply that is one JSON string."""
    if not answer_text.startswith('"'):
        return answer_text
    try:
        # Not strict, since models write line feeds into strings as they are.
        decoded_value = json.loads(answer_text, strict=False)
    except ValueError:
        return answer_text
    return decoded_value.strip() if isinstance(decoded_value, str) else answer_text


# Of an unreadable reply, what goes back to the model: a long one would cost its tokens a second time.
_QUOTED_CHARACTERS = 4_000


@dataclass(frozen=True)
class StructuredAnswer:
    """What came of one item: the fields, or the reason why there are none. Never both, never neither."""

    field_values: dict[str, Any] | None
    raw_reply: str
    failure_message: Message | None
    completions: tuple[Completion, ...]
    # Empty, a ParseFailure's reason or an error's kind: for counting.
    failure_kind: str = ""

    @property
    def total_cost(self) -> float:
        """What the calls of this answer cost now (cached ones cost nothing)."""
        return sum(completion.cost for completion in self.completions)

    @property
    def all_cached(self) -> bool:
        """Whether no call was needed."""
        return bool(self.completions) and all(completion.cached for completion in self.completions)


async def ask_for_fields(
    client: LLMClient,
    messages: Sequence[ChatMessage],
    field_specs: Sequence[FieldSpec],
    *,
    add_instruction: bool = True,
    temperature: float = 0.0,
    max_tokens: int = 1024,
    seed: int | None = None,
    variant: str = "",
    extra: Mapping[str, Any] | None = None,
    interpret: Callable[[ParsedReply, str], ParsedReply] | None = None,
) -> StructuredAnswer:
    """The fields of one reply; a reply that cannot be read is asked for once more, with what was wrong with it.

    `add_instruction` adds the form of the reply in words to the last message. `interpret` has the last word on a reply:
    it gets what was read of it and its text, and gives the fields, or why they are of no use.

    Raises LLMError only where it ends the run (fatal, budget, cancelled); any other trouble is the
    answer's reason, so that one bad item never stops the others.
    """
    schema = json_schema(field_specs)
    sent_messages = (
        [*messages[:-1], _with_instruction(messages[-1], field_specs)] if add_instruction else list(messages)
    )
    completions: list[Completion] = []
    parse_failure: ParseFailure | None = None
    try:
        # Once more and no third time: each is paid for, and what two replies do not give is unscored.
        for _ in range(2):
            completion = await client.complete(
                sent_messages,
                schema,
                temperature=temperature,
                max_tokens=max_tokens,
                seed=seed,
                variant=variant,
                extra=extra,
            )
            completions.append(completion)
            parsed_reply = _parse_completion(completion, sent_messages, field_specs)
            if interpret is not None:
                parsed_reply = interpret(parsed_reply, completion.text)
            if not isinstance(parsed_reply, ParseFailure):
                return StructuredAnswer(parsed_reply, completion.text, None, tuple(completions))
            parse_failure = parsed_reply
            # The reply itself goes back too, so that the model sees which words were of no use.
            sent_messages = [*sent_messages, *_retry_messages(completion.text, parse_failure, field_specs)]
    except LLMError as error:
        # Of any other error the calls that came before it are kept: they stand in the ledger and were paid
        # for.
        if error.ends_run:
            raise
        return StructuredAnswer(
            None, completions[-1].text if completions else "", error.message, tuple(completions), error.kind
        )
    assert parse_failure is not None
    return StructuredAnswer(None, completions[-1].text, parse_failure.message, tuple(completions), parse_failure.reason)


def _parse_completion(
    completion: Completion, sent_messages: Sequence[ChatMessage], field_specs: Sequence[FieldSpec]
) -> ParsedReply:
    """What a reply answers; nothing where it only gives back a part of the question."""
    parsed_fields = parse_structured_reply(
        completion.text, field_specs, is_truncated=completion.finish_reason == "length"
    )
    if isinstance(parsed_fields, ParseFailure):
        return parsed_fields
    # Without the model's own earlier reply: to stand by its verdict is no echo of the question.
    question_text = "\n".join(message.content for message in sent_messages if message.role != "assistant")
    return (
        ParseFailure("repeated", completion.text) if repeats_question(completion.text, question_text) else parsed_fields
    )


def _with_instruction(message: ChatMessage, field_specs: Sequence[FieldSpec]) -> ChatMessage:
    instruction_text = reply_instruction(field_specs)
    # The instruction belongs to the prompt: with other fields it is another request, whatever the template.
    identity = digest(message.identity, instruction_text) if message.identity else ""
    return ChatMessage(message.role, f"{message.content}\n\n{instruction_text}", identity)


def _retry_messages(raw_reply: str, parse_failure: ParseFailure, field_specs: Sequence[FieldSpec]) -> list[ChatMessage]:
    retry_text = f"上一条回复无法使用：{parse_failure.message.zh}请重新作答。\n{reply_instruction(field_specs)}"
    return [ChatMessage("assistant", raw_reply[:_QUOTED_CHARACTERS]), ChatMessage("user", retry_text)]
