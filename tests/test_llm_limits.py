"""How many bytes of a reply are read: limits by hand, pieces and lines counted, members and redirects."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import httpx2
import pytest

from backend.llm.reply_limits import (
    BASE_BYTES,
    ERROR_BYTES,
    LINE_BYTES,
    MAX_MEMBERS,
    MOST_BYTES,
    NUMBER_BYTES,
    PIECE_BYTES,
    TOKEN_BYTES,
    EncodedError,
    LimitedStream,
    RedirectedError,
    ReplyTooLargeError,
    chat_byte_limit,
    embeddings_byte_limit,
    guard_response,
    limit_reply,
)

URL = "http://127.0.0.1:9/v1/chat"


class Raw(httpx2.AsyncByteStream):
    """Bytes as they come from a server."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces, self.closed = pieces, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def read(raw: Raw, limit: int, *, compressed: bool = False, quietly: bool = False, by_line: bool = False) -> bytes:
    """All that a stream gives."""

    async def run() -> bytes:
        stream = LimitedStream(raw, limit, compressed=compressed, quietly=quietly, by_line=by_line)
        found = b"".join([piece async for piece in stream])
        await stream.aclose()
        return found

    return asyncio.run(run())


def response(status: int = 200, method: str = "POST", *pieces: bytes, **headers: str) -> httpx2.Response:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    request = httpx2.Request(method, URL)
    return httpx2.Response(status, headers=named, stream=Raw(*pieces), request=request)


def body(made: httpx2.Response) -> bytes:
    """What is read of a response that passed the guard."""

    async def run() -> bytes:
        await guard_response(made)
        return await made.aread()

    return asyncio.run(run())


def test_limits_by_hand() -> None:
    assert chat_byte_limit(100) == BASE_BYTES + 100 * TOKEN_BYTES == 2**20 + 102_400
    for none in (0, -1, None, "9", 9.0):
        assert chat_byte_limit(none) == BASE_BYTES
    assert chat_byte_limit(1) == BASE_BYTES + TOKEN_BYTES and chat_byte_limit(10**9) == MOST_BYTES
    assert embeddings_byte_limit(10, 4) == BASE_BYTES + 40 * NUMBER_BYTES == 2**20 + 960
    assert embeddings_byte_limit(10**5, 10**5) == MOST_BYTES == 2**25 and ERROR_BYTES == 2**16


def test_a_stream_may_have_exactly_its_limit() -> None:
    assert read(Raw(b"x" * 200, b"y" * 100), 300) == b"x" * 200 + b"y" * 100
    with pytest.raises(ReplyTooLargeError, match=r"0\.0 MB"):
        read(Raw(b"x" * 200, b"y" * 100), 299)
    assert read(Raw(b"x" * 200, b"y" * 100), 299, quietly=True) == b"x" * 200
    with pytest.raises(ReplyTooLargeError, match=r"more than 1\.5 MB"):
        read(Raw(b"x" * 2**21), 3 * 2**19)


def test_tiny_pieces_and_lines_count_at_least_so_much() -> None:
    assert read(Raw(b"x", b"y"), 2 * PIECE_BYTES) == b"xy"
    with pytest.raises(ReplyTooLargeError):
        read(Raw(b"x", b"y"), 2 * PIECE_BYTES - 1)
    lines = b"x" * 97 + b"\n\r\n"
    assert read(Raw(lines), 100 + 3 * LINE_BYTES, by_line=True) == lines
    with pytest.raises(ReplyTooLargeError):
        read(Raw(lines), 100 + 3 * LINE_BYTES - 1, by_line=True)
    assert read(Raw(lines), 100) == lines


def test_compressed_bodies_are_unfolded_to_the_limit() -> None:
    plain = b"abc" * 60_000
    for packed in (gzip.compress(plain), zlib.compress(plain)):
        assert read(Raw(packed[:50], packed[50:]), len(plain), compressed=True) == plain
        with pytest.raises(ReplyTooLargeError):
            read(Raw(packed), len(plain) - 1, compressed=True)
    broken = gzip.compress(plain)[:30] + b"xxxx"
    with pytest.raises(httpx2.DecodingError):
        read(Raw(broken, b"y" * 100), 10**6, compressed=True)
    assert isinstance(read(Raw(broken, b"y" * 100), 10**6, compressed=True, quietly=True), bytes)


def test_so_many_compressed_members_and_not_one_more() -> None:
    member = gzip.compress(b"x" * 100)
    assert read(Raw(member * MAX_MEMBERS), 10**6, compressed=True) == b"x" * 100 * MAX_MEMBERS
    with pytest.raises(httpx2.DecodingError, match="too many"):
        read(Raw(member * (MAX_MEMBERS + 1)), 10**6, compressed=True)


def test_the_connection_is_closed() -> None:
    raw = Raw(b"x")
    read(raw, 100)
    assert raw.closed


def test_a_reply_is_read_to_the_limit_of_its_request() -> None:
    assert body(response(200, "POST", b"x" * BASE_BYTES)) == b"x" * BASE_BYTES
    with pytest.raises(ReplyTooLargeError):
        body(response(200, "POST", b"x" * (BASE_BYTES + 1)))
    with limit_reply(500):
        assert body(response(200, "POST", b"x" * 500)) == b"x" * 500
        with pytest.raises(ReplyTooLargeError):
            body(response(200, "POST", b"x" * 501))
    assert body(response(200, "POST", b"x" * 501)) == b"x" * 501, "the limit ends with its block"
    events = {"content_type": "text/event-stream"}
    with limit_reply(500), pytest.raises(ReplyTooLargeError):
        body(response(200, "POST", b"x" * 450 + b"\n", **events))


def test_of_an_error_only_its_head_is_read() -> None:
    for status in (300, 404, 500):
        pieces = (b"x" * ERROR_BYTES, b"y")
        assert body(response(status, "POST", *pieces)) == b"x" * ERROR_BYTES
    with pytest.raises(ReplyTooLargeError):
        body(response(299, "POST", b"x" * (BASE_BYTES + 1)))


def test_encodings_that_are_read_and_others() -> None:
    packed = gzip.compress(b"abc")
    for name in ("gzip", "x-gzip", "deflate", " GZIP ", "identity, gzip"):
        assert body(response(200, "POST", packed, content_encoding=name)) == b"abc"
    assert body(response(200, "POST", b"abc", content_encoding="identity")) == b"abc"
    for name in ("br", "gzip, gzip", "gzip, br"):
        with pytest.raises(EncodedError, match=name.replace(", ", ".*")):
            body(response(200, "POST", packed, content_encoding=name))
        assert body(response(500, "POST", packed, content_encoding=name)) == b""


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("text/html; charset=utf-8", "text/html; charset=utf-8"),
        ("text/html; charset=GBK", "text/html; charset=GBK"),
        ("text/html; charset=zlib", "text/html"),
        ("text/html; CHARSET=zlib; x=y", "text/html"),
        ("text/html", "text/html"),
    ],
)
def test_no_charset_that_decompresses(given: str, left: str) -> None:
    made = response(500, "POST", b"x", content_type=given)
    asyncio.run(guard_response(made))
    assert made.headers["content-type"] == left


@pytest.mark.parametrize(
    ("status", "method", "location", "told"),
    [
        (307, "POST", "/v2/chat", None),
        (308, "POST", "http://127.0.0.1:9/other", None),
        (301, "GET", "/v2", None),
        (302, "POST", "/v2?key=secret", "http://127.0.0.1:9/v2"),
        (307, "POST", "http://elsewhere.test/x?key=secret", "http://elsewhere.test/x"),
        (307, "POST", "http://127.0.0.1:10/v1", "http://127.0.0.1:10/v1"),
        (301, "GET", "https://127.0.0.1:9/v1", "https://127.0.0.1:9/v1"),
        (307, "POST", "http://user:secret@elsewhere.test/x", "http://elsewhere.test/x"),
    ],
)
def test_redirects_stay_on_their_server(status: int, method: str, location: str, told: str | None) -> None:
    made = response(status, method, b"x", location=location)
    if told is None:
        asyncio.run(guard_response(made))
        return
    with pytest.raises(RedirectedError) as caught:
        asyncio.run(guard_response(made))
    assert caught.value.target == str(caught.value) == told
