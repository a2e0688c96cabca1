"""What every judge that asks a language model shares: its model, bounded concurrency, texts made ready."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from backend.core.errors import UserError
from backend.llm.ask import StructuredAnswer, ask_for_fields
from backend.llm.fields import FieldSpec, reply_instruction
from backend.llm.messages import ChatMessage, LLMClient
from backend.llm.prompts import PromptTemplate, UntrustedText, compose_message, load_template

logger = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

PARSER_REVISION = 2
"""Part of every version: raise it when replies are read differently."""
CONCURRENT_ITEMS = 256
"""Items of one batch that are worked on at once; the client's own limiter decides what is sent."""
HEAD_CHARACTERS, TAIL_CHARACTERS = 2_400, 600
RAW_REPLY_CHARACTERS = 4_000
JUDGE_PROMPTS = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class JudgeSampling:
    """How the model is asked."""

    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int | None = None


@dataclass(frozen=True)
class JudgeModel:
    """What of a model belongs into a judge's version (address, name, sampling), and the way to ask it.

    `key` is the house's key for the nonces of fences. `variant` asks the same again without the cache.
    """

    base_url: str
    model: str
    sampling: JudgeSampling = JudgeSampling()
    key: bytes = field(default=b"", repr=False)
    client: LLMClient | None = None
    variant: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the replies, as plain values."""
        return {
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "temperature": self.sampling.temperature,
            "max_tokens": self.sampling.max_tokens,
            "seed": self.sampling.seed,
            "parser": PARSER_REVISION,
        }

    def build_message(self, template: PromptTemplate, **values: str | UntrustedText) -> ChatMessage:
        """The template with its values, outside text behind fences."""
        return compose_message(template, self.key, role="user", **values)

    async def ask_for_fields(self, message: ChatMessage, field_specs: Sequence[FieldSpec]) -> StructuredAnswer:
        """The fields of one reply. Raises LLMError only where it ends the whole run."""
        assert self.client is not None, "build the judge before it scores"
        sampling = self.sampling
        return await ask_for_fields(
            self.client,
            [message],
            field_specs,
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
            variant=self.variant,
        )


@cache
def prompt_template(prompt_name: str) -> PromptTemplate:
    """A judge's prompt template."""
    return load_template(prompt_name, JUDGE_PROMPTS)


def sent_text(message: ChatMessage, field_specs: Sequence[FieldSpec]) -> str:
    """The exact text that goes to the model for this message."""
    return f"{message.content}\n\n{reply_instruction(field_specs)}"


def untrusted_request(request_text: str) -> UntrustedText:
    """A request for a greeting, as a prompt carries it."""
    return UntrustedText(shorten_text(request_text), "请求")


def untrusted_greeting(greeting_text: str) -> UntrustedText:
    """A greeting, as a prompt carries it."""
    return UntrustedText(shorten_text(greeting_text), "祝福")


def shorten_text(source_text: str) -> str:
    """The text itself, or its head and tail around a visible mark where it is very long."""
    if len(source_text) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return source_text
    return f"{source_text[:HEAD_CHARACTERS]}\n〔原文过长，此处省略 {len(source_text) - HEAD_CHARACTERS - TAIL_CHARACTERS} 字〕\n{source_text[-TAIL_CHARACTERS:]}"


async def process_each(
    process_item: Callable[[T], Awaitable[R]],
    items: Sequence[T],
    failure_result: Callable[[str], R],
    lane_count: int = CONCURRENT_ITEMS,
) -> list[R]:
    """`work` of every item in order, at most `lanes` at once; the first error that ends the run stops all.

    What is in flight then is awaited, so that what is paid for stands in the ledger. A mistake of ours in
    one item costs that item alone: it is logged and becomes `failed(reason)`.
    """
    item_results: dict[int, R] = {}
    item_numbers = iter(range(len(items)))
    ending_errors: list[UserError] = []

    async def work_lane() -> None:
        for item_number in item_numbers:
            if ending_errors:
                return
            try:
                item_results[item_number] = await run_guarded(process_item, items[item_number], failure_result)
            except UserError as error:
                ending_errors.append(error)

    lane_tasks = [asyncio.create_task(work_lane()) for _ in range(min(lane_count, len(items)))]
    try:
        await asyncio.gather(*lane_tasks)
    finally:
        for lane_task in lane_tasks:
            lane_task.cancel()
        await asyncio.gather(*lane_tasks, return_exceptions=True)
    if ending_errors:
        raise ending_errors[0]
    return [item_results[number] for number in range(len(items))]


async def run_guarded(process_item: Callable[[T], Awaitable[R]], item: T, failure_result: Callable[[str], R]) -> R:
    """`work(item)`; what is no foreseen error is logged and becomes `failed(reason)`."""
    try:
        return await process_item(item)
    except UserError:
        raise
    except Exception as error:
        logger.exception("judging one item failed")
        return failure_result(f"程序内部出错：{type(error).__name__}")


async def gather_all(*calls: Awaitable[T]) -> list[T]:
    """All calls at once. Each is awaited to its end, so that what is paid for is kept; then errors rise."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def failure_reason(answer: StructuredAnswer) -> str:
    """Why an answer holds no verdict."""
    return answer.failure_message.zh if answer.failure_message else "没有结论"


def answer_details(*answers: StructuredAnswer) -> dict[str, Any]:
    """What is kept beside a verdict: the calls in the ledger, and the last raw reply."""
    details: dict[str, Any] = {
        "calls": [completion.call_id for answer in answers for completion in answer.completions],
        "cached": bool(answers) and all(answer.all_cached for answer in answers),
    }
    if answers and answers[-1].raw_reply:
        details["raw"] = answers[-1].raw_reply[:RAW_REPLY_CHARACTERS]
    failure_kind = next((str(answer.failure_kind) for answer in answers if answer.field_values is None), "")
    return {**details, "failure": failure_kind} if failure_kind else details
