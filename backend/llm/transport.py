"""One attempt at one call: the official SDK sends, and the reply becomes a `Reply` or a typed error."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx2
import openai

from backend.llm.endpoint import Endpoint
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.failures import complaint_in_body, error_from_network, error_from_status, redact_complaint
from backend.llm.reply import (
    MAX_VALUES,
    ServerReply,
    StreamedReply,
    error_without_choices,
    parse_document,
    parse_reply,
)
from backend.llm.reply_limits import (
    LIST_BYTES,
    MAX_REDIRECTS,
    chat_byte_limit,
    embeddings_byte_limit,
    guard_response,
    limit_reply,
)
from backend.llm.usage import ReportedUsage, usage_in_document


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
    """An SDK client with its own retries switched off: ours, in `client.py`, are the only ones."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        api_key = endpoint.api_key.get_secret_value()
        if not (api_key.isascii() and (api_key.isprintable() or not api_key)) or " " in api_key:
            raise LLMError(LLMErrorKind.UNAUTHORISED, endpoint.display_name, "the key holds characters that no key has")
        # Connecting ends before the whole call does: it must be told from a request that may be billed.
        connect_timeout = min(10.0, 0.8 * endpoint.timeout_s)
        call_timeout = httpx2.Timeout(endpoint.timeout_s, connect=connect_timeout, pool=None)
        self._sdk_client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            # Servers without keys ignore it; an empty one would make the SDK look into the environment.
            api_key=api_key or "none",
            admin_api_key="",
            organization="",
            project="",
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

    async def send_request(self, request_body: Mapping[str, Any], timeout_s: float) -> ServerReply:
        """One request, ended after `timeout_s` whatever the server does. Raises LLMError or Refusal."""
        reply_bytes = await self._exchange_bytes(
            self._sdk_client.post,
            "/chat/completions",
            timeout_s,
            _chat_reply_limit(request_body),
            request_body=dict(request_body),
        )
        return parse_reply(self._endpoint, parse_document(self._endpoint, reply_bytes))

    async def stream(
        self, request_body: Mapping[str, Any], timeout_s: float, on_piece: Callable[[str], None]
    ) -> ServerReply:
        """One request whose reply comes in pieces, each told at once. Raises LLMError or Refusal.

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
        """The document of vectors, at most `width` wide, for the texts of the body.

        Raises LLMError or Refusal.
        """
        text_count = len(request_body["input"])
        byte_limit = embeddings_byte_limit(text_count, vector_width)
        reply_bytes = await self._exchange_bytes(
            self._sdk_client.post, "/embeddings", timeout_s, byte_limit, request_body=dict(request_body)
        )
        document = parse_document(self._endpoint, reply_bytes, MAX_VALUES + text_count * vector_width)
        if "error" in document:
            raise error_without_choices(self._endpoint, document)
        return document

    async def list_models(self, timeout_s: float) -> list[str]:
        """The names of the models the server offers. Raises LLMError."""
        reply_bytes = await self._exchange_bytes(self._sdk_client.get, "/models", timeout_s, LIST_BYTES)
        model_entries = parse_document(self._endpoint, reply_bytes).get("data")
        model_rows = model_entries if isinstance(model_entries, list) else []
        return [str(model_row["id"]) for model_row in model_rows if isinstance(model_row, dict) and "id" in model_row]

    async def close(self) -> None:
        """Close every connection."""
        await self._sdk_client.close()

    async def _exchange_bytes(
        self, sdk_method: Any, api_path: str, timeout_s: float, byte_limit: int, **options: Any
    ) -> bytes:
        """The body of the answer to one request, at most `limit` bytes. Raises LLMError or Refusal."""
        failure: LLMError | RequestRefusal
        try:
            async with asyncio.timeout(timeout_s):
                with limit_reply(byte_limit):
                    response: httpx2.Response = await sdk_method(api_path, cast_to=httpx2.Response, **options)
                return response.content
        except openai.APIStatusError as error:
            failure = self._status_error(error)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            failure = error_from_network(self._endpoint, error)
        # Raised here, outside the handler, so that no SDK object with its headers hangs on our error.
        raise failure

    @asynccontextmanager
    async def _open_stream(
        self, request_body: Mapping[str, Any], timeout_s: float
    ) -> AsyncIterator[openai.AsyncStream[Any]]:
        failure: LLMError | RequestRefusal
        try:
            async with asyncio.timeout(timeout_s):
                with limit_reply(_chat_reply_limit(request_body)):
                    event_stream: openai.AsyncStream[Any] = await self._sdk_client.post(
                        "/chat/completions",
                        cast_to=object,
                        body=dict(request_body),
                        stream=True,
                        stream_cls=openai.AsyncStream[Any],
                    )
                try:
                    yield event_stream
                finally:
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


def _chat_reply_limit(request_body: Mapping[str, Any]) -> int:
    return chat_byte_limit(request_body.get("max_tokens") or request_body.get("max_completion_tokens"))


def _usage_in_error(body_bytes: bytes) -> ReportedUsage | None:
    """What the body of an error says was used, None where it says nothing."""
    try:
        document = json.loads(body_bytes)
    except (ValueError, RecursionError):
        return None
    reported_usage = usage_in_document(document) if isinstance(document, dict) else ReportedUsage()
    return None if reported_usage.is_unknown else reported_usage
