"""What goes to a model and what comes back, and the endpoint it goes to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import SecretStr

_UNSTORABLE_CHARACTERS = re.compile("[\x00\ud800-\udfff]")

ChatRole = Literal["system", "user", "assistant"]


def storable_text(raw_text: str) -> str:
    """The text with NUL and lone surrogates made visible: neither UTF-8 nor PostgreSQL takes them."""
    return _UNSTORABLE_CHARACTERS.sub("\ufffd", raw_text)


@dataclass(frozen=True)
class ChatMessage:
    """One message. `identity` is what the cache key hashes instead of the content, where it is given.

    A rendered template carries the hash of template and values there, so that the nonce of its fences
    (which differs from one installation to the next) does not change the key.
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
        `extra` goes into the request body as it is ("top_p", "stop", "reasoning_effort" …).
        Raises LLMError.
        """


class SchemaMode(StrEnum):
    """Whether the server takes `response_format: json_schema`; AUTO tries once and remembers."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


@dataclass(frozen=True)
class Endpoint:
    """One model at one server. Prices are per million tokens; `timeout_s` bounds one attempt as a whole.

    `artifact` names a model trained here: it stays the same wherever it is served, so the ledger goes by it.
    """

    name: str
    base_url: str
    model: str
    api_key: SecretStr = field(default=SecretStr(""), repr=False)
    price_in: float = 0.0
    price_out: float = 0.0
    # Where the limiter begins, and its ceiling; an overloaded server brings it down from there.
    concurrency: int = 16
    timeout_s: float = 60.0
    supports_schema: SchemaMode = SchemaMode.AUTO
    artifact: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """What decides the replies: address and model, or the artifact."""
        return (self.artifact, "") if self.artifact else (self.base_url, self.model)

    @property
    def display_name(self) -> str:
        """How sentences for people name the endpoint."""
        return f"{self.name} ({self.model} at {self.base_url})"

    def cost_of_tokens(self, tokens_in: int, tokens_out: int) -> float:
        """What these tokens cost, in the currency of the prices."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6
