"""What every judge that asks a language model shares: its model, batches of items, texts made ready."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from backend.core.errors import UserError
from backend.llm.ask import StructuredAnswer
from backend.llm.fields import FieldSpec, reply_instruction
from backend.llm.messages import ChatMessage, LLMClient
from backend.llm.prompts import PromptTemplate, PromptValue, UntrustedText, compose_message, load_template

logger = logging.getLogger(__name__)
T = TypeVar("T")
ItemT = TypeVar("ItemT")
VerdictT = TypeVar("VerdictT")

# Part of every judge's version: raise it when replies are read differently, else old and new verdicts are
# mixed.
PARSER_REVISION = 2
# Items of one batch that are open at once. It bounds memory and nothing else: the limiter of the client decides
# how many requests are sent, and no endpoint takes more at a time, so none waits for a judge.
OPEN_ITEMS = 1_024
# Of a very long text, what a prompt shows of its beginning and of its end.
HEAD_CHARACTERS, TAIL_CHARACTERS = 2_400, 600
# Of a raw reply, what stands beside the verdict; the ledger has all of it.
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

    `key` derives the nonces of the fences around outside text. `variant` asks the same again without the cache.
    `client` is None until the judge is built: versions and prompts are needed without a connection.
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
            # Neither the endpoint's name nor its key: to rename it or to renew the key makes no other judge.
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "temperature": self.sampling.temperature,
            "max_tokens": self.sampling.max_tokens,
            "seed": self.sampling.seed,
            "parser": PARSER_REVISION,
        }

    def build_message(self, template: PromptTemplate, **values: PromptValue) -> ChatMessage:
        """The template with its values, outside text behind fences."""
        return compose_message(template, self.key, role="user", **values)

    @property
    def connected_client(self) -> LLMClient:
        """The client that asks; there is one once the judge is built (`registry.build_judge`)."""
        assert self.client is not None, "build the judge before it scores"
        return self.client

    @property
    def call_options(self) -> dict[str, Any]:
        """How `ask_for_fields` is to ask: sampling and variant."""
        sampling = self.sampling
        return {
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
            "variant": self.variant,
        }


# Read once: the hash is a part of every version, and versions are asked for at every page.
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
    omitted_count = len(source_text) - HEAD_CHARACTERS - TAIL_CHARACTERS
    if omitted_count <= 0:
        return source_text
    # The model is to see that something is missing, else it would judge a text that breaks off.
    omission_mark = f"〔原文过长，此处省略 {omitted_count} 字〕"
    return f"{source_text[:HEAD_CHARACTERS]}\n{omission_mark}\n{source_text[-TAIL_CHARACTERS:]}"


class ItemJudge(ABC, Generic[ItemT, VerdictT]):
    """A judge that asks about one item (a sample or a pair) after the other; a batch of them is dealt with here."""

    @abstractmethod
    async def judge_item(self, item: ItemT) -> VerdictT:
        """The verdict on one item. Raises LLMError only where it ends the whole run."""

    @abstractmethod
    def unscored(self, reason: str) -> VerdictT:
        """What an item gets that has no verdict, with the reason in Chinese."""

    async def score(self, items: Sequence[ItemT]) -> list[VerdictT]:
        """One verdict per item, in their order. Raises the first error that ends the whole run.

        What is in flight then is awaited, so that what is paid for stands in the ledger. A mistake of ours in
        one item costs that item alone: it is logged, and the item is unscored.
        """
        verdicts: list[VerdictT] = []
        for start in range(0, len(items), OPEN_ITEMS):
            open_items = map(self.judge_item, items[start : start + OPEN_ITEMS])
            # With exceptions as results: gather would otherwise return at the first one and leave paid calls
            # running.
            results = await asyncio.gather(*open_items, return_exceptions=True)
            verdicts += [self._checked_verdict(result) for result in results]
        return verdicts

    def _checked_verdict(self, result: VerdictT | BaseException) -> VerdictT:
        if not isinstance(result, BaseException):
            return result
        # A UserError concerns every item (budget, key), and a cancellation is for the whole run.
        if isinstance(result, UserError) or not isinstance(result, Exception):
            raise result
        logger.error("judging one item failed", exc_info=result)
        return self.unscored(f"程序内部出错：{type(result).__name__}")


async def gather_all(*calls: Awaitable[T]) -> list[T]:
    """The results of all calls, made at once, in their order. Raises the first error.

    Each call is awaited to its end before that: what is paid for must stand in the ledger.
    """
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def failure_reason(answer: StructuredAnswer) -> str:
    """Why an answer holds no verdict."""
    return answer.failure_message.zh if answer.failure_message else "没有结论"


def answer_details(*answers: StructuredAnswer) -> dict[str, Any]:
    """What stands beside a verdict: the ids of its calls in the ledger, whether all came from there, the last raw
    reply, and under "failure" the kind of the first failure where there is one."""
    details: dict[str, Any] = {
        "calls": [completion.call_id for answer in answers for completion in answer.completions],
        "cached": bool(answers) and all(answer.all_cached for answer in answers),
    }
    if answers and answers[-1].raw_reply:
        details["raw"] = answers[-1].raw_reply[:RAW_REPLY_CHARACTERS]
    failure_kind = next((str(answer.failure_kind) for answer in answers if answer.field_values is None), "")
    return {**details, "failure": failure_kind} if failure_kind else details
