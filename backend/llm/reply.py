"""A server's reply: a whole document or the pieces of a stream, read into a `ServerReply` or a typed error."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.failures import complaint_in_body, error_from_status
from backend.llm.messages import Endpoint, storable_text
from backend.llm.usage import ReportedUsage, larger_usage, usage_in_document

# Most objects, lists and values in a reply in words.
MAX_VALUES = 100_000
# As vLLM and DeepSeek name it, and as resellers do.
_THOUGHT_FIELDS = ("reasoning_content", "reasoning")


@dataclass(frozen=True)
class ServerReply:
    """A server's text, why it ended, and its usage, before fields are read from it."""

    text: str
    finish_reason: str
    reported_usage: ReportedUsage


def parse_document(endpoint: Endpoint, body_bytes: bytes, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """The JSON object of a body with at most so many values. Raises LLMError."""
    if not _has_few_values(body_bytes, max_values):
        raise LLMError(LLMErrorKind.TOO_LARGE, endpoint.display_name, "too many values")
    try:
        document = json.loads(body_bytes)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return document
    content_kind = "HTML" if body_bytes[:200].lstrip().startswith(b"<") else "not JSON"
    raise LLMError(LLMErrorKind.NOT_JSON, endpoint.display_name, content_kind if body_bytes else "an empty body")


def parse_reply(endpoint: Endpoint, document: Mapping[str, Any]) -> ServerReply:
    """The reply in a document. Raises LLMError."""
    choices = document.get("choices")
    if not isinstance(choices, list):
        raise error_without_choices(endpoint, document)
    first_choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    message = first_choice.get("message")
    return _finished_reply(
        endpoint,
        message if isinstance(message, dict) else {},
        str(first_choice.get("finish_reason") or "stop"),
        usage_in_document(document),
    )


def error_without_choices(endpoint: Endpoint, document: Mapping[str, Any]) -> LLMError:
    """The error of a document with status 200 that is none of what was asked for."""
    reported_usage = usage_in_document(document)
    if "error" not in document:
        return LLMError(
            LLMErrorKind.NOT_JSON,
            endpoint.display_name,
            "no choices in the reply",
            reported_usage=reported_usage,
        )
    error_body = document["error"]
    error_code = error_body.get("code") if isinstance(error_body, dict) else None
    if isinstance(error_code, int) and 400 <= error_code < 600:
        failure = error_from_status(endpoint, error_code, complaint_in_body(document), {})
    else:
        detail = error_from_status(endpoint, 500, complaint_in_body(document), {}).detail
        failure = LLMError(LLMErrorKind.ERROR_BODY, endpoint.display_name, detail)
    # Not the code but the status decides here: a gateway that has begun its 200 has asked a model.
    failure.billed, failure.reported_usage = True, reported_usage
    return failure


class StreamedReply:
    """The pieces of a stream, each passed on at once, until the reply is whole."""

    def __init__(self, endpoint: Endpoint, on_piece: Callable[[str], None]) -> None:
        self._endpoint, self._on_piece = endpoint, on_piece
        self._text_pieces: list[str] = []
        self._thought_characters = 0
        self._finish_reason = ""
        self._reported_usage = ReportedUsage()

    @property
    def usage_so_far(self) -> ReportedUsage:
        """What was counted and written until now, of a reply that broke off."""
        written_characters = sum(map(len, self._text_pieces)) + self._thought_characters
        return replace(self._reported_usage, written=written_characters, complete=False)

    def add_event(self, stream_event: object) -> None:
        """One event; whatever is missing or odd in it is empty."""
        if not isinstance(stream_event, dict):
            return
        choices = stream_event.get("choices")
        first_choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        choice_delta = first_choice.get("delta")
        message = choice_delta if isinstance(choice_delta, dict) else {}
        self._reported_usage = larger_usage(self._reported_usage, usage_in_document(stream_event))
        # A server decides how long it is; the ledger's column holds 40 characters.
        self._finish_reason = str(first_choice.get("finish_reason") or "")[:40] or self._finish_reason
        self._thought_characters += _count_thoughts(message)
        if text_piece := storable_text(_content_text(message)):
            self._text_pieces.append(text_piece)
            self._on_piece(text_piece)

    def whole_reply(self) -> ServerReply:
        """The whole reply. Raises LLMError where it broke off or is empty."""
        # A stream that just ends looks whole; only the reason tells it from one whose connection was cut.
        if not self._finish_reason:
            raise LLMError(LLMErrorKind.CUT_OFF, self._endpoint.display_name, reported_usage=self.usage_so_far)
        # Of thoughts only the number of characters matters, for what may be billed.
        message = {"content": "".join(self._text_pieces), _THOUGHT_FIELDS[0]: "." * self._thought_characters}
        return _finished_reply(self._endpoint, message, self._finish_reason, self._reported_usage)


def _finished_reply(
    endpoint: Endpoint, message: Mapping[str, Any], finish_reason: str, reported_usage: ReportedUsage
) -> ServerReply:
    content_text = _content_text(message)
    # A reply that ended at the limit was written, also where nothing of it is shown.
    written_characters = len(content_text) + _count_thoughts(message) or int(finish_reason == "length")
    reported_usage = replace(reported_usage, written=written_characters)
    if content_text.strip():
        return ServerReply(storable_text(content_text), finish_reason[:40], reported_usage)
    if finish_reason == "content_filter":
        raise LLMError(LLMErrorKind.FILTERED, endpoint.display_name, billed=True, reported_usage=reported_usage)
    if finish_reason == "length":
        detail = "every token went into thinking; raise max_tokens"
        raise LLMError(
            LLMErrorKind.EMPTY, endpoint.display_name, detail, retryable=False, reported_usage=reported_usage
        )
    raise LLMError(LLMErrorKind.EMPTY, endpoint.display_name, reported_usage=reported_usage)


def _content_text(message: Mapping[str, Any]) -> str:
    # OpenAI puts a refusal beside an empty content: it is the reply then.
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, list):  # some servers send a list of parts
        content = "".join(
            str(content_part.get("text", "")) for content_part in content if isinstance(content_part, dict)
        )
    return content if isinstance(content, str) else ""


def _count_thoughts(message: Mapping[str, Any]) -> int:
    """How many characters the model thought before it answered, as far as the server shows them."""
    thought_texts = (message.get(member_name) for member_name in _THOUGHT_FIELDS)
    # Some servers send the same thoughts under both names, so the longer counts and not the sum.
    return max((len(thought_text) for thought_text in thought_texts if isinstance(thought_text, str)), default=0)


def _has_few_values(body_bytes: bytes, max_values: int) -> bool:
    """Whether the document has no more objects, lists and values than it can be expected to have.

    Each takes far more memory than its two or three bytes: 25 MB of them would fill a gigabyte.
    """
    container_count = body_bytes.count(b"{") + body_bytes.count(b"[")
    return container_count <= MAX_VALUES and body_bytes.count(b",") <= max_values
