"""One generator for one run: a prompt in, greetings out, each call limited, retried and in the ledger."""

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from backend.errors import Message
from backend.llm.errors import Kind, LLMError
from backend.llm.fence import neutralised
from backend.llm.messages import ChatMessage, Completion
from backend.llm.prompts import Untrusted, compose, load

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient

BIGGEST_SEED = 2**31 - 1
_PROMPTS = Path(__file__).parent / "prompts"
GREETING, REVISION = load("greeting", _PROMPTS), load("revision", _PROMPTS)
_THOUGHT = re.compile(r"\s*<think>(?:.*?</think>\s*|.*\Z)", re.S)
_OPENING = "<think>"


@dataclass(frozen=True)
class Sampling:
    """How a generator draws. `max_tokens` bounds one greeting, thinking included; seed None draws one."""

    temperature: float = 0.9
    top_p: float = 0.95
    max_tokens: int = 600
    seed: int | None = None


@dataclass(frozen=True)
class Written:
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


class Writer:
    """Made by `GeneratorService.open`; use it in one event loop and close it (`async with`).

    `trained` says that the model learnt from bare requests, so that it gets nothing else.
    """

    def __init__(self, name: str, client: "OpenAIClient", sampling: Sampling, key: bytes, *, trained: bool):
        self.name = name
        self.client = client
        self.sampling = sampling
        self._key = key
        self.trained = trained

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def write(self, prompt: str, n: int = 1, sampling: Sampling | None = None) -> list[Written]:
        """`n` greetings for a prompt, in the order of their seeds (the given seed, the next one, …).

        The same seeds give the same greetings again without a call. A call that fails is a `Written` with
        its sentence. Raises LLMError only where no further call makes sense (key, model, budget, stop).
        """
        chosen = seeded(sampling or self.sampling)
        first = chosen.seed or 0
        draws = [replace(chosen, seed=(first + number) % BIGGEST_SEED) for number in range(n)]
        return list(await asyncio.gather(*(self._settled(prompt, draw) for draw in draws)))

    async def stream(
        self,
        prompt: str,
        tell: Callable[[str], None],
        sampling: Sampling | None = None,
        messages: list[ChatMessage] | None = None,
    ) -> Written:
        """One greeting; `tell` gets the text so far, again and again while it grows.

        `messages` replaces what is asked by default. Raises LLMError, also for a stream that breaks off:
        what was told until then stands.
        """
        drawn, asked = seeded(sampling or self.sampling), messages or self.messages(prompt)
        pieces: list[str] = []

        def grown(piece: str) -> None:
            pieces.append(piece)
            if text := without_thought("".join(pieces)):
                tell(text)

        try:
            completion = await self.client.stream(asked, grown, **_settings(drawn))
        except LLMError as error:
            # `transformers serve` breaks a stream off where single bytes make no character, with an error
            # that need not be JSON; the same seed in one piece gives the text that was coming.
            if error.kind not in (Kind.ERROR_BODY, Kind.NOT_JSON) or not self.trained:
                raise
            completion = await self.client.complete(asked, **_settings(drawn))
        return _written(completion, drawn)

    def messages(self, prompt: str) -> list[ChatMessage]:
        """What is asked: the bare request of a model trained here, else an instruction around it."""
        if self.trained:
            return [ChatMessage("user", neutralised(prompt))]
        return [compose(GREETING, self._key, request=Untrusted(prompt, "请求"))]

    def revision(self, prompt: str, greeting: str, how: str) -> list[ChatMessage]:
        """What is asked for another version; `how` says in Chinese what should be different.

        A model trained here knows requests only, so it gets the wish at the request's end.
        """
        if self.trained:
            return self.messages(f"{prompt}，{how}")
        request, shown = Untrusted(prompt, "请求"), Untrusted(greeting)
        return [compose(REVISION, self._key, how=how, request=request, greeting=shown)]

    async def _settled(self, prompt: str, drawn: Sampling) -> Written:
        try:
            completion = await self.client.complete(self.messages(prompt), **_settings(drawn))
        except LLMError as error:
            if error.ends_run:
                raise
            return Written("", drawn.seed or 0, error.message, error.kind)
        return _written(completion, drawn)


def seeded(sampling: Sampling) -> Sampling:
    """The same with a seed, drawn where there is none."""
    if sampling.seed is not None:
        return sampling
    return replace(sampling, seed=random.SystemRandom().randrange(BIGGEST_SEED))


def without_thought(text: str) -> str:
    """The text without a thinking model's thoughts, also where those have not ended yet."""
    if text and _OPENING.startswith(text.lstrip()):
        return ""
    return _THOUGHT.sub("", text, count=1) if text.lstrip().startswith(_OPENING) else text


def _settings(drawn: Sampling) -> dict[str, Any]:
    return {
        "temperature": drawn.temperature,
        "max_tokens": drawn.max_tokens,
        "seed": drawn.seed,
        "extra": {"top_p": drawn.top_p},
    }


def _written(completion: Completion, drawn: Sampling) -> Written:
    return Written(
        text=without_thought(completion.text).strip(),
        seed=drawn.seed or 0,
        cut=completion.finish_reason == "length",
        cached=completion.cached,
        cost=completion.cost,
        seconds=completion.latency_s,
        call_id=completion.call_id,
    )
