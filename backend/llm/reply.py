"""What the server said: a whole document or the pieces of a stream, read into a `Reply` or a typed error.

Usage is read before anything else, and every error that follows carries it: an empty reply is billed too.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.llm.endpoint import Endpoint
from backend.llm.errors import Kind, LLMError
from backend.llm.failures import complaint_in, from_status
from backend.llm.messages import storable
from backend.llm.usage import Counted, counted_in, larger

VALUES = 100_000
"""Most objects, lists and values in a reply in words."""
_THOUGHTS = ("reasoning_content", "reasoning")


@dataclass(frozen=True)
class Reply:
    """What the server said, before anything is read into it."""

    text: str
    finish_reason: str
    counted: Counted


def document_in(endpoint: Endpoint, content: bytes, values: int = VALUES) -> dict[str, Any]:
    """The JSON object of a body with at most so many values. Raises LLMError."""
    if not _few_parts(content, values):
        raise LLMError(Kind.TOO_LARGE, endpoint.where, "too many values")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return document
    kind = "HTML" if content[:200].lstrip().startswith(b"<") else "not JSON"
    raise LLMError(Kind.NOT_JSON, endpoint.where, kind if content else "an empty body")


def reply_in(endpoint: Endpoint, document: Mapping[str, Any]) -> Reply:
    """The reply in a document. Raises LLMError."""
    choices = document.get("choices")
    if not isinstance(choices, list):
        raise without_choices(endpoint, document)
    first = choices[0] if choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    return _finished(
        endpoint,
        message if isinstance(message, dict) else {},
        str(first.get("finish_reason") or "stop"),
        counted_in(document),
    )


def without_choices(endpoint: Endpoint, document: Mapping[str, Any]) -> LLMError:
    """The error of a document with status 200 that is none of what was asked for."""
    counted = counted_in(document)
    if "error" not in document:
        return LLMError(Kind.NOT_JSON, endpoint.where, "no choices in the reply", counted=counted)
    error = document["error"]
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 600:
        failure = from_status(endpoint, code, complaint_in(document), {})
    else:
        detail = from_status(endpoint, 500, complaint_in(document), {}).detail
        failure = LLMError(Kind.ERROR_BODY, endpoint.where, detail)
    # Not the code but the status decides here: a gateway that has begun its 200 has asked a model.
    failure.billed, failure.counted = True, counted
    return failure


class StreamedReply:
    """The pieces of a stream, each told at once, until the reply is whole."""

    def __init__(self, endpoint: Endpoint, tell: Callable[[str], None]) -> None:
        self._endpoint, self._tell = endpoint, tell
        self._pieces: list[str] = []
        self._thoughts = 0
        self._finish = ""
        self._counted = Counted()

    @property
    def counted_so_far(self) -> Counted:
        """What was counted and written until now, of a reply that broke off."""
        written = sum(map(len, self._pieces)) + self._thoughts
        return replace(self._counted, written=written, complete=False)

    def add(self, chunk: object) -> None:
        """One event; whatever is missing or odd in it is empty."""
        if not isinstance(chunk, dict):
            return
        choices = chunk.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        delta = first.get("delta")
        message = delta if isinstance(delta, dict) else {}
        self._counted = larger(self._counted, counted_in(chunk))
        self._finish = str(first.get("finish_reason") or "")[:40] or self._finish
        self._thoughts += _thoughts(message)
        if piece := storable(_content(message)):
            self._pieces.append(piece)
            self._tell(piece)

    def reply(self) -> Reply:
        """The whole reply. Raises LLMError where it broke off or is empty."""
        if not self._finish:
            raise LLMError(Kind.CUT_OFF, self._endpoint.where, counted=self.counted_so_far)
        message = {"content": "".join(self._pieces), _THOUGHTS[0]: "." * self._thoughts}
        return _finished(self._endpoint, message, self._finish, self._counted)


def _finished(endpoint: Endpoint, message: Mapping[str, Any], finish: str, counted: Counted) -> Reply:
    content = _content(message)
    # A reply that ended at the limit was written, also where nothing of it is shown.
    written = len(content) + _thoughts(message) or int(finish == "length")
    counted = replace(counted, written=written)
    if content.strip():
        return Reply(storable(content), finish[:40], counted)
    if finish == "content_filter":
        raise LLMError(Kind.FILTERED, endpoint.where, billed=True, counted=counted)
    if finish == "length":
        detail = "every token went into thinking; raise max_tokens"
        raise LLMError(Kind.EMPTY, endpoint.where, detail, retryable=False, counted=counted)
    raise LLMError(Kind.EMPTY, endpoint.where, counted=counted)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, list):  # some servers send a list of parts
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _thoughts(message: Mapping[str, Any]) -> int:
    """How many characters the model thought before it answered, as far as the server shows them."""
    found = (message.get(name) for name in _THOUGHTS)
    return max((len(text) for text in found if isinstance(text, str)), default=0)


def _few_parts(content: bytes, values: int) -> bool:
    """Whether the document has no more objects, lists and values than it can be expected to have.

    Each takes far more memory than its two or three bytes: 25 MB of them would fill a gigabyte.
    """
    containers = content.count(b"{") + content.count(b"[")
    return containers <= VALUES and content.count(b",") <= values
