"""What every judge that asks a language model shares: its model, bounded concurrency, texts made ready."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from backend.errors import UserError
from backend.llm.ask import Answer, ask
from backend.llm.fields import Field
from backend.llm.messages import ChatMessage, LLMClient
from backend.llm.prompts import Template, Untrusted, compose, load
from backend.llm.schema import instruction

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

PARSER = 2
"""Part of every version: raise it when replies are read differently."""
LANES = 256
"""Items of one batch that are worked on at once; the client's own limiter decides what is sent."""
HEAD, TAIL = 2_400, 600
RAW = 4_000
PROMPTS = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Sampling:
    """How the model is asked."""

    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int | None = None


@dataclass(frozen=True)
class Model:
    """What of a model belongs into a judge's version (address, name, sampling), and the way to ask it.

    `key` is the house's key for the nonces of fences. `variant` asks the same again without the cache.
    """

    base_url: str
    model: str
    sampling: Sampling = Sampling()
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
            "parser": PARSER,
        }

    def message(self, template: Template, **values: str | Untrusted) -> ChatMessage:
        """The template with its values, outside text behind fences."""
        return compose(template, self.key, role="user", **values)

    async def ask(self, message: ChatMessage, fields: Sequence[Field]) -> Answer:
        """The fields of one reply. Raises LLMError only where it ends the whole run."""
        assert self.client is not None, "build the judge before it scores"
        how = self.sampling
        return await ask(
            self.client,
            [message],
            fields,
            temperature=how.temperature,
            max_tokens=how.max_tokens,
            seed=how.seed,
            variant=self.variant,
        )


@cache
def prompt_file(name: str) -> Template:
    """A judge's prompt template."""
    return load(name, PROMPTS)


def sent(message: ChatMessage, fields: Sequence[Field]) -> str:
    """The exact text that goes to the model for this message."""
    return f"{message.content}\n\n{instruction(fields)}"


def request(text: str) -> Untrusted:
    """A request for a greeting, as a prompt carries it."""
    return Untrusted(readable(text), "请求")


def greeting(text: str) -> Untrusted:
    """A greeting, as a prompt carries it."""
    return Untrusted(readable(text), "祝福")


def readable(text: str) -> str:
    """The text itself, or its head and tail around a visible mark where it is very long."""
    if len(text) <= HEAD + TAIL:
        return text
    return f"{text[:HEAD]}\n〔原文过长，此处省略 {len(text) - HEAD - TAIL} 字〕\n{text[-TAIL:]}"


async def each(
    work: Callable[[T], Awaitable[R]], items: Sequence[T], failed: Callable[[str], R], lanes: int = LANES
) -> list[R]:
    """`work` of every item in order, at most `lanes` at once; the first error that ends the run stops all.

    What is in flight then is awaited, so that what is paid for stands in the ledger. A mistake of ours in
    one item costs that item alone: it is logged and becomes `failed(reason)`.
    """
    results: dict[int, R] = {}
    numbers = iter(range(len(items)))
    errors: list[UserError] = []

    async def lane() -> None:
        for number in numbers:
            if errors:
                return
            try:
                results[number] = await guarded(work, items[number], failed)
            except UserError as error:
                errors.append(error)

    tasks = [asyncio.create_task(lane()) for _ in range(min(lanes, len(items)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(items))]


async def guarded(work: Callable[[T], Awaitable[R]], item: T, failed: Callable[[str], R]) -> R:
    """`work(item)`; what is no foreseen error is logged and becomes `failed(reason)`."""
    try:
        return await work(item)
    except UserError:
        raise
    except Exception as error:
        log.exception("judging one item failed")
        return failed(f"程序内部出错：{type(error).__name__}")


async def together(*calls: Awaitable[T]) -> list[T]:
    """All calls at once. Each is awaited to its end, so that what is paid for is kept; then errors rise."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def why(answer: Answer) -> str:
    """Why an answer holds no verdict."""
    return answer.reason.zh if answer.reason else "没有结论"


def trace(*answers: Answer) -> dict[str, Any]:
    """What is kept beside a verdict: the calls in the ledger, and the last raw reply."""
    details: dict[str, Any] = {
        "calls": [call.call_id for answer in answers for call in answer.calls],
        "cached": bool(answers) and all(answer.cached for answer in answers),
    }
    if answers and answers[-1].raw:
        details["raw"] = answers[-1].raw[:RAW]
    failure = next((str(answer.kind) for answer in answers if answer.value is None), "")
    return {**details, "failure": failure} if failure else details
