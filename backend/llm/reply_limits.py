"""How much of a reply is read: so many decompressed bytes and no more, and no redirects to other addresses.

One hook on the SDK's HTTP client guards everything that is read through it: replies, streams, error bodies.
"""

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx2

BASE_BYTES = 2**20
"""For any reply, whatever was asked."""
TOKEN_BYTES = 2**10
"""More for every token asked for: a stream wraps each of them in an event of some hundred bytes."""
NUMBER_BYTES = 24
"""More for every number of a vector that can be expected."""
LIST_BYTES = 2**23
"""Of a list of models; that of a large reseller has a megabyte."""
MOST_BYTES = 2**25
ERROR_BYTES = 2**16
"""Of the body of an error, of which people see a line; the rest is left unread."""
PIECE_BYTES = 64
LINE_BYTES = 64
"""What each piece and each line of a stream counts at least, so that tiny ones cost no more work than big."""
MEMBERS = 64
"""Compressed bodies one after another in one reply; each costs work, even if it is empty."""
REDIRECTS = 3
ENCODINGS = {"gzip", "x-gzip", "deflate"}
CHARSETS = {"utf-8", "gbk", "gb2312", "gb18030", "big5"}
"""Python also knows charsets that decompress; none but these is used to read the words of an error."""
_UNFOLDED_AT_ONCE = 2**16
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_limit: ContextVar[int] = ContextVar("reply_limit", default=BASE_BYTES)


class ReplyTooLargeError(httpx2.RequestError):
    """The reply holds more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit / 2**20:.1f} MB")


class EncodedError(httpx2.RequestError):
    """The reply is compressed in a form that was not asked for and is not read."""


class RedirectedError(httpx2.RequestError):
    """The server names another address. `target` says which, without anything secret in it."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


def chat_limit(max_tokens: object) -> int:
    """The most bytes of a chat reply, whole or as a stream, of at most `max_tokens` tokens."""
    tokens = max_tokens if isinstance(max_tokens, int) and max_tokens > 0 else 0
    return min(MOST_BYTES, BASE_BYTES + TOKEN_BYTES * tokens)


def embeddings_limit(texts: int, width: int) -> int:
    """The most bytes of vectors for so many texts, each at most `width` wide."""
    return min(MOST_BYTES, BASE_BYTES + NUMBER_BYTES * texts * width)


@contextmanager
def reply_limit(limit: int) -> Iterator[None]:
    """Requests sent within read at most `limit` bytes of their replies."""
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


async def guard(response: httpx2.Response) -> None:
    """The hook, before anything is read of a reply. Raises the errors of this module."""
    failed = response.status_code >= 300
    encodings = _taken_encodings(response)
    unreadable = len(encodings) > 1 or not ENCODINGS.issuperset(encodings)
    if unreadable and not failed:
        raise EncodedError(f"compressed as {', '.join(encodings)[:40]}")
    limit = ERROR_BYTES * (not unreadable) if failed else _limit.get()
    response.stream = LimitedStream(
        response.stream,
        limit,
        compressed=bool(encodings),
        quietly=failed,
        by_line="event-stream" in response.headers.get("content-type", ""),
    )
    _check_charset(response)
    if response.has_redirect_location:
        _check_redirect(response)


class LimitedStream(httpx2.AsyncByteStream):
    """The decompressed bytes of a reply up to a limit, beyond which ReplyTooLargeError is raised.

    With `quietly` the body just ends there, and also where it cannot be decompressed.
    """

    def __init__(
        self,
        raw: httpx2.SyncByteStream | httpx2.AsyncByteStream,
        limit: int,
        *,
        compressed: bool,
        quietly: bool,
        by_line: bool,
    ) -> None:
        assert isinstance(raw, httpx2.AsyncByteStream)
        self._raw, self._limit, self._quietly, self._by_line = raw, limit, quietly, by_line
        self._inflater = _Inflater() if compressed else None
        self._taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for raw in self._raw:
                for piece in (raw,) if self._inflater is None else self._inflater.pieces(raw):
                    self._count(piece)
                    yield piece
        except (ReplyTooLargeError, httpx2.DecodingError):
            if not self._quietly:
                raise

    def _count(self, piece: bytes) -> None:
        self._taken += max(len(piece), PIECE_BYTES)
        if self._by_line:
            self._taken += LINE_BYTES * (piece.count(b"\n") + piece.count(b"\r"))
        if self._taken > self._limit:
            raise ReplyTooLargeError(self._limit)

    async def aclose(self) -> None:
        """Close the connection where it was not read to its end."""
        await self._raw.aclose()


class _Inflater:
    """Decompresses gzip and zlib, never more than a little at once. Raises httpx2.DecodingError."""

    def __init__(self) -> None:
        self._members = 1
        self._member = zlib.decompressobj(_GZIP_OR_ZLIB)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unfold to, in pieces of bounded size."""
        piece = b""
        try:
            while data or (piece and not self._member.eof):
                if self._member.eof:
                    self._next_member()
                piece = self._member.decompress(data, _UNFOLDED_AT_ONCE)
                if piece:
                    yield piece
                data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        except zlib.error as error:
            raise httpx2.DecodingError(str(error)) from error

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MEMBERS:
            raise httpx2.DecodingError("too many compressed parts")
        self._member = zlib.decompressobj(_GZIP_OR_ZLIB)


def _taken_encodings(response: httpx2.Response) -> list[str]:
    """The encodings of the body, taken from its headers so that nothing else decodes it."""
    named = response.headers.get_list("content-encoding", split_commas=True)
    if named:
        del response.headers["content-encoding"]
    return [name for one in named if (name := one.strip().lower()) not in ("", "identity")]


def _check_charset(response: httpx2.Response) -> None:
    if "charset" not in response.headers.get("content-type", "").lower():
        return  # the usual case, without the slow parser of mail headers
    charset = response.charset_encoding
    if charset is not None and charset.lower() not in CHARSETS:
        response.headers["content-type"] = response.headers["content-type"].partition(";")[0]


def _check_redirect(response: httpx2.Response) -> None:
    """Let the client follow to the same server where the request stays what it is. Raises RedirectedError."""
    request = response.request
    try:
        target = request.url.join(response.headers["location"])
    except (httpx2.InvalidURL, ValueError):
        raise RedirectedError("") from None
    same_server = _server(target) == _server(request.url)
    if not same_server or (request.method != "GET" and response.status_code not in (307, 308)):
        # The query and a user name may be secrets.
        raise RedirectedError(f"{target.scheme}://{target.netloc.decode('ascii', 'replace')}{target.path}")


def _server(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
