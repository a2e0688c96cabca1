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
from backend.llm.errors import Kind, LLMError
from backend.llm.failures import complaint_in, from_network, from_status, redacted
from backend.llm.reply import VALUES, Reply, StreamedReply, document_in, reply_in, without_choices
from backend.llm.reply_limits import (
    LIST_BYTES,
    REDIRECTS,
    chat_limit,
    embeddings_limit,
    guard,
    reply_limit,
)
from backend.llm.usage import Counted, counted_in


class Refusal(Exception):
    """A 400 or 422, with the server's words: perhaps another dialect of the same request is taken."""

    def __init__(self, error: LLMError, complaint: str) -> None:
        super().__init__(complaint)
        self.error = error
        self.complaint = complaint


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are believed, read once: reading them takes longer than most calls."""
    return httpx2.create_ssl_context()


class Transport:
    """An SDK client with its own retries switched off: ours, in `client.py`, are the only ones."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        key = endpoint.api_key.get_secret_value()
        if not (key.isascii() and (key.isprintable() or not key)) or " " in key:
            raise LLMError(Kind.UNAUTHORISED, endpoint.where, "the key holds characters that no key has")
        # Connecting ends before the whole call does: it must be told from a request that may be billed.
        connect = min(10.0, 0.8 * endpoint.timeout_s)
        timeout = httpx2.Timeout(endpoint.timeout_s, connect=connect, pool=None)
        self._sdk = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            # Servers without keys ignore it; an empty one would make the SDK look into the environment.
            api_key=key or "none",
            admin_api_key="",
            organization="",
            project="",
            max_retries=0,
            timeout=timeout,
            # No compression is asked for: replies are short, and a hostile one would unfold to gigabytes.
            default_headers={"Accept-Encoding": "identity"},
            http_client=openai.DefaultAsyncHttpxClient(
                verify=_trusted(),
                timeout=timeout,
                max_redirects=REDIRECTS,
                event_hooks={"response": [guard]},
            ),
        )

    async def send(self, body: Mapping[str, Any], timeout_s: float) -> Reply:
        """One request, ended after `timeout_s` whatever the server does. Raises LLMError or Refusal."""
        content = await self._exchange(
            self._sdk.post, "/chat/completions", timeout_s, _chat_limit(body), body=dict(body)
        )
        return reply_in(self._endpoint, document_in(self._endpoint, content))

    async def stream(self, body: Mapping[str, Any], timeout_s: float, tell: Callable[[str], None]) -> Reply:
        """One request whose reply comes in pieces, each told at once. Raises LLMError or Refusal.

        An error after the first piece is not worth a retry and says so. A server that knows no streams
        and answers in one document is taken as it is.
        """
        told = False

        def pass_on(piece: str) -> None:
            nonlocal told
            told = True
            tell(piece)

        streamed = StreamedReply(self._endpoint, pass_on)
        try:
            async with self._opened(body, timeout_s) as stream:
                if "event-stream" not in stream.response.headers.get("content-type", ""):
                    content = await stream.response.aread()
                    reply = reply_in(self._endpoint, document_in(self._endpoint, content))
                    pass_on(reply.text)
                    return reply
                async for chunk in stream:
                    streamed.add(chunk)
                return streamed.reply()
        except LLMError as error:
            error.retryable = error.retryable and not told
            if error.billed and error.counted is None:
                error.counted = streamed.counted_so_far
            raise

    async def embeddings(self, body: Mapping[str, Any], timeout_s: float, width: int) -> dict[str, Any]:
        """The document of vectors, at most `width` wide, for the texts of the body.

        Raises LLMError or Refusal.
        """
        texts = len(body["input"])
        limit = embeddings_limit(texts, width)
        content = await self._exchange(self._sdk.post, "/embeddings", timeout_s, limit, body=dict(body))
        document = document_in(self._endpoint, content, VALUES + texts * width)
        if "error" in document:
            raise without_choices(self._endpoint, document)
        return document

    async def models(self, timeout_s: float) -> list[str]:
        """The names of the models the server offers. Raises LLMError."""
        content = await self._exchange(self._sdk.get, "/models", timeout_s, LIST_BYTES)
        data = document_in(self._endpoint, content).get("data")
        rows = data if isinstance(data, list) else []
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]

    async def close(self) -> None:
        """Close every connection."""
        await self._sdk.close()

    async def _exchange(self, method: Any, path: str, timeout_s: float, limit: int, **options: Any) -> bytes:
        """The body of the answer to one request, at most `limit` bytes. Raises LLMError or Refusal."""
        failure: LLMError | Refusal
        try:
            async with asyncio.timeout(timeout_s):
                with reply_limit(limit):
                    response: httpx2.Response = await method(path, cast_to=httpx2.Response, **options)
                return response.content
        except openai.APIStatusError as error:
            failure = self._refused(error)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            failure = from_network(self._endpoint, error)
        # Raised here, outside the handler, so that no SDK object with its headers hangs on our error.
        raise failure

    @asynccontextmanager
    async def _opened(
        self, body: Mapping[str, Any], timeout_s: float
    ) -> AsyncIterator[openai.AsyncStream[Any]]:
        failure: LLMError | Refusal
        try:
            async with asyncio.timeout(timeout_s):
                with reply_limit(_chat_limit(body)):
                    stream: openai.AsyncStream[Any] = await self._sdk.post(
                        "/chat/completions",
                        cast_to=object,
                        body=dict(body),
                        stream=True,
                        stream_cls=openai.AsyncStream[Any],
                    )
                try:
                    yield stream
                finally:
                    await stream.close()
                return
        except openai.APIStatusError as error:
            failure = self._refused(error)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            failure = from_network(self._endpoint, error)
        except openai.APIError as error:  # an error inside the stream
            told = redacted(self._endpoint, complaint_in(error.body, error.message))
            failure = LLMError(Kind.ERROR_BODY, self._endpoint.where, told)
        except (ValueError, RecursionError):
            failure = LLMError(Kind.NOT_JSON, self._endpoint.where, "not JSON")
        raise failure

    def _refused(self, error: openai.APIStatusError) -> LLMError | Refusal:
        complaint = complaint_in(error.body, error.response.text[:2000])
        failure = from_status(self._endpoint, error.status_code, complaint, error.response.headers)
        failure.counted = _counted(error.response.content)
        return Refusal(failure, complaint) if error.status_code in (400, 422) else failure


def _chat_limit(body: Mapping[str, Any]) -> int:
    return chat_limit(body.get("max_tokens") or body.get("max_completion_tokens"))


def _counted(content: bytes) -> Counted | None:
    """What the body of an error says was used, None where it says nothing."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    counted = counted_in(document) if isinstance(document, dict) else Counted()
    return None if counted.is_unknown else counted
