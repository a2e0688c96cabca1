"""The connection test: one sentence that says what works or what is wrong."""

import time
from dataclasses import dataclass, replace

from backend.errors import Message
from backend.llm.client import OpenAIClient
from backend.llm.endpoint import Endpoint
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.messages import ChatMessage, storable_text
from backend.llm.retry import RetryPolicy
from backend.llm.transport import Transport

_SHOWN_MODELS = 8
_LONGEST_NAME = 80


@dataclass(frozen=True)
class ProbeResult:
    """Whether the endpoint works, and the sentence about it."""

    ok: bool
    message: Message


async def test_connection(endpoint: Endpoint) -> Message:
    """The sentence of `probe`."""
    return (await probe_endpoint(endpoint)).message


async def probe_endpoint(endpoint: Endpoint, timeout_s: float = 15.0) -> ProbeResult:
    """Ask for one word, once. Never raises for anything the server does."""
    limited_endpoint = replace(endpoint, timeout_s=min(timeout_s, endpoint.timeout_s))
    start_time = time.perf_counter()
    try:
        async with OpenAIClient(limited_endpoint, policy=RetryPolicy(attempts=1)) as client:
            await client.complete([ChatMessage("user", "请只回复：好")], max_tokens=16)
    except LLMError as error:
        if error.kind is LLMErrorKind.EMPTY:  # a thinking model that used up its few tokens does answer
            return _success_result(endpoint, time.perf_counter() - start_time)
        return ProbeResult(False, await _failure_message(limited_endpoint, error))
    return _success_result(endpoint, time.perf_counter() - start_time)


def _success_result(endpoint: Endpoint, elapsed_s: float) -> ProbeResult:
    return ProbeResult(
        True,
        Message(
            f"{endpoint.model} at {endpoint.base_url} answers, in {elapsed_s:.2f} s.",
            f"{endpoint.base_url} 的 {endpoint.model} 可用，用时 {elapsed_s:.2f} 秒。",
        ),
    )


async def _failure_message(endpoint: Endpoint, error: LLMError) -> Message:
    if error.kind is not LLMErrorKind.UNKNOWN_MODEL:
        return error.message
    model_names = await _offered_models(endpoint)
    if not model_names:
        return error.message
    shown_names = ", ".join(
        storable_text(" ".join(model_name.split())[:_LONGEST_NAME]) for model_name in model_names[:_SHOWN_MODELS]
    ) + (" …" if len(model_names) > _SHOWN_MODELS else "")
    return Message(
        f'{endpoint.base_url} does not know the model "{endpoint.model}"; it offers: {shown_names}.',
        f"{endpoint.base_url} 没有模型“{endpoint.model}”，可用的有：{shown_names}。",
    )


async def _offered_models(endpoint: Endpoint) -> list[str]:
    transport = Transport(endpoint)
    try:
        return await transport.list_models(endpoint.timeout_s)
    except LLMError:
        return []
    finally:
        await transport.close()
