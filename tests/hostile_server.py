"""Replies that no decent server sends, byte by byte: bombs, endless bodies, redirects. For one test each."""

import asyncio
import contextlib
import gzip
import itertools
import threading
import zlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue

Answer = Callable[[str, bytes], Iterable[bytes]]
"""From the request's path and body to the bytes of the answer, sent as long as somebody reads them."""
Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]
JSON, EVENTS = "application/json", "text/event-stream"


def head(status: int = 200, kind: str = JSON, **headers: str) -> bytes:
    """The head of an answer that ends with its connection."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(body: bytes, status: int = 200, kind: str = JSON, **headers: str) -> Iterable[bytes]:
    """An answer with its length."""
    return [head(status, kind, content_length=str(len(body)), **headers) + body]


def endless(piece: bytes, kind: str = JSON, status: int = 200, **headers: str) -> Iterable[bytes]:
    """A body that never ends."""
    return itertools.chain([head(status, kind, **headers)], itertools.repeat(piece))


def tiny_chunks(piece: bytes, kind: str) -> Iterable[bytes]:
    """A chunked body that never ends, every piece a chunk of its own."""
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    return itertools.chain([head(kind=kind, transfer_encoding="chunked")], itertools.repeat(chunk * 5000))


@cache
def bomb(megabytes: int = 2, form: int = 31) -> bytes:
    """So many MB of gzip (or another form of zlib) that unfold to a thousand times as much."""
    packer = zlib.compressobj(9, zlib.DEFLATED, form)
    start = packer.compress(b'{"choices": [{"message": {"content": "')
    start += packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 2**26) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * (megabytes * 2**20 // len(block)) + packer.flush()


def bombs_in_a_row(megabytes: int = 2) -> bytes:
    """As `bomb`, of many members."""
    member = gzip.compress(b" " * 2**24)
    return member * (megabytes * 2**20 // len(member))


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server with this answer for everything, in a thread; gives its base URL."""
    address, ended = SimpleQueue[int](), Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def serve() -> None:
        end = asyncio.Event()
        server = await asyncio.start_server(_session(answer), "127.0.0.1", 0)
        ended.set_result((asyncio.get_running_loop(), end))
        address.put(server.sockets[0].getsockname()[1])
        await end.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{address.get(timeout=10)}/v1"
    finally:
        loop, end = ended.result(10)
        loop.call_soon_threadsafe(end.set)
        thread.join(10)


def _session(
    answer: Answer,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = [line for line in request.lower().split("\r\n") if line.startswith("content-length: ")]
            body = await reader.readexactly(int(length[0][16:])) if length else b""
            for piece in answer(request.split(" ")[1], body):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client or the test has had enough
        finally:
            writer.transport.abort()

    return session
