"""What goes to a model and what comes back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

_UNSTORABLE_CHARACTERS = re.compile("[\x00\ud800-\udfff]")

ChatRole = Literal["system", "user", "assistant"]


def storable_text(raw_text: str) -> str:
    """The text with NUL and lone surrogates made visible: neither UTF-8 nor PostgreSQL takes them."""
    return _UNSTORABLE_CHARACTERS.sub("\ufffd", raw_text)


@dataclass(frozen=True)
class ChatMessage:
    """One message. `identity` is what the cache key hashes instead of the content, where it is given.

    A rendered template carries the hash of template and values there, so that the nonce of its fences
    (which differs from house to house) does not change the key.
    """

    role: ChatRole
    content: str
    identity: str = ""


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of one call; `estimated` where the server did not count them."""

    tokens_in: int = 0
    tokens_out: int = 0
    estimated: bool = False


@dataclass(frozen=True)
class Completion:
    """A reply. `parsed` is set where a schema was asked for and the text is exactly a JSON object."""

    text: str
    call_id: str
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost: float = 0.0
    latency_s: float = 0.0
    finish_reason: str = "stop"
    cached: bool = False
    parsed: dict[str, Any] | None = None


class LLMClient(Protocol):
    """What judges and agents see; `OpenAIClient` is the real one, tests script their own."""

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        schema: Mapping[str, Any] | None = None,
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        variant: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """One reply, from the ledger or from the server.

        `variant` is part of the cache key only: several samples of one prompt need several variants.
        `extra` goes into the request body as it is (`top_p`, `stop`, `reasoning_effort` …).
        Raises LLMError.
        """
