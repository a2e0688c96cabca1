"""From what a server or the network did to a typed error."""

import errno
import re
import socket
from collections.abc import Iterator, Mapping

import httpx2
import openai

from backend.llm.endpoint import Endpoint
from backend.llm.errors import Kind, LLMError
from backend.llm.reply_limits import EncodedError, RedirectedError, ReplyTooLargeError
from backend.llm.retry import retry_after

_DETAIL = 200
_BY_STATUS = {
    401: Kind.UNAUTHORISED,
    402: Kind.NO_CREDIT,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    405: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.SERVER_ERROR,
    413: Kind.TOO_LONG,
    425: Kind.SERVER_ERROR,
    429: Kind.RATE_LIMITED,
    529: Kind.RATE_LIMITED,
}
_PERHAPS_BILLED = frozenset({408, 499, 502, 504, *range(520, 528)})
"""A gateway gave up on a model that may have gone on writing. Any other error status stands for no reply, and
nobody bills that: to count a 500 or 429 as the most would end a run over money that was never spent."""
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)
_TOO_LONG = re.compile(
    r"context.?length|maximum context|context window|too long|too many (?:input )?tokens"
    r"|max_model_len|reduce the length",
    re.I,
)
_FILTERED = re.compile(r"content.?(?:filter|policy|management)|data_?inspection|sensitive|moderation", re.I)
_NO_SUCH_MODEL = re.compile(
    r"model_not_found|model.{0,120}(?:not found|not exist|unknown|invalid|not available|not supported)"
    r"|(?:unknown|invalid|no such|unsupported) model|pinned to",
    re.I | re.S,
)
_NO_CREDIT = re.compile(r"insufficient_quota|insufficient balance|billing|no credit", re.I)


def redacted(endpoint: Endpoint, text: str) -> str:
    """The server's words on one line, short, and without the key should the server repeat it."""
    key = endpoint.api_key.get_secret_value()
    line = " ".join(text.split())
    # A cut-off key is still a part of the key: hide it before shortening.
    return (line.replace(key, "***") if key else line)[:_DETAIL]


def from_status(endpoint: Endpoint, status: int, complaint: str, headers: Mapping[str, str]) -> LLMError:
    """The error of a reply with a status of 300 or more."""
    wait = retry_after(headers)
    kind = _BY_STATUS.get(status, Kind.SERVER_ERROR if status >= 500 else Kind.BAD_REQUEST)
    if status == 503 and wait is not None:
        kind = Kind.RATE_LIMITED
    elif status == 429 and _NO_CREDIT.search(complaint):
        kind = Kind.NO_CREDIT
    elif status == 404 and re.search(r"\bmodel", complaint, re.I):
        kind = Kind.UNKNOWN_MODEL
    elif kind is Kind.BAD_REQUEST:
        kind = _bad_request(complaint)
    detail = "" if re.match(r"\s*<", complaint) else redacted(endpoint, complaint)
    return LLMError(
        kind,
        endpoint.where,
        detail or f"HTTP {status}",
        retry_after=wait,
        billed=status in _PERHAPS_BILLED,
    )


def from_network(endpoint: Endpoint, error: Exception) -> LLMError:
    """The error of a connection that could not be made, broke, or took too long."""
    chain = list(_chain(error))
    if (refused := _not_taken(endpoint, chain)) is not None:
        return refused
    if any(
        isinstance(cause, ConnectionRefusedError) or _errno(cause) == errno.ECONNREFUSED for cause in chain
    ):
        return LLMError(Kind.REFUSED, endpoint.where)
    if any(isinstance(cause, socket.gaierror) for cause in chain):
        return LLMError(Kind.UNREACHABLE, endpoint.where, "unknown host name")
    if any(isinstance(cause, _NEVER_SENT) for cause in chain):
        return LLMError(Kind.UNREACHABLE, endpoint.where)
    if any(isinstance(cause, openai.APITimeoutError | TimeoutError) for cause in chain):
        return LLMError(Kind.TIMEOUT, endpoint.where)
    return LLMError(Kind.CUT_OFF, endpoint.where)


def _not_taken(endpoint: Endpoint, chain: list[BaseException]) -> LLMError | None:
    """The error of a reply that was not read, though the server sent one."""
    for cause in chain:
        if isinstance(cause, ReplyTooLargeError):
            return LLMError(Kind.TOO_LARGE, endpoint.where, str(cause))
        if isinstance(cause, EncodedError):
            return LLMError(Kind.NOT_JSON, endpoint.where, str(cause), retryable=False)
        if isinstance(cause, RedirectedError):
            return LLMError(Kind.REDIRECTED, endpoint.where, redacted(endpoint, cause.target))
        if isinstance(cause, httpx2.TooManyRedirects):
            return LLMError(Kind.REDIRECTED, endpoint.where, "in circles")
    return None


def complaint_in(body: object, text: str = "") -> str:
    """The server's own words in an error body of any of the usual forms."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict):
            parts = [inner.get(name) for name in ("message", "code", "detail", "type", "param")]
            return " ".join(str(part) for part in parts if part) or text
        return str(inner)
    return str(body) if body else text


def _bad_request(complaint: str) -> Kind:
    for kind, pattern in (
        (Kind.TOO_LONG, _TOO_LONG),
        (Kind.FILTERED, _FILTERED),
        (Kind.NO_CREDIT, _NO_CREDIT),
        (Kind.UNKNOWN_MODEL, _NO_SUCH_MODEL),
    ):
        if pattern.search(complaint):
            return kind
    return Kind.BAD_REQUEST


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _chain(inner)
        error = error.__cause__ or error.__context__


def _errno(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None
