"""What a server was found not to take; shared by every client of the endpoint in this process."""

import re
import threading
from collections.abc import Mapping
from typing import Any

from backend.llm.endpoint import Endpoint, SchemaMode
from backend.llm.limiter import AdaptiveLimiter

_SCHEMA_COMPLAINT = re.compile(r"response_format|json_schema|structured|guided|grammar", re.I)
_UNSUPPORTED_COMPLAINT = re.compile(
    r"unsupported|not support|unexpected|unknown|unrecognized|not permitted|extra", re.I
)
_OPTIONAL_PARAMETERS = ("seed", "temperature", "top_p", "stream_options")


class Dialect:
    """Learns from refused requests: whether schemas work, the token limit's name, what to leave out."""

    def __init__(self, schema_mode: SchemaMode) -> None:
        self.schema_mode = schema_mode
        self._trial_running = False
        self._token_limit_field = "max_tokens"
        self._omitted_parameters: set[str] = set()

    def wants_schema(self) -> bool:
        """Whether to send the schema now. In AUTO one call tries it while the others do without."""
        if self.schema_mode is SchemaMode.AUTO and not self._trial_running:
            self._trial_running = True
            return True
        return self.schema_mode is SchemaMode.YES

    def settle_schema_trial(self, request_body: Mapping[str, Any], *, schema_accepted: bool | None) -> None:
        """What came of a request that may have carried the schema; None where it says nothing."""
        if "response_format" in request_body and self.schema_mode is SchemaMode.AUTO:
            self._trial_running = False
            if schema_accepted is not None:
                self.schema_mode = SchemaMode.YES if schema_accepted else SchemaMode.NO

    def adapted_body(self, request_body: Mapping[str, Any]) -> dict[str, Any]:
        """The request as this server takes it."""
        adapted = {
            parameter: parameter_value
            for parameter, parameter_value in request_body.items()
            if parameter not in self._omitted_parameters
        }
        if self._token_limit_field != "max_tokens" and "max_tokens" in adapted:
            adapted[self._token_limit_field] = adapted.pop("max_tokens")
        return adapted

    def learn_from_refusal(self, complaint: str, request_body: Mapping[str, Any], *, schema_required: bool) -> bool:
        """Learn from a refusal; True where the same request is worth sending again in the new dialect."""
        if "response_format" in request_body and not schema_required and _SCHEMA_COMPLAINT.search(complaint):
            self.settle_schema_trial(request_body, schema_accepted=False)
            self.schema_mode = SchemaMode.NO
            return True
        if "max_tokens" in request_body and "max_completion_tokens" in complaint:
            self._token_limit_field = "max_completion_tokens"
            return True
        refused_parameters = [
            parameter for parameter in _OPTIONAL_PARAMETERS if parameter in request_body and parameter in complaint
        ]
        if refused_parameters and _UNSUPPORTED_COMPLAINT.search(complaint):
            self._omitted_parameters.update(refused_parameters)
            return True
        return False


class EndpointState:
    """The limiter and the dialect of one model at one address."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.limiter = AdaptiveLimiter(endpoint.concurrency)
        self.dialect = Dialect(endpoint.supports_schema)


_ENDPOINT_STATES: dict[tuple[str, str, str], EndpointState] = {}
_STATES_LOCK = threading.Lock()


def endpoint_state_of(endpoint: Endpoint) -> EndpointState:
    """The one `Shared` of this endpoint in this process."""
    endpoint_key = (endpoint.base_url, endpoint.model, endpoint.supports_schema)
    with _STATES_LOCK:
        endpoint_state = _ENDPOINT_STATES.setdefault(endpoint_key, EndpointState(endpoint))
    endpoint_state.limiter.resize(endpoint.concurrency)
    return endpoint_state
