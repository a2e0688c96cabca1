"""The one way to ask a model for a greeting: request in, text out, each call limited, retried and in the ledger.

Rooms differ only in the prompt file that asks (`WritingInstructions`), in the sampling, and in whether somebody
watches the text grow (`stream`) or only its end counts (`write`, `write_one`).
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from backend.core.errors import Message
from backend.generation.thoughts import strip_thoughts
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.messages import ChatMessage, Completion
from backend.llm.prompts import PromptTemplate, UntrustedText, compose_message, load_template, neutralise_text

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient

# A signed 32-bit integer is the narrowest type in which a server may keep a seed.
BIGGEST_SEED = 2**31 - 1
_PROMPTS_FOLDER = Path(__file__).parent / "prompts"
GREETING_TEMPLATE, REVISION_TEMPLATE = (
    load_template("greeting", _PROMPTS_FOLDER),
    load_template("revision", _PROMPTS_FOLDER),
)
# The prompt files name this label, and the key of every stored call holds it: another word would ask all anew.
_REQUEST_LABEL = "请求"


@dataclass(frozen=True)
class SamplingSettings:
    """How a generator draws: temperature from 0 to 2, nucleus share `top_p` from 0 to 1, seed (None draws one).

    `max_tokens` bounds one reply, thinking included.
    """

    temperature: float = 0.9
    top_p: float = 0.95
    max_tokens: int = 600
    seed: int | None = None


@dataclass(frozen=True)
class WritingInstructions:
    """How a model that follows instructions is asked: a prompt file, and what fills it beside the request.

    The template holds `{{request}}` and one placeholder for each name in `values`.
    """

    template: PromptTemplate
    values: Mapping[str, str | UntrustedText] = field(default_factory=dict)


# What a visitor's request is asked with.
PLAIN_INSTRUCTIONS = WritingInstructions(GREETING_TEMPLATE)


@dataclass(frozen=True)
class WrittenGreeting:
    """What came of one call: a text, or the sentence why there is none.

    `text` is without a model's thoughts, `raw_text` as the model sent it; `cut` where tokens ran out.
    `seconds` is the time of the call, `cost` in the currency of the endpoint's prices (0 from the ledger).
    """

    text: str
    seed: int
    error: Message | None = None
    # Empty, or the kind of the LLMError: for counting.
    kind: str = ""
    raw_text: str = ""
    cut: bool = False
    cached: bool = False
    cost: float = 0.0
    seconds: float = 0.0
    call_id: str = ""


class GreetingWriter:
    """One generator for one run, as `GeneratorService.open` makes it. Use it in one event loop, and close it.

    `trained` says that the model was trained here, on bare requests: it gets those and nothing else.
    `model_name` is what is stored beside its texts.
    """

    def __init__(
        self,
        name: str,
        client: "OpenAIClient",
        sampling: SamplingSettings,
        fence_key: bytes,
        *,
        trained: bool,
        model_name: str = "",
    ):
        self.name = name
        self.client = client
        self.sampling = sampling
        self._fence_key = fence_key
        self.trained = trained
        self.model_name = model_name

    @property
    def concurrency(self) -> int:
        """Calls that its endpoint takes at a time."""
        return self.client.endpoint.concurrency

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
        """So many greetings for a prompt, in the order of their seeds (the given seed, the next one, …).

        Raises LLMError as `write_one` does.
        """
        seeded_sampling = with_seed(sampling or self.sampling)
        first_seed = seeded_sampling.seed or 0
        # Seeds in a row and not drawn each: with the first one
        # given, the same greetings come again from the ledger.
        draw_seeds = [(first_seed + draw_index) % BIGGEST_SEED for draw_index in range(greeting_count)]
        draws = (self.write_one(prompt_text, replace(seeded_sampling, seed=draw_seed)) for draw_seed in draw_seeds)
        return list(await asyncio.gather(*draws))

    async def write_one(
        self,
        prompt_text: str,
        sampling: SamplingSettings | None = None,
        instructions: WritingInstructions = PLAIN_INSTRUCTIONS,
    ) -> WrittenGreeting:
        """One greeting; the same prompt, instructions and seed give it again without a call.

        A call that fails is a WrittenGreeting with its sentence. Raises LLMError only where no further call
        makes sense (key, model, budget, stop).
        """
        draw_sampling = with_seed(sampling or self.sampling)
        sent_messages = self.messages(prompt_text, instructions)
        try:
            completion = await self.client.complete(sent_messages, **_call_settings(draw_sampling))
        except LLMError as error:
            if error.ends_run:
                raise
            return WrittenGreeting("", draw_sampling.seed or 0, error.message, error.kind)
        return _written_greeting(completion, draw_sampling)

    async def stream(
        self,
        prompt_text: str,
        on_text: Callable[[str], None],
        sampling: SamplingSettings | None = None,
        custom_messages: list[ChatMessage] | None = None,
    ) -> WrittenGreeting:
        """One greeting; `on_text` gets the text so far, again and again while it grows.

        `custom_messages` replace what is asked by default. Raises LLMError, also for a stream that breaks off:
        what `on_text` got until then is all there is. `on_text` may end it by raising LLMError of kind STOPPED.
        """
        draw_sampling = with_seed(sampling or self.sampling)
        sent_messages = custom_messages or self.messages(prompt_text)
        text_pieces: list[str] = []

        def append_piece(text_piece: str) -> None:
            text_pieces.append(text_piece)
            # Nothing is reported while a model only thinks: watchers
            # take the first text for the beginning of the greeting.
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

    def messages(self, prompt_text: str, instructions: WritingInstructions = PLAIN_INSTRUCTIONS) -> list[ChatMessage]:
        """What is sent for a prompt; see `greeting_messages`."""
        return greeting_messages(prompt_text, self._fence_key, trained=self.trained, instructions=instructions)

    def revision(self, prompt_text: str, shown_greeting: str, instruction: str) -> list[ChatMessage]:
        """What is sent for another version; `instruction` says in Chinese what should be different.

        A model trained here knows requests only, so it gets the instruction at the request's end.
        """
        if self.trained:
            return self.messages(f"{prompt_text}，{instruction}")
        revision_values: dict[str, str | UntrustedText] = {
            "how": instruction,
            "greeting": UntrustedText(shown_greeting),
        }
        return self.messages(prompt_text, WritingInstructions(REVISION_TEMPLATE, revision_values))


def greeting_messages(
    prompt_text: str, fence_key: bytes, *, trained: bool, instructions: WritingInstructions = PLAIN_INSTRUCTIONS
) -> list[ChatMessage]:
    """The bare request for a model trained here, else one message: the instructions with the request in a fence.

    Raises ValueError where the template and the values of the instructions do not fit together.
    """
    if trained:
        # Special tokens in a visitor's text would open another turn for the model, fence or not.
        return [ChatMessage("user", neutralise_text(prompt_text))]
    prompt_values = {**instructions.values, "request": UntrustedText(prompt_text, _REQUEST_LABEL)}
    return [compose_message(instructions.template, fence_key, role="user", **prompt_values)]


def with_seed(sampling: SamplingSettings) -> SamplingSettings:
    """The same with a seed, drawn where there is none."""
    if sampling.seed is not None:
        return sampling
    return replace(sampling, seed=random.SystemRandom().randrange(BIGGEST_SEED))


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
        raw_text=completion.text,
        seed=draw_sampling.seed or 0,
        cut=completion.finish_reason == "length",
        cached=completion.cached,
        cost=completion.cost,
        seconds=completion.latency_s,
        call_id=completion.call_id,
    )
