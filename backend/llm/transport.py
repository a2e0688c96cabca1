"""One attempt at one call: the official SDK sends, the reply becomes a document or a typed error; what a server does
not take is remembered for the endpoint."""

import asyncio
import json
import re
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx2
import openai

from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.failures import complaint_in_body, error_from_network, error_from_status, redact_complaint
from backend.llm.limiter import AdaptiveLimiter
from backend.llm.messages import Endpoint, SchemaMode
from backend.llm.reply import MAX_VALUES, ServerReply, StreamedReply, error_without_choices, parse_document, parse_reply
from backend.llm.reply_limits import (
    LIST_BYTES,
    MAX_REDIRECTS,
    chat_byte_limit,
    embeddings_byte_limit,
    guard_response,
    limit_reply,
)
from backend.llm.usage import ReportedUsage, usage_in_document

CHAT_PATH = "/chat/completions"


class RequestRefusal(Exception):
    """A 400 or 422, with the server's words: perhaps another dialect of the same request is taken."""

    def __init__(self, error: LLMError, complaint: str) -> None:
        super().__init__(complaint)
        self.error = error
        self.complaint = complaint


@cache
def _trusted_certificates() -> ssl.SSLContext:
    """The certificates that are believed, read once: reading them takes longer than most calls."""
    return httpx2.create_ssl_context()


class Transport:
    """An SDK client with its own retries switched off: those of `CallAttempts` are the only ones."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        api_key = endpoint.api_key.get_secret_value()
        if not (api_key.isascii() and (api_key.isprintable() or not api_key)) or " " in api_key:
            raise LLMError(LLMErrorKind.UNAUTHORISED, endpoint.display_name, "the key holds characters that no key has")
        # Connecting ends before the whole call does: it must be distinguished from a request that may be billed.
        connect_timeout = min(10.0, 0.8 * endpoint.timeout_s)
        # No limit for the pool: to wait for a connection of our own is no fault of the server.
        call_timeout = httpx2.Timeout(endpoint.timeout_s, connect=connect_timeout, pool=None)
        self._sdk_client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            # Servers without keys ignore it; an empty one would make the SDK look into the environment.
            api_key=api_key or "none",
            # Empty and not left out: the SDK would take these from the environment and send them to any
            # server.
            admin_api_key="",
            organization="",
            project="",
            # Two layers of retries would multiply, and the inner one would pass limiter, budget and ledger
            # by.
            max_retries=0,
            timeout=call_timeout,
            # No compression is asked for: replies are short, and a hostile one would unfold to gigabytes.
            default_headers={"Accept-Encoding": "identity"},
            http_client=openai.DefaultAsyncHttpxClient(
                verify=_trusted_certificates(),
                timeout=call_timeout,
                max_redirects=MAX_REDIRECTS,
                event_hooks={"response": [guard_response]},
            ),
        )

    async def exchange(
        self,
        api_path: str,
        timeout_s: float,
        byte_limit: int,
        *,
        request_body: Mapping[str, Any] | None = None,
        max_values: int = MAX_VALUES,
    ) -> dict[str, Any]:
        """The JSON object that answers one request (a POST where it has a body), at most `byte_limit` bytes of it.

        Ends after `timeout_s` whatever the server does. Raises LLMError or RequestRefusal.
        """
        failure: LLMError | RequestRefusal
        try:
            # httpx limits each read: a server that sends a byte now and then would never be left.
            async with asyncio.timeout(timeout_s):
                with limit_reply(byte_limit):
                    response: httpx2.Response = (
                        await self._sdk_client.get(api_path, cast_to=httpx2.Response)
                        if request_body is None
                        else await self._sdk_client.post(api_path, cast_to=httpx2.Response, body=dict(request_body))
                    )
            return parse_document(self._endpoint, response.content, max_values)
        except openai.APIStatusError as error:
            failure = self._status_error(error)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            failure = error_from_network(self._endpoint, error)
        # Raised here, outside the handler, so that no SDK object with its headers hangs on our error.
        raise failure

    async def stream(
        self, request_body: Mapping[str, Any], timeout_s: float, on_piece: Callable[[str], None]
    ) -> ServerReply:
        """One request whose reply comes in pieces, each passed on at once. Raises LLMError or RequestRefusal.

        An error after the first piece is not worth a retry and says so. A server that knows no streams
        and answers in one document is taken as it is.
        """
        piece_passed = False

        def pass_piece_on(text_piece: str) -> None:
            nonlocal piece_passed
            piece_passed = True
            on_piece(text_piece)

        streamed_reply = StreamedReply(self._endpoint, pass_piece_on)
        try:
            async with self._open_stream(request_body, timeout_s) as event_stream:
                if "event-stream" not in event_stream.response.headers.get("content-type", ""):
                    reply_bytes = await event_stream.response.aread()
                    whole_reply = parse_reply(self._endpoint, parse_document(self._endpoint, reply_bytes))
                    pass_piece_on(whole_reply.text)
                    return whole_reply
                async for stream_event in event_stream:
                    streamed_reply.add_event(stream_event)
                return streamed_reply.whole_reply()
        except LLMError as error:
            error.retryable = error.retryable and not piece_passed
            if error.billed and error.reported_usage is None:
                error.reported_usage = streamed_reply.usage_so_far
            raise

    async def request_embeddings(
        self, request_body: Mapping[str, Any], timeout_s: float, vector_width: int
    ) -> dict[str, Any]:
        """The document of vectors, at most `vector_width` wide, for the texts of the body.

        Raises LLMError or RequestRefusal.
        """
        text_count = len(request_body["input"])
        byte_limit = embeddings_byte_limit(text_count, vector_width)
        max_values = MAX_VALUES + text_count * vector_width
        document = await self.exchange(
            "/embeddings", timeout_s, byte_limit, request_body=request_body, max_values=max_values
        )
        if "error" in document:
            raise error_without_choices(self._endpoint, document)
        return document

    async def list_models(self, timeout_s: float) -> list[str]:
        """The names of the models the server offers. Raises LLMError."""
        model_entries = (await self.exchange("/models", timeout_s, LIST_BYTES)).get("data")
        model_rows = model_entries if isinstance(model_entries, list) else []
        return [str(model_row["id"]) for model_row in model_rows if isinstance(model_row, dict) and "id" in model_row]

    async def close(self) -> None:
        """Close every connection."""
        await self._sdk_client.close()

    @asynccontextmanager
    async def _open_stream(
        self, request_body: Mapping[str, Any], timeout_s: float
    ) -> AsyncIterator[openai.AsyncStream[Any]]:
        failure: LLMError | RequestRefusal
        try:
            async with asyncio.timeout(timeout_s):
                with limit_reply(chat_reply_limit(request_body)):
                    event_stream: openai.AsyncStream[Any] = await self._sdk_client.post(
                        CHAT_PATH,
                        cast_to=object,
                        body=dict(request_body),
                        stream=True,
                        stream_cls=openai.AsyncStream[Any],
                    )
                try:
                    yield event_stream
                finally:
                    # A stream that is left early would hold its connection until the server ends it.
                    await event_stream.close()
                return
        except openai.APIStatusError as error:
            failure = self._status_error(error)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            failure = error_from_network(self._endpoint, error)
        except openai.APIError as error:  # an error inside the stream
            redacted_complaint = redact_complaint(self._endpoint, complaint_in_body(error.body, error.message))
            failure = LLMError(LLMErrorKind.ERROR_BODY, self._endpoint.display_name, redacted_complaint)
        except (ValueError, RecursionError):
            failure = LLMError(LLMErrorKind.NOT_JSON, self._endpoint.display_name, "not JSON")
        raise failure

    def _status_error(self, error: openai.APIStatusError) -> LLMError | RequestRefusal:
        complaint = complaint_in_body(error.body, error.response.text[:2000])
        failure = error_from_status(self._endpoint, error.status_code, complaint, error.response.headers)
        failure.reported_usage = _usage_in_error(error.response.content)
        return RequestRefusal(failure, complaint) if error.status_code in (400, 422) else failure


def chat_reply_limit(request_body: Mapping[str, Any]) -> int:
    """The most bytes that the reply to a chat request is read to, by the tokens it may have."""
    return chat_byte_limit(request_body.get("max_tokens") or request_body.get("max_completion_tokens"))


def _usage_in_error(body_bytes: bytes) -> ReportedUsage | None:
    """What the body of an error says was used, None where it says nothing."""
    try:
        document = json.loads(body_bytes)
    except (ValueError, RecursionError):
        return None
    reported_usage = usage_in_document(document) if isinstance(document, dict) else ReportedUsage()
    return None if reported_usage.is_unknown else reported_usage


_SCHEMA_COMPLAINT = re.compile(r"response_format|json_schema|structured|guided|grammar", re.I)
_UNSUPPORTED_COMPLAINT = re.compile(
    r"unsupported|not support|unexpected|unknown|unrecognized|not permitted|extra", re.I
)
# Left out only where the complaint names one and calls it unknown: where it dislikes the value, another judge
# would come of dropping it.
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
        # OpenAI's newer models take the limit only under this name.
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
    """The limiter and dialect of this endpoint, shared by every client of this process: the server sees them as one."""
    # With the mode: whoever sets another one wants what was learnt under the old one forgotten.
    endpoint_key = (endpoint.base_url, endpoint.model, endpoint.supports_schema)
    with _STATES_LOCK:
        endpoint_state = _ENDPOINT_STATES.setdefault(endpoint_key, EndpointState(endpoint))
    endpoint_state.limiter.resize(endpoint.concurrency)
    return endpoint_state
