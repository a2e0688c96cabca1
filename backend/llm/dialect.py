"""What a server was found not to take; shared by every client of the endpoint in this process."""

import re
import threading
from collections.abc import Mapping
from typing import Any

from backend.llm.endpoint import Endpoint, SchemaMode
from backend.llm.limiter import AdaptiveLimiter

_ABOUT_SCHEMA = re.compile(r"response_format|json_schema|structured|guided|grammar", re.I)
_UNSUPPORTED = re.compile(
    r"unsupported|not support|unexpected|unknown|unrecognized|not permitted|extra", re.I
)
_OPTIONAL = ("seed", "temperature", "top_p", "stream_options")


class Dialect:
    """Learns from refused requests: whether schemas work, the token limit's name, what to leave out."""

    def __init__(self, mode: SchemaMode) -> None:
        self.mode = mode
        self._trying = False
        self._tokens_field = "max_tokens"
        self._left_out: set[str] = set()

    def wants_schema(self) -> bool:
        """Whether to send the schema now. In AUTO one call tries it while the others do without."""
        if self.mode is SchemaMode.AUTO and not self._trying:
            self._trying = True
            return True
        return self.mode is SchemaMode.YES

    def settle(self, body: Mapping[str, Any], *, accepted: bool | None) -> None:
        """What came of a request that may have carried the schema; None where it says nothing."""
        if "response_format" in body and self.mode is SchemaMode.AUTO:
            self._trying = False
            if accepted is not None:
                self.mode = SchemaMode.YES if accepted else SchemaMode.NO

    def spoken(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request as this server takes it."""
        said = {name: value for name, value in body.items() if name not in self._left_out}
        if self._tokens_field != "max_tokens" and "max_tokens" in said:
            said[self._tokens_field] = said.pop("max_tokens")
        return said

    def adapt(self, complaint: str, body: Mapping[str, Any], *, required_schema: bool) -> bool:
        """Learn from a refusal; True where the same request is worth sending again in the new dialect."""
        if "response_format" in body and not required_schema and _ABOUT_SCHEMA.search(complaint):
            self.settle(body, accepted=False)
            self.mode = SchemaMode.NO
            return True
        if "max_tokens" in body and "max_completion_tokens" in complaint:
            self._tokens_field = "max_completion_tokens"
            return True
        refused = [name for name in _OPTIONAL if name in body and name in complaint]
        if refused and _UNSUPPORTED.search(complaint):
            self._left_out.update(refused)
            return True
        return False


class Shared:
    """The limiter and the dialect of one model at one address."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.limiter = AdaptiveLimiter(endpoint.concurrency)
        self.dialect = Dialect(endpoint.supports_schema)


_SHARED: dict[tuple[str, str, str], Shared] = {}
_LOCK = threading.Lock()


def shared(endpoint: Endpoint) -> Shared:
    """The one `Shared` of this endpoint in this process."""
    key = (endpoint.base_url, endpoint.model, endpoint.supports_schema)
    with _LOCK:
        found = _SHARED.setdefault(key, Shared(endpoint))
    found.limiter.resize(endpoint.concurrency)
    return found
