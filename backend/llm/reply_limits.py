"""How much of a reply is read: so many decompressed bytes and no more, and no redirects to other hosts."""

import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx2

# For any reply, whatever was asked.
BASE_BYTES = 2**20


# More for every token asked for: a stream wraps each of them in an event of some hundred bytes.
TOKEN_BYTES = 2**10


# More for every number of a vector that can be expected.
NUMBER_BYTES = 24


# Of a list of models; that of a large reseller has a megabyte.
LIST_BYTES = 2**23


# Whatever was asked for: calls run side by side, and each may hold so much.
MOST_BYTES = 2**25


# Of the body of an error, of which people see a line; the rest is left unread.
ERROR_BYTES = 2**16


PIECE_BYTES = 64


# What each piece and each line of a stream counts at least, so that tiny ones cost no more work than big.
LINE_BYTES = 64


# Compressed bodies one after another in one reply; each costs work, even if it is empty.
MAX_MEMBERS = 64


MAX_REDIRECTS = 3


# What zlib unfolds piece by piece; of anything else the size would be known only when it is there.
KNOWN_ENCODINGS = {"gzip", "x-gzip", "deflate"}


# Python also knows charsets that decompress; none but these is used to read the words of an error.
KNOWN_CHARSETS = {"utf-8", "gbk", "gb2312", "gb18030", "big5"}


# Bytes. A kilobyte of gzip unfolds to a megabyte, and is counted before the next piece is unfolded.
_UNFOLDED_AT_ONCE = 2**16


# zlib's sign for finding out by the header which of the two it is.
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


# A context variable, since the hook sees nothing but the response while many calls run side by side.
_current_byte_limit: ContextVar[int] = ContextVar("reply_limit", default=BASE_BYTES)


class ReplyTooLargeError(httpx2.RequestError):
    """The reply holds more than `byte_limit` bytes."""

    def __init__(self, byte_limit: int) -> None:
        super().__init__(f"more than {byte_limit / 2**20:.1f} MB")


class EncodedError(httpx2.RequestError):
    """The reply is compressed in a form that was not asked for and is not read."""


class RedirectedError(httpx2.RequestError):
    """The server names another address. `target` says which, without anything secret in it."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


def chat_byte_limit(max_tokens: object) -> int:
    """The most bytes of a chat reply, whole or as a stream, of at most `max_tokens` tokens."""
    token_count = max_tokens if isinstance(max_tokens, int) and max_tokens > 0 else 0
    return min(MOST_BYTES, BASE_BYTES + TOKEN_BYTES * token_count)


def embeddings_byte_limit(text_count: int, vector_width: int) -> int:
    """The most bytes of vectors for so many texts, each at most `vector_width` wide."""
    return min(MOST_BYTES, BASE_BYTES + NUMBER_BYTES * text_count * vector_width)


@contextmanager
def limit_reply(byte_limit: int) -> Iterator[None]:
    """Requests sent within read at most `byte_limit` bytes of their replies."""
    context_token = _current_byte_limit.set(byte_limit)
    try:
        yield
    finally:
        _current_byte_limit.reset(context_token)


async def guard_response(response: httpx2.Response) -> None:
    """The hook, before anything is read of a reply. Raises the errors of this module."""
    is_error = response.status_code >= 300
    content_encodings = _take_encodings(response)
    is_unreadable = len(content_encodings) > 1 or not KNOWN_ENCODINGS.issuperset(content_encodings)
    if is_unreadable and not is_error:
        raise EncodedError(f"compressed as {', '.join(content_encodings)[:40]}")
    # Of an error the status says enough: what cannot be read of its body is left, not refused.
    byte_limit = ERROR_BYTES * (not is_unreadable) if is_error else _current_byte_limit.get()
    response.stream = LimitedStream(
        response.stream,
        byte_limit,
        compressed=bool(content_encodings),
        quietly=is_error,
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
        raw_stream: httpx2.SyncByteStream | httpx2.AsyncByteStream,
        byte_limit: int,
        *,
        compressed: bool,
        quietly: bool,
        by_line: bool,
    ) -> None:
        assert isinstance(raw_stream, httpx2.AsyncByteStream)
        self._raw_stream, self._byte_limit, self._quietly, self._by_line = (
            raw_stream,
            byte_limit,
            quietly,
            by_line,
        )
        self._decompressor = _Decompressor() if compressed else None
        self._counted_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for raw_chunk in self._raw_stream:
                for body_piece in (
                    (raw_chunk,) if self._decompressor is None else self._decompressor.decompressed_pieces(raw_chunk)
                ):
                    self._count_bytes(body_piece)
                    yield body_piece
        except (ReplyTooLargeError, httpx2.DecodingError):
            if not self._quietly:
                raise

    def _count_bytes(self, body_piece: bytes) -> None:
        self._counted_bytes += max(len(body_piece), PIECE_BYTES)
        if self._by_line:
            self._counted_bytes += LINE_BYTES * (body_piece.count(b"\n") + body_piece.count(b"\r"))
        if self._counted_bytes > self._byte_limit:
            raise ReplyTooLargeError(self._byte_limit)

    async def aclose(self) -> None:
        """Close the connection where it was not read to its end."""
        await self._raw_stream.aclose()


class _Decompressor:
    """Decompresses gzip and zlib, never more than a little at once. Raises httpx2.DecodingError."""

    def __init__(self) -> None:
        self._member_count = 1
        self._zlib_member = zlib.decompressobj(_GZIP_OR_ZLIB)

    def decompressed_pieces(self, compressed_bytes: bytes) -> Iterator[bytes]:
        """What these bytes unfold to, in pieces of bounded size."""
        plain_piece = b""
        try:
            while compressed_bytes or (plain_piece and not self._zlib_member.eof):
                if self._zlib_member.eof:
                    self._next_member()
                plain_piece = self._zlib_member.decompress(compressed_bytes, _UNFOLDED_AT_ONCE)
                if plain_piece:
                    yield plain_piece
                compressed_bytes = (
                    self._zlib_member.unused_data if self._zlib_member.eof else self._zlib_member.unconsumed_tail
                )
        except zlib.error as error:
            raise httpx2.DecodingError(str(error)) from error

    def _next_member(self) -> None:
        self._member_count += 1
        if self._member_count > MAX_MEMBERS:
            raise httpx2.DecodingError("too many compressed parts")
        self._zlib_member = zlib.decompressobj(_GZIP_OR_ZLIB)


def _take_encodings(response: httpx2.Response) -> list[str]:
    """The encodings of the body, taken from its headers so that nothing else decodes it."""
    encoding_names = response.headers.get_list("content-encoding", split_commas=True)
    if encoding_names:
        del response.headers["content-encoding"]
    return [
        encoding_name
        for raw_name in encoding_names
        if (encoding_name := raw_name.strip().lower()) not in ("", "identity")
    ]


def _check_charset(response: httpx2.Response) -> None:
    if "charset" not in response.headers.get("content-type", "").lower():
        return  # the usual case, without the slow parser of mail headers
    charset = response.charset_encoding
    if charset is not None and charset.lower() not in KNOWN_CHARSETS:
        response.headers["content-type"] = response.headers["content-type"].partition(";")[0]


def _check_redirect(response: httpx2.Response) -> None:
    """Let the client follow to the same server where the request stays what it is. Raises RedirectedError."""
    request = response.request
    try:
        target_url = request.url.join(response.headers["location"])
    except (httpx2.InvalidURL, ValueError):
        raise RedirectedError("") from None
    same_server = _server_address(target_url) == _server_address(request.url)
    # 301 to 303 make a GET of a POST; another server, and http after https, would be shown the API key.
    if not same_server or (request.method != "GET" and response.status_code not in (307, 308)):
        # The query and a user name may be secrets.
        raise RedirectedError(f"{target_url.scheme}://{target_url.netloc.decode('ascii', 'replace')}{target_url.path}")


def _server_address(server_url: httpx2.URL) -> tuple[str, str, int | None]:
    return (
        server_url.scheme,
        server_url.host,
        server_url.port or {"http": 80, "https": 443}.get(server_url.scheme),
    )
