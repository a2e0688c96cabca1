"""One attempt at one call: the official SDK sends, and the reply becomes a `Reply` or a typed error."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2
import openai

from backend.llm.endpoint import Endpoint
from backend.llm.errors import Kind, LLMError
from backend.llm.failures import complaint_in, from_network, from_status, redacted
from backend.llm.messages import Usage, storable

_MANY = 2**31


@dataclass(frozen=True)
class Reply:
    """What the server said, before anything is read into it."""

    text: str
    finish_reason: str
    usage: Usage | None


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
        timeout = httpx2.Timeout(endpoint.timeout_s, connect=min(10.0, endpoint.timeout_s), pool=None)
        self._sdk = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            # Servers without keys ignore it; an empty one would make the SDK look into the environment.
            api_key=key or "none",
            admin_api_key="",
            organization="",
            project="",
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(verify=_trusted(), timeout=timeout),
        )

    async def send(self, body: Mapping[str, Any], timeout_s: float) -> Reply:
        """One request, ended after `timeout_s` whatever the server does. Raises LLMError or Refusal."""
        response = await self._exchange(self._sdk.post, "/chat/completions", timeout_s, body=dict(body))
        return self._read(self._document(response))

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

        try:
            async with self._opened(body, timeout_s) as stream:
                if "event-stream" not in stream.response.headers.get("content-type", ""):
                    await stream.response.aread()
                    reply = self._read(self._document(stream.response))
                    pass_on(reply.text)
                    return reply
                return await self._listened(stream, pass_on)
        except LLMError as error:
            error.retryable = error.retryable and not told
            raise

    async def embeddings(self, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The document of vectors for the texts of the body. Raises LLMError or Refusal."""
        document = self._document(
            await self._exchange(self._sdk.post, "/embeddings", timeout_s, body=dict(body))
        )
        if "error" in document:
            raise self._without_choices(document)
        return document

    async def models(self, timeout_s: float) -> list[str]:
        """The names of the models the server offers. Raises LLMError."""
        document = self._document(await self._exchange(self._sdk.get, "/models", timeout_s))
        data = document.get("data")
        rows = data if isinstance(data, list) else []
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]

    async def close(self) -> None:
        """Close every connection."""
        await self._sdk.close()

    async def _exchange(self, method: Any, path: str, timeout_s: float, **options: Any) -> httpx2.Response:
        failure: LLMError | Refusal
        try:
            async with asyncio.timeout(timeout_s):
                response: httpx2.Response = await method(path, cast_to=httpx2.Response, **options)
                return response
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

    async def _listened(self, stream: openai.AsyncStream[Any], tell: Callable[[str], None]) -> Reply:
        pieces: list[str] = []
        finish, usage = "", None
        async for chunk in stream:
            piece, ended, counted = _chunk(chunk)
            finish, usage = ended or finish, counted or usage
            if piece:
                pieces.append(storable(piece))
                tell(pieces[-1])
        text = "".join(pieces)
        if not finish:
            raise LLMError(Kind.CUT_OFF, self._endpoint.where)
        if not text.strip():
            raise self._empty(finish)
        return Reply(text, finish[:40], usage)

    def _refused(self, error: openai.APIStatusError) -> LLMError | Refusal:
        complaint = complaint_in(error.body, error.response.text[:2000])
        failure = from_status(self._endpoint, error.status_code, complaint, error.response.headers)
        return Refusal(failure, complaint) if error.status_code in (400, 422) else failure

    def _document(self, response: httpx2.Response) -> dict[str, Any]:
        try:
            document = json.loads(response.content)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            return document
        kind = "HTML" if response.content[:200].lstrip().startswith(b"<") else "not JSON"
        raise LLMError(Kind.NOT_JSON, self._endpoint.where, kind if response.content else "an empty body")

    def _read(self, document: dict[str, Any]) -> Reply:
        choices = document.get("choices")
        if not isinstance(choices, list):
            raise self._without_choices(document)
        first = choices[0] if choices and isinstance(choices[0], dict) else {}
        message = first.get("message")
        content = _content(message if isinstance(message, dict) else {})
        finish = str(first.get("finish_reason") or "stop")
        if not content.strip():
            raise self._empty(finish)
        return Reply(storable(content), finish[:40], _usage(document.get("usage")))

    def _without_choices(self, document: dict[str, Any]) -> LLMError:
        where = self._endpoint.where
        if "error" not in document:
            return LLMError(Kind.NOT_JSON, where, "no choices in the reply")
        error = document["error"]
        code = error.get("code") if isinstance(error, dict) else None
        if isinstance(code, int) and 400 <= code < 600:
            return from_status(self._endpoint, code, complaint_in(document), {})
        inner = from_status(self._endpoint, 500, complaint_in(document), {})
        return LLMError(Kind.ERROR_BODY, where, inner.detail)

    def _empty(self, finish: str) -> LLMError:
        if finish == "content_filter":
            return LLMError(Kind.FILTERED, self._endpoint.where)
        if finish == "length":
            detail = "every token went into thinking; raise max_tokens"
            return LLMError(Kind.EMPTY, self._endpoint.where, detail, retryable=False)
        return LLMError(Kind.EMPTY, self._endpoint.where)


def _chunk(chunk: object) -> tuple[str, str, Usage | None]:
    """Text, finish reason and usage of one piece of a stream; whatever is missing or odd is empty."""
    if not isinstance(chunk, dict):
        return "", "", None
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    delta = first.get("delta")
    content = _content(delta if isinstance(delta, dict) else {})
    return content, str(first.get("finish_reason") or ""), _usage(chunk.get("usage"))


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, list):  # some servers send a list of parts
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    tokens_in, tokens_out = value.get("prompt_tokens"), value.get("completion_tokens")
    if not (isinstance(tokens_in, int) and isinstance(tokens_out, int)):
        return None
    return Usage(tokens_in, tokens_out) if 0 <= tokens_in < _MANY and 0 <= tokens_out < _MANY else None
