"""The connection test: one sentence that says what works or what is wrong."""

import time
from dataclasses import dataclass, replace

from backend.errors import Message
from backend.llm.client import OpenAIClient
from backend.llm.endpoint import Endpoint
from backend.llm.errors import Kind, LLMError
from backend.llm.messages import ChatMessage, storable
from backend.llm.retry import RetryPolicy
from backend.llm.transport import Transport

_SHOWN = 8
_LONG = 80


@dataclass(frozen=True)
class Probe:
    """Whether the endpoint works, and the sentence about it."""

    ok: bool
    message: Message


async def test_connection(endpoint: Endpoint) -> Message:
    """The sentence of `probe`."""
    return (await probe(endpoint)).message


async def probe(endpoint: Endpoint, timeout_s: float = 15.0) -> Probe:
    """Ask for one word, once. Never raises for anything the server does."""
    limited = replace(endpoint, timeout_s=min(timeout_s, endpoint.timeout_s))
    began = time.perf_counter()
    try:
        async with OpenAIClient(limited, policy=RetryPolicy(attempts=1)) as client:
            await client.complete([ChatMessage("user", "请只回复：好")], max_tokens=16)
    except LLMError as error:
        if error.kind is Kind.EMPTY:  # a thinking model that used up its few tokens does answer
            return _works(endpoint, time.perf_counter() - began)
        return Probe(False, await _wrong(limited, error))
    return _works(endpoint, time.perf_counter() - began)


def _works(endpoint: Endpoint, seconds: float) -> Probe:
    return Probe(
        True,
        Message(
            f"{endpoint.model} at {endpoint.base_url} answers, in {seconds:.2f} s.",
            f"{endpoint.base_url} 的 {endpoint.model} 可用，用时 {seconds:.2f} 秒。",
        ),
    )


async def _wrong(endpoint: Endpoint, error: LLMError) -> Message:
    if error.kind is not Kind.UNKNOWN_MODEL:
        return error.message
    names = await _offered(endpoint)
    if not names:
        return error.message
    shown = ", ".join(storable(" ".join(name.split())[:_LONG]) for name in names[:_SHOWN]) + (
        " …" if len(names) > _SHOWN else ""
    )
    return Message(
        f'{endpoint.base_url} does not know the model "{endpoint.model}"; it offers: {shown}.',
        f"{endpoint.base_url} 没有模型“{endpoint.model}”，可用的有：{shown}。",
    )


async def _offered(endpoint: Endpoint) -> list[str]:
    transport = Transport(endpoint)
    try:
        return await transport.models(endpoint.timeout_s)
    except LLMError:
        return []
    finally:
        await transport.close()
