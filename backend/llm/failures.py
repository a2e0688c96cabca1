"""From what a server or the network did to a typed error."""

import errno
import re
import socket
from collections.abc import Iterator, Mapping

import httpx2
import openai

from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.limiter import parse_retry_after
from backend.llm.messages import Endpoint
from backend.llm.reply_limits import EncodedError, RedirectedError, ReplyTooLargeError

_DETAIL_CHARACTERS = 200
# 402 is what DeepSeek sends for an empty account, 529 is Anthropic's "overloaded"; 405 comes from a web
# server that has a page at the address but no chat API.
_KIND_BY_STATUS = {
    401: LLMErrorKind.UNAUTHORISED,
    402: LLMErrorKind.NO_CREDIT,
    403: LLMErrorKind.FORBIDDEN,
    404: LLMErrorKind.NOT_FOUND,
    405: LLMErrorKind.NOT_FOUND,
    408: LLMErrorKind.TIMEOUT,
    409: LLMErrorKind.SERVER_ERROR,
    413: LLMErrorKind.TOO_LONG,
    425: LLMErrorKind.SERVER_ERROR,
    429: LLMErrorKind.RATE_LIMITED,
    529: LLMErrorKind.RATE_LIMITED,
}
# A gateway gave up on a model that may have gone on writing. Any other error status stands for no reply, and
# nobody bills that: to count a 500 or 429 as the most would end a run over money that was never spent.
_PERHAPS_BILLED = frozenset({408, 499, 502, 504, *range(520, 528)})
# No request has left, so nothing can be billed, although some of these are timeouts too.
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)
# Servers have no common codes for a refused request, so its kind is read from their words.
_TOO_LONG_COMPLAINT = re.compile(
    r"context.?length|maximum context|context window|too long|too many (?:input )?tokens"
    r"|max_model_len|reduce the length",
    re.I,
)
_FILTER_COMPLAINT = re.compile(r"content.?(?:filter|policy|management)|data_?inspection|sensitive|moderation", re.I)
_NO_SUCH_MODEL = re.compile(
    r"model_not_found|model.{0,120}(?:not found|not exist|unknown|invalid|not available|not supported)"
    r"|(?:unknown|invalid|no such|unsupported) model|pinned to",
    re.I | re.S,
)
_CREDIT_COMPLAINT = re.compile(r"insufficient_quota|insufficient balance|billing|no credit", re.I)


def redact_complaint(endpoint: Endpoint, complaint_text: str) -> str:
    """The server's words on one line, short, and without the key should the server repeat it."""
    api_key = endpoint.api_key.get_secret_value()
    complaint_line = " ".join(complaint_text.split())
    # A cut-off key is still a part of the key: hide it before shortening.
    return (complaint_line.replace(api_key, "***") if api_key else complaint_line)[:_DETAIL_CHARACTERS]


def error_from_status(endpoint: Endpoint, status_code: int, complaint: str, headers: Mapping[str, str]) -> LLMError:
    """The error of a reply with a status of 300 or more."""
    retry_wait = parse_retry_after(headers)
    error_kind = _KIND_BY_STATUS.get(
        status_code, LLMErrorKind.SERVER_ERROR if status_code >= 500 else LLMErrorKind.BAD_REQUEST
    )
    # With a time to come back a 503 speaks of load: the limiter then halves, as for a 429.
    if status_code == 503 and retry_wait is not None:
        error_kind = LLMErrorKind.RATE_LIMITED
    # OpenAI sends "insufficient_quota" as a 429. To wait and ask again would never end.
    elif status_code == 429 and _CREDIT_COMPLAINT.search(complaint):
        error_kind = LLMErrorKind.NO_CREDIT
    elif status_code == 404 and re.search(r"\bmodel", complaint, re.I):
        error_kind = LLMErrorKind.UNKNOWN_MODEL
    elif error_kind is LLMErrorKind.BAD_REQUEST:
        error_kind = _bad_request_kind(complaint)
    # A proxy's page of HTML says nothing to people; the status alone is shown then.
    detail = "" if re.match(r"\s*<", complaint) else redact_complaint(endpoint, complaint)
    return LLMError(
        error_kind,
        endpoint.display_name,
        detail or f"HTTP {status_code}",
        retry_after=retry_wait,
        billed=status_code in _PERHAPS_BILLED,
    )


def error_from_network(endpoint: Endpoint, network_error: Exception) -> LLMError:
    """The error of a connection that could not be made, broke, or took too long."""
    cause_chain = list(_cause_chain(network_error))
    if (unread_error := _unread_reply_error(endpoint, cause_chain)) is not None:
        return unread_error
    # From the surest to the vaguest. What was never sent comes before timeouts, since a connect timeout is
    # both and only a request that was sent may be billed.
    if any(
        isinstance(cause, ConnectionRefusedError) or _error_number(cause) == errno.ECONNREFUSED for cause in cause_chain
    ):
        return LLMError(LLMErrorKind.REFUSED, endpoint.display_name)
    if any(isinstance(cause, socket.gaierror) for cause in cause_chain):
        return LLMError(LLMErrorKind.UNREACHABLE, endpoint.display_name, "unknown host name")
    if any(isinstance(cause, _NEVER_SENT) for cause in cause_chain):
        return LLMError(LLMErrorKind.UNREACHABLE, endpoint.display_name)
    if any(isinstance(cause, openai.APITimeoutError | TimeoutError) for cause in cause_chain):
        return LLMError(LLMErrorKind.TIMEOUT, endpoint.display_name)
    return LLMError(LLMErrorKind.CUT_OFF, endpoint.display_name)


def _unread_reply_error(endpoint: Endpoint, cause_chain: list[BaseException]) -> LLMError | None:
    """The error of a reply that was not read, though the server sent one."""
    for cause in cause_chain:
        if isinstance(cause, ReplyTooLargeError):
            return LLMError(LLMErrorKind.TOO_LARGE, endpoint.display_name, str(cause))
        if isinstance(cause, EncodedError):
            # Asked again the server would compress again.
            return LLMError(LLMErrorKind.NOT_JSON, endpoint.display_name, str(cause), retryable=False)
        if isinstance(cause, RedirectedError):
            return LLMError(LLMErrorKind.REDIRECTED, endpoint.display_name, redact_complaint(endpoint, cause.target))
        if isinstance(cause, httpx2.TooManyRedirects):
            return LLMError(LLMErrorKind.REDIRECTED, endpoint.display_name, "in circles")
    return None


def complaint_in_body(error_body: object, fallback_text: str = "") -> str:
    """The server's own words in an error body of any of the usual forms."""
    if isinstance(error_body, dict):
        inner_error = error_body.get("error", error_body)
        if isinstance(inner_error, dict):
            complaint_parts = [
                inner_error.get(member_name) for member_name in ("message", "code", "detail", "type", "param")
            ]
            return (
                " ".join(str(complaint_part) for complaint_part in complaint_parts if complaint_part) or fallback_text
            )
        return str(inner_error)
    return str(error_body) if error_body else fallback_text


def _bad_request_kind(complaint: str) -> LLMErrorKind:
    # Complaints about length or content often name the model as well, so the unknown model is looked for
    # last.
    for error_kind, pattern in (
        (LLMErrorKind.TOO_LONG, _TOO_LONG_COMPLAINT),
        (LLMErrorKind.FILTERED, _FILTER_COMPLAINT),
        (LLMErrorKind.NO_CREDIT, _CREDIT_COMPLAINT),
        (LLMErrorKind.UNKNOWN_MODEL, _NO_SUCH_MODEL),
    ):
        if pattern.search(complaint):
            return error_kind
    return LLMErrorKind.BAD_REQUEST


def _cause_chain(current_error: BaseException | None) -> Iterator[BaseException]:
    # Contexts of exceptions may form a ring.
    seen_ids: set[int] = set()
    while current_error is not None and id(current_error) not in seen_ids:
        seen_ids.add(id(current_error))
        yield current_error
        # A host with several addresses fails with a group of errors, one an address.
        if isinstance(current_error, BaseExceptionGroup):
            for inner_error in current_error.exceptions:
                yield from _cause_chain(inner_error)
        current_error = current_error.__cause__ or current_error.__context__


def _error_number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None
