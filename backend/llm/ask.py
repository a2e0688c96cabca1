"""Ask for named fields: one call, one re-ask that says what was wrong, then a failure with the raw reply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import Message
from backend.llm.copied import repeats
from backend.llm.errors import LLMError
from backend.llm.fields import Field
from backend.llm.messages import ChatMessage, Completion, LLMClient
from backend.llm.parse import ParseFailure, read_object
from backend.llm.schema import instruction, json_schema
from backend.text import digest

_QUOTED = 4_000


@dataclass(frozen=True)
class Answer:
    """What came of one item: the fields, or the reason why there are none. Never both, never neither."""

    value: dict[str, Any] | None
    raw: str
    reason: Message | None
    calls: tuple[Completion, ...]
    kind: str = ""
    """Empty, a ParseFailure's reason or an error's kind: for counting."""

    @property
    def cost(self) -> float:
        """What the calls of this answer cost now (cached ones cost nothing)."""
        return sum(call.cost for call in self.calls)

    @property
    def cached(self) -> bool:
        """Whether no call was needed."""
        return bool(self.calls) and all(call.cached for call in self.calls)


async def ask(
    client: LLMClient,
    messages: Sequence[ChatMessage],
    fields: Sequence[Field],
    *,
    instruct: bool = True,
    temperature: float = 0.0,
    max_tokens: int = 1024,
    seed: int | None = None,
    variant: str = "",
    extra: Mapping[str, Any] | None = None,
) -> Answer:
    """The fields of one reply. `instruct` adds the wished form in words to the last message.

    Raises LLMError only where it ends the run (fatal, budget, cancelled); any other trouble is the
    answer's reason, so that one bad item never stops the others.
    """
    schema = json_schema(fields)
    sent = [*messages[:-1], _instructed(messages[-1], fields)] if instruct else list(messages)
    calls: list[Completion] = []
    failure: ParseFailure | None = None
    try:
        for _ in range(2):
            completion = await client.complete(
                sent,
                schema,
                temperature=temperature,
                max_tokens=max_tokens,
                seed=seed,
                variant=variant,
                extra=extra,
            )
            calls.append(completion)
            read = _read(completion, sent, fields)
            if not isinstance(read, ParseFailure):
                return Answer(read, completion.text, None, tuple(calls))
            failure = read
            sent = [*sent, *_again(completion.text, failure, fields)]
    except LLMError as error:
        if error.ends_run:
            raise
        return Answer(None, calls[-1].text if calls else "", error.message, tuple(calls), error.kind)
    assert failure is not None
    return Answer(None, calls[-1].text, failure.message, tuple(calls), failure.reason)


def _read(
    completion: Completion, sent: Sequence[ChatMessage], fields: Sequence[Field]
) -> dict[str, Any] | ParseFailure:
    """What a reply answers; nothing where it only gives back a part of the question."""
    read = read_object(completion.text, fields, cut=completion.finish_reason == "length")
    if isinstance(read, ParseFailure):
        return read
    asked = "\n".join(message.content for message in sent if message.role != "assistant")
    return ParseFailure("repeated", completion.text) if repeats(completion.text, asked) else read


def _instructed(message: ChatMessage, fields: Sequence[Field]) -> ChatMessage:
    wish = instruction(fields)
    identity = digest(message.identity, wish) if message.identity else ""
    return ChatMessage(message.role, f"{message.content}\n\n{wish}", identity)


def _again(raw: str, failure: ParseFailure, fields: Sequence[Field]) -> list[ChatMessage]:
    wish = f"上一条回复无法使用：{failure.message.zh}请重新作答。\n{instruction(fields)}"
    return [ChatMessage("assistant", raw[:_QUOTED]), ChatMessage("user", wish)]
