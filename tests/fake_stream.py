"""Replies of the fake server in pieces, whole and broken."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]
HEAD = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_FAULTS = (
    "stream_cut",
    "stream_close",
    "stream_stall",
    "stream_garbage",
    "stream_error",
    "stream_endless",
)
"""Half of the reply, and then: the connection dies, the body just ends, nothing more comes, what comes is
not JSON, an error comes, the text goes on for ever."""


@dataclass
class Stream:
    """A reply in pieces, as server-sent events in a chunked body."""

    text: str
    size: int
    pause_s: float
    fault: str = ""
    usage: Any = None

    async def write(self, transport: Any) -> None:
        """Piece by piece until the end, or until the fault."""
        transport.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        size = max(1, self.size)
        text = self.text[: max(size, len(self.text) // 2)] if self.fault else self.text
        for at in range(0, len(text), size):
            self._event(transport, {"choices": [{"index": 0, "delta": {"content": text[at : at + size]}}]})
            await asyncio.sleep(self.pause_s)
        if self.fault:
            await self._break(transport)
            return
        self._event(transport, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if self.usage is not None:
            self._event(transport, {"choices": [], "usage": self.usage})
        self._chunk(transport, b"data: [DONE]\n\n")
        transport.write(b"0\r\n\r\n")

    async def _break(self, transport: Any) -> None:
        if self.fault == "stream_stall":
            await asyncio.sleep(3600)
        while self.fault == "stream_endless":
            self._event(transport, {"choices": [{"index": 0, "delta": {"content": self.text}}]})
            await asyncio.sleep(max(0.01, self.pause_s))
        if self.fault == "stream_garbage":
            self._chunk(transport, b"data: {oops\n\n")
        if self.fault == "stream_error":
            self._event(transport, {"error": {"message": "CUDA out of memory"}})
        if self.fault == "stream_cut":
            transport.abort()
        else:
            transport.write(b"0\r\n\r\n")

    def _event(self, transport: Any, document: Body) -> None:
        self._chunk(transport, b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n")

    def _chunk(self, transport: Any, data: bytes) -> None:
        transport.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
