"""One generator for one run: a prompt in, greetings out, each call limited, retried and in the ledger."""

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from backend.core.errors import Message
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.messages import ChatMessage, Completion
from backend.llm.prompts import UntrustedText, compose_message, load_template, neutralise_text

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient

BIGGEST_SEED = 2**31 - 1
_PROMPTS_FOLDER = Path(__file__).parent / "prompts"
GREETING_TEMPLATE, REVISION_TEMPLATE = (
    load_template("greeting", _PROMPTS_FOLDER),
    load_template("revision", _PROMPTS_FOLDER),
)
_THOUGHT_BLOCK = re.compile(r"\s*<think>(?:.*?</think>\s*|.*\Z)", re.S)
_OPENING_TAG = "<think>"


@dataclass(frozen=True)
class SamplingSettings:
    """How a generator draws. `max_tokens` bounds one greeting, thinking included; seed None draws one."""

    temperature: float = 0.9
    top_p: float = 0.95
    max_tokens: int = 600
    seed: int | None = None


@dataclass(frozen=True)
class WrittenGreeting:
    """What came of one call: a text, or the sentence why there is none. `cut` where tokens ran out."""

    text: str
    seed: int
    error: Message | None = None
    kind: str = ""
    """Empty, or the kind of the error: for counting."""
    cut: bool = False
    cached: bool = False
    cost: float = 0.0
    seconds: float = 0.0
    call_id: str = ""


class GreetingWriter:
    """Made by `GeneratorService.open`; use it in one event loop and close it (`async with`).

    `trained` says that the model learnt from bare requests, so that it gets nothing else.
    """

    def __init__(
        self,
        name: str,
        client: "OpenAIClient",
        sampling: SamplingSettings,
        fence_key: bytes,
        *,
        trained: bool,
    ):
        self.name = name
        self.client = client
        self.sampling = sampling
        self._fence_key = fence_key
        self.trained = trained

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def write(
        self, prompt_text: str, greeting_count: int = 1, sampling: SamplingSettings | None = None
    ) -> list[WrittenGreeting]:
        """`n` greetings for a prompt, in the order of their seeds (the given seed, the next one, …).

        The same seeds give the same greetings again without a call. A call that fails is a `Written` with
        its sentence. Raises LLMError only where no further call makes sense (key, model, budget, stop).
        """
        seeded_sampling = with_seed(sampling or self.sampling)
        first_seed = seeded_sampling.seed or 0
        sampling_draws = [
            replace(seeded_sampling, seed=(first_seed + draw_index) % BIGGEST_SEED)
            for draw_index in range(greeting_count)
        ]
        return list(
            await asyncio.gather(*(self._write_one(prompt_text, draw_sampling) for draw_sampling in sampling_draws))
        )

    async def stream(
        self,
        prompt_text: str,
        on_text: Callable[[str], None],
        sampling: SamplingSettings | None = None,
        custom_messages: list[ChatMessage] | None = None,
    ) -> WrittenGreeting:
        """One greeting; `tell` gets the text so far, again and again while it grows.

        `messages` replaces what is asked by default. Raises LLMError, also for a stream that breaks off:
        what was told until then stands.
        """
        draw_sampling, sent_messages = (
            with_seed(sampling or self.sampling),
            custom_messages or self.messages(prompt_text),
        )
        text_pieces: list[str] = []

        def append_piece(text_piece: str) -> None:
            text_pieces.append(text_piece)
            if text_so_far := strip_thoughts("".join(text_pieces)):
                on_text(text_so_far)

        try:
            completion = await self.client.stream(sent_messages, append_piece, **_call_settings(draw_sampling))
        except LLMError as error:
            # `transformers serve` breaks a stream off where single bytes make no character, with an error
            # that need not be JSON; the same seed in one piece gives the text that was coming.
            if error.kind not in (LLMErrorKind.ERROR_BODY, LLMErrorKind.NOT_JSON) or not self.trained:
                raise
            completion = await self.client.complete(sent_messages, **_call_settings(draw_sampling))
        return _written_greeting(completion, draw_sampling)

    def messages(self, prompt_text: str) -> list[ChatMessage]:
        """What is asked: the bare request of a model trained here, else an instruction around it."""
        if self.trained:
            return [ChatMessage("user", neutralise_text(prompt_text))]
        return [compose_message(GREETING_TEMPLATE, self._fence_key, request=UntrustedText(prompt_text, "请求"))]

    def revision(self, prompt_text: str, shown_greeting: str, instruction: str) -> list[ChatMessage]:
        """What is asked for another version; `how` says in Chinese what should be different.

        A model trained here knows requests only, so it gets the wish at the request's end.
        """
        if self.trained:
            return self.messages(f"{prompt_text}，{instruction}")
        request_part, greeting_part = UntrustedText(prompt_text, "请求"), UntrustedText(shown_greeting)
        return [
            compose_message(
                REVISION_TEMPLATE,
                self._fence_key,
                how=instruction,
                request=request_part,
                greeting=greeting_part,
            )
        ]

    async def _write_one(self, prompt_text: str, draw_sampling: SamplingSettings) -> WrittenGreeting:
        try:
            completion = await self.client.complete(self.messages(prompt_text), **_call_settings(draw_sampling))
        except LLMError as error:
            if error.ends_run:
                raise
            return WrittenGreeting("", draw_sampling.seed or 0, error.message, error.kind)
        return _written_greeting(completion, draw_sampling)


def with_seed(sampling: SamplingSettings) -> SamplingSettings:
    """The same with a seed, drawn where there is none."""
    if sampling.seed is not None:
        return sampling
    return replace(sampling, seed=random.SystemRandom().randrange(BIGGEST_SEED))


def strip_thoughts(model_text: str) -> str:
    """The text without a thinking model's thoughts, also where those have not ended yet."""
    if model_text and _OPENING_TAG.startswith(model_text.lstrip()):
        return ""
    return _THOUGHT_BLOCK.sub("", model_text, count=1) if model_text.lstrip().startswith(_OPENING_TAG) else model_text


def _call_settings(draw_sampling: SamplingSettings) -> dict[str, Any]:
    return {
        "temperature": draw_sampling.temperature,
        "max_tokens": draw_sampling.max_tokens,
        "seed": draw_sampling.seed,
        "extra": {"top_p": draw_sampling.top_p},
    }


def _written_greeting(completion: Completion, draw_sampling: SamplingSettings) -> WrittenGreeting:
    return WrittenGreeting(
        text=strip_thoughts(completion.text).strip(),
        seed=draw_sampling.seed or 0,
        cut=completion.finish_reason == "length",
        cached=completion.cached,
        cost=completion.cost,
        seconds=completion.latency_s,
        call_id=completion.call_id,
    )
