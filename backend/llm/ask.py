"""Ask for named fields: one call, one re-ask that says what was wrong, then a failure with the raw reply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import Message
from backend.llm.copied import repeats_question
from backend.llm.errors import LLMError
from backend.llm.fields import FieldSpec
from backend.llm.messages import ChatMessage, Completion, LLMClient
from backend.llm.parse import ParseFailure, parse_structured_reply
from backend.llm.schema import json_schema, reply_instruction
from backend.text import digest

_QUOTED_CHARACTERS = 4_000


@dataclass(frozen=True)
class StructuredAnswer:
    """What came of one item: the fields, or the reason why there are none. Never both, never neither."""

    field_values: dict[str, Any] | None
    raw_reply: str
    failure_message: Message | None
    completions: tuple[Completion, ...]
    failure_kind: str = ""
    """Empty, a ParseFailure's reason or an error's kind: for counting."""

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
) -> StructuredAnswer:
    """The fields of one reply. `instruct` adds the wished form in words to the last message.

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
            if not isinstance(parsed_reply, ParseFailure):
                return StructuredAnswer(parsed_reply, completion.text, None, tuple(completions))
            parse_failure = parsed_reply
            sent_messages = [*sent_messages, *_retry_messages(completion.text, parse_failure, field_specs)]
    except LLMError as error:
        if error.ends_run:
            raise
        return StructuredAnswer(
            None, completions[-1].text if completions else "", error.message, tuple(completions), error.kind
        )
    assert parse_failure is not None
    return StructuredAnswer(None, completions[-1].text, parse_failure.message, tuple(completions), parse_failure.reason)


def _parse_completion(
    completion: Completion, sent_messages: Sequence[ChatMessage], field_specs: Sequence[FieldSpec]
) -> dict[str, Any] | ParseFailure:
    """What a reply answers; nothing where it only gives back a part of the question."""
    parsed_fields = parse_structured_reply(
        completion.text, field_specs, is_truncated=completion.finish_reason == "length"
    )
    if isinstance(parsed_fields, ParseFailure):
        return parsed_fields
    question_text = "\n".join(message.content for message in sent_messages if message.role != "assistant")
    return (
        ParseFailure("repeated", completion.text) if repeats_question(completion.text, question_text) else parsed_fields
    )


def _with_instruction(message: ChatMessage, field_specs: Sequence[FieldSpec]) -> ChatMessage:
    instruction_text = reply_instruction(field_specs)
    identity = digest(message.identity, instruction_text) if message.identity else ""
    return ChatMessage(message.role, f"{message.content}\n\n{instruction_text}", identity)


def _retry_messages(raw_reply: str, parse_failure: ParseFailure, field_specs: Sequence[FieldSpec]) -> list[ChatMessage]:
    retry_text = f"上一条回复无法使用：{parse_failure.message.zh}请重新作答。\n{reply_instruction(field_specs)}"
    return [ChatMessage("assistant", raw_reply[:_QUOTED_CHARACTERS]), ChatMessage("user", retry_text)]
