"""Replies that no decent server sends cost little memory and time, and end in one typed sentence."""

import asyncio
import gzip
import itertools
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from pydantic import SecretStr

from backend.core.settings import PROJECT_ROOT
from backend.llm.client import OpenAIClient
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import ChatMessage, Endpoint
from tests.hostile_server import (
    EVENTS,
    Answer,
    answering,
    bomb,
    bombs_in_a_row,
    endless,
    tiny_chunks,
    whole,
)

MEMORY_MB, CPU_S, SECONDS = 100, 2.0, 25
OBJECTS = b'{"choices": [' + b'{"a":0},' * 250_000 + b"{}]}"
NUMBERS = b'{"data": [' + b"1.5," * 6_000_000 + b"1]}"


@cache
def bomb_in_brotli() -> bytes:
    """A gigabyte of spaces."""
    packer = pytest.importorskip("brotli").Compressor(quality=1)
    return b"".join(packer.process(b" " * 2**24) for _ in range(64)) + bytes(packer.finish())


def after(start: bytes, piece: bytes) -> Iterable[bytes]:
    """The start, and the piece again and again."""
    return itertools.chain([start], itertools.repeat(piece))


class Caller:
    """The process that calls and is measured."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, answer: Answer, what: str) -> dict[str, Any]:
        """What one call of this answer came to."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with answering(answer) as url:
            self._process.stdin.write(f"{url} {what}\n")
            self._process.stdin.flush()
            return dict(json.loads(self._process.stdout.readline()))


@pytest.fixture(scope="module")
def measured() -> Iterator[Caller]:
    command = [sys.executable, "-m", "tests.hostile_call"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=PROJECT_ROOT, **pipes) as process:
        yield Caller(process)


BODIES: dict[str, tuple[Callable[[], Iterable[bytes]], str]] = {
    "gzip": (lambda: whole(bomb(), content_encoding="gzip"), "too_large"),
    "gzip of many members": (lambda: whole(bombs_in_a_row(), content_encoding="gzip"), "too_large"),
    "gzip of empty members": (
        lambda: whole(gzip.compress(b"") * 100_000, content_encoding="gzip"),
        "cut_off",
    ),
    "deflate": (lambda: whole(bomb(form=15), content_encoding="deflate"), "too_large"),
    "twice": (lambda: whole(gzip.compress(bomb(8)), content_encoding="gzip, gzip"), "not_json"),
    "five times": (lambda: whole(bomb(), content_encoding=", ".join(["gzip"] * 5)), "not_json"),
    "brotli": (lambda: whole(bomb_in_brotli(), content_encoding="br"), "not_json"),
    "zstd": (lambda: whole(b"\x28\xb5\x2f\xfd" * 9, content_encoding="zstd"), "not_json"),
    "endless": (lambda: endless(b" " * 65_536), "too_large"),
    "endless in tiny chunks": (lambda: tiny_chunks(b" ", "application/json"), "too_large"),
    "a million objects": (lambda: whole(OBJECTS), "too_large"),
    "endless header": (lambda: after(b"HTTP/1.1 200 X\r\nx: ", b"y" * 9999), "cut_off"),
    "endless headers": (lambda: after(b"HTTP/1.1 200 X\r\n", b"x: y\r\n" * 999), "cut_off"),
    "error in gzip": (lambda: whole(bomb(), 500, content_encoding="gzip"), "server_error"),
    "error in brotli": (lambda: whole(b"oops", 401, content_encoding="br"), "unauthorised"),
    "endless error": (lambda: endless(b"oops " * 9999, status=403), "forbidden"),
    "error in a charset that unfolds": (
        lambda: whole(b"BZh9", 500, "text/plain; charset=bz2"),
        "server_error",
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_reply_is_read_to_a_limit_and_not_unfolded_beyond_it(measured: Caller, case: str) -> None:
    answer, kind = BODIES[case]
    pieces = answer()
    found = measured(lambda *_: pieces, "chat")
    assert found["kind"] == kind
    assert found["grown_mb"] < MEMORY_MB and found["cpu_s"] < CPU_S and found["seconds"] < SECONDS


@pytest.mark.parametrize("what", ["stream", "embeddings", "models"])
def test_so_is_every_other_kind_of_reply(measured: Caller, what: str) -> None:
    body = bomb()
    found = measured(lambda *_: whole(body, content_encoding="gzip"), what)
    assert found["kind"] == "too_large" and found["grown_mb"] < MEMORY_MB and found["cpu_s"] < CPU_S


def test_vectors_of_too_many_numbers_are_not_built(measured: Caller) -> None:
    found = measured(lambda *_: whole(NUMBERS), "embeddings")
    assert found["kind"] == "too_large" and found["grown_mb"] < MEMORY_MB and found["cpu_s"] < CPU_S


STREAMS: dict[str, Callable[[], Iterable[bytes]]] = {
    "one endless line": lambda: endless(b"data: " + b"x" * 65_536, EVENTS),
    "keep-alives": lambda: endless(b": still here\n\n" * 999, EVENTS),
    "empty lines": lambda: endless(b"\n" * 9999, EVENTS),
    "tiny chunks": lambda: tiny_chunks(b"x", EVENTS),
    "empty events": lambda: endless(b"data: {}\n\n" * 999, EVENTS),
    "pieces": lambda: endless(b'data: {"choices":[{"delta":{"content":"\xe7\xa6\x8f"}}]}\n\n' * 99, EVENTS),
    "gzip": lambda: whole(bomb(), kind=EVENTS, content_encoding="gzip"),
}


@pytest.mark.parametrize("case", STREAMS)
def test_an_endless_stream_ends_at_the_limit(measured: Caller, case: str) -> None:
    found = measured(lambda *_: STREAMS[case](), "stream")
    assert found["kind"] == "too_large"
    assert found["grown_mb"] < MEMORY_MB and found["cpu_s"] < CPU_S


def error_of(answer: Answer, **changes: Any) -> LLMError:
    """The error of one call of this answer."""

    async def run(url: str) -> None:
        endpoint = replace(Endpoint("hostile", url, "m", SecretStr("sk-secret")), **changes)
        async with OpenAIClient(endpoint, policy=RetryPolicy(attempts=1)) as client:
            await client.complete([ChatMessage("user", "新年")])

    with answering(answer) as url, pytest.raises(LLMError) as caught:
        asyncio.run(run(url))
    return caught.value


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 X\r\n\r\n" * 999, b""])
def test_a_server_that_never_begins_its_reply_is_left_in_time(piece: bytes) -> None:
    began = time.monotonic()
    assert error_of(lambda *_: itertools.repeat(piece), timeout_s=0.5).kind is LLMErrorKind.TIMEOUT
    assert time.monotonic() - began < 10


def test_a_reply_compressed_unasked_is_read(measured: Caller) -> None:
    document = {"choices": [{"message": {"content": "福"}, "finish_reason": "stop"}]}
    halves = json.dumps(document)[:20].encode(), json.dumps(document)[20:].encode()
    members = gzip.compress(halves[0]) + gzip.compress(halves[1])
    for name, body in (("gzip", members), ("deflate", zlib.compress(b"".join(halves)))):
        found = measured(lambda *_, b=body, n=name: whole(b, content_encoding=n), "chat")
        assert found["kind"] == "fine"


class TestRedirects:
    """Only the same server may send a request on; the key goes nowhere else."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_another_server_is_named_and_never_asked(self, status: int) -> None:
        asked: list[str] = []

        def thief(path: str, _: bytes) -> Iterable[bytes]:
            asked.append(path)
            return whole(b"{}")

        with answering(thief) as other:
            error = error_of(lambda *_: whole(b"", status, location=f"{other}/chat/completions?t=secret"))
        assert error.kind is LLMErrorKind.REDIRECTED and error.fatal and not error.billed and not asked
        assert error.detail == f"{other}/chat/completions"

    def test_a_secure_address_of_the_same_host_is_named(self) -> None:
        error = error_of(lambda *_: whole(b"", 301, location="https://127.0.0.1/v1/chat/completions"))
        assert "https://127.0.0.1/v1/chat/completions" in error.message.en
        assert "https://127.0.0.1/v1/chat/completions" in error.message.zh

    def test_the_same_server_may_move_a_request_that_stays_what_it_is(self, measured: Caller) -> None:
        good = b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}'

        def moved(path: str, body: bytes) -> Iterable[bytes]:
            if path == "/v2/chat/completions":
                return whole(good if b'"m"' in body else b"")
            return whole(b"", 308, location="/v2/chat/completions")

        assert measured(moved, "chat")["kind"] == "fine"
        error = error_of(lambda *_: whole(b"", 302, location="/v2/chat/completions"))
        assert error.kind is LLMErrorKind.REDIRECTED, "a POST would become a GET"

    @pytest.mark.parametrize("location", ["/v1/chat/completions", "http://[oops", "//", "http://u:p@h/?k=s"])
    def test_circles_and_nonsense_end_in_one_sentence(self, location: str) -> None:
        error = error_of(lambda *_: whole(b"", 307, location=location))
        assert error.kind is LLMErrorKind.REDIRECTED and "u:p" not in str(error) and "k=s" not in str(error)


def test_a_secure_address_of_a_server_that_is_none_costs_nothing() -> None:
    with answering(lambda *_: whole(b"")) as url:
        error = error_of(lambda *_: whole(b""), base_url=url.replace("http://", "https://"), timeout_s=1.0)
    assert error.kind is LLMErrorKind.UNREACHABLE and not error.billed
