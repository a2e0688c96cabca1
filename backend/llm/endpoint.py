"""An OpenAI-compatible endpoint: where it is, which model, what it costs, how hard it may be driven."""

from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr


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
