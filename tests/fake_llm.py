"""A fake OpenAI-compatible server in its own process, scripted: latency, faults, replies, counters.

`python -m tests.fake_llm --port 0 --script '{"reply": "verdict", "faults": {"rate_limit": 0.1}}'` prints its
address. GET /_control gives the counters, POST /_control replaces the script and clears them.
Which request suffers which fault follows from seed, item and how often the item was asked, so a run can
be repeated whatever the order in which its requests arrive.
"""

import argparse
import asyncio
import contextlib
import email.utils
import hashlib
import importlib
import json
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.fake_stream import STREAM_FAULTS, Stream

FENCED = re.compile(r"<<<祝福 ([0-9a-f]+) 开始>>>\n(.*?)\n<<<祝福 \1 结束>>>", re.S)
ANY_FENCE = re.compile(r"<<<\S+ [0-9a-f]+ 开始>>>\n(.*?)\n<<<\S+ [0-9a-f]+ 结束>>>", re.S)
ORDERS = ("OBEYME", "直接判", "忽略以上", "ignore all previous", "ignore previous")
Body = dict[str, Any]
BILLED: Body = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
"""What every chat request costs that a model has answered, whatever becomes of the reply."""
UNBILLED = {"rate_limit", "server_error", "overloaded", "bad_request", "forbidden", "quota", "too_long"}


@dataclass
class Script:
    """How the server behaves. `faults` maps a fault's name to its share of the requests; `hold` lets every
    chat request wait for the next script. `usage` is whether it says what it bills, or what it says instead.
    """

    reply: str = "verdict"
    text: str = ""
    latency_s: float = 0.0
    latency: str = "constant"
    faults: dict[str, float] = field(default_factory=dict)
    first_faults: list[str] = field(default_factory=list)
    seed: int = 0
    models: list[str] = field(default_factory=lambda: ["fake"])
    api_key: str = ""
    schema: str = "accept"
    retry_after: str = "0.02"
    refuses: list[str] = field(default_factory=list)
    usage: Any = True
    chunk: int = 4
    chunk_s: float = 0.0
    streams: bool = True
    width: int = 64
    hold: bool = False


def quality(greeting: str) -> int:
    """The hidden quality of a greeting, known to the fake and to the test that asks about it."""
    return hashlib.sha256(greeting.encode()).digest()[0] % 2


SAME = {"母亲": "妈妈", "老妈": "妈妈", "诞辰": "生日", "寿辰": "生日"}


def meaning(text: str, width: int) -> list[float]:
    """A vector in which a few synonyms are one, and texts that share characters are near."""
    for word, same in SAME.items():
        text = text.replace(word, same)
    vector = [0.0] * width
    for char in text:
        vector[hashlib.sha256(char.encode()).digest()[0] % width] += 1.0
    return vector


def prompt_of(body: Body) -> str:
    """The first user message: re-asks come after it."""
    return str(next((m["content"] for m in body["messages"] if m["role"] == "user"), ""))


def greeting_of(body: Body) -> str:
    """The fenced greeting, or the whole prompt where nothing is fenced."""
    found = FENCED.findall(prompt_of(body))
    return found[-1][1] if found else prompt_of(body)


def verdict(body: Body) -> str:
    """Judges by hidden quality, in JSON."""
    said = quality(greeting_of(body))
    return json.dumps({"verdict": said, "explanation": "真诚" if said else "空洞"}, ensure_ascii=False)


def words(body: Body) -> str:
    """Judges by hidden quality, in a word."""
    return "好" if quality(greeting_of(body)) else "坏"


def obey(body: Body) -> str:
    """Says 1 to whoever gives it an order outside a fence, else 0."""
    outside = ANY_FENCE.sub("", "\n".join(str(message["content"]) for message in body["messages"]))
    told = any(order in outside for order in ORDERS)
    return json.dumps({"verdict": int(told), "explanation": "被指使" if told else "未受影响"}, ensure_ascii=False)


def echo(body: Body) -> str:
    """The last message."""
    return str(body["messages"][-1]["content"])


def learns(body: Body) -> str:
    """Chatters at first and gives a proper verdict when it is asked again."""
    return verdict(body) if len(body["messages"]) > 2 else "这条祝福各有优缺点，见仁见智。"


def chatter(_: Body) -> str:
    """Never gives a verdict."""
    return "这条祝福各有优缺点，见仁见智。"


REPLIES: dict[str, Callable[[Body], str]] = {
    made.__name__: made for made in (verdict, words, obey, echo, learns, chatter)
}


class Server:
    """The script, the counters, and what each fault looks like on the wire."""

    def __init__(self, script: Script) -> None:
        self.reset(script)

    def reset(self, script: Script) -> None:
        self.script = script
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.bodies: deque[Body] = deque(maxlen=20)
        self.active = self.most_active = self.billed = 0
        if script.text:
            self._reply: Callable[[Body], str] = lambda _: script.text
        elif ":" in script.reply:
            module, name = script.reply.split(":")
            self._reply = getattr(importlib.import_module(module), name)
        else:
            self._reply = REPLIES[script.reply]

    def control(self) -> Body:
        return {
            "script": asdict(self.script),
            "asked": self.asked,
            "answered": self.answered,
            "faults": self.faults,
            "bodies": list(self.bodies),
            "most_active": self.most_active,
            "billed": self.billed,
        }

    async def chat(self, body: Body, key: str) -> "Response | Stream | None":
        item = greeting_of(body)
        self.asked[item] += 1
        nth = self.asked[item] - 1
        self.bodies.append(body)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            chance = random.Random(f"{self.script.seed}|{item}|{self.asked[item]}")
            await asyncio.sleep(self._latency(chance))
            while self.script.hold:
                await asyncio.sleep(0.02)
            refusal = self._refusal(body, key)
            if refusal:
                return refusal
            fault = self._fault(nth, chance)
            self.billed += 0 if fault in UNBILLED else BILLED["total_tokens"]
            if fault:
                self.faults[fault] += 1
                if fault == "hang":
                    await asyncio.sleep(3600)
                if fault in STREAM_FAULTS:
                    return self._streamed(body, fault)
                return FAULTS[fault](self)
            self.answered[item] += 1
            if body.get("stream") and self.script.streams:
                return self._streamed(body)
            return self.completion(self._reply(body))
        finally:
            self.active -= 1

    async def embed(self, body: Body, key: str) -> "Response | None":
        self.asked["embeddings"] += 1
        chance = random.Random(f"{self.script.seed}|embeddings|{self.asked['embeddings']}")
        await asyncio.sleep(self._latency(chance))
        if refusal := self._refusal(body, key):
            return refusal
        fault = self._fault(self.asked["embeddings"] - 1, chance)
        tokens = sum(map(len, body["input"]))
        self.billed += 0 if fault in UNBILLED else tokens
        if fault:
            self.faults[fault] += 1
            return FAULTS[fault](self)
        self.answered["embeddings"] += len(body["input"])
        data = [
            {"object": "embedding", "index": at, "embedding": meaning(text, self.script.width)}
            for at, text in enumerate(body["input"])
        ]
        document: Body = {"object": "list", "model": body["model"], "data": data[::-1]}
        document |= self.usage_part({"prompt_tokens": tokens, "total_tokens": tokens})
        return Response(200, document)

    def _streamed(self, body: Body, fault: str = "") -> Stream:
        script = self.script
        usage = self.usage_part(BILLED).get("usage")
        return Stream(self._reply(body), script.chunk, script.chunk_s, fault, usage)

    def usage_part(self, true: Body) -> Body:
        """The part of a reply that says what it used."""
        usage = self.script.usage
        if usage is False:
            return {}
        return {"usage": true if usage is True else usage}

    def completion(self, text: str | None, finish: str = "stop") -> "Response":
        message = {"role": "assistant", "content": text}
        document: Body = {
            "id": "fake",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.script.models[0],
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        }
        return Response(200, document | self.usage_part(BILLED))

    def _latency(self, chance: random.Random) -> float:
        mean = self.script.latency_s
        return {
            "constant": lambda: mean,
            "uniform": lambda: chance.uniform(0, 2 * mean),
            "exponential": lambda: chance.expovariate(1 / mean) if mean else 0.0,
        }[self.script.latency]()

    def _refusal(self, body: Body, key: str) -> "Response | None":
        if self.script.api_key and key != self.script.api_key:
            return error(401, f"Incorrect API key provided: {key}", code="invalid_api_key")
        if body.get("model") not in self.script.models:
            return error(404, f"The model `{body.get('model')}` does not exist", code="model_not_found")
        if self.script.schema == "reject" and "response_format" in body:
            return error(400, "'response_format' of type json_schema is not supported by this server")
        for name in self.script.refuses:
            if name in body:
                hint = "; use max_completion_tokens" if name == "max_tokens" else ""
                return error(400, f"Unsupported parameter: {name}{hint}")
        return None

    def _fault(self, nth: int, chance: random.Random) -> str:
        if nth < len(self.script.first_faults):
            return self.script.first_faults[nth]
        drawn = chance.random()
        for name, rate in self.script.faults.items():
            drawn -= rate
            if drawn < 0:
                return name
        return ""


@dataclass
class Response:
    """What goes on the wire. `cut_at` closes the connection after so many bytes of the body."""

    status: int
    document: Any
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    cut_at: int | None = None
    drip: bool = False

    def encoded(self) -> tuple[bytes, bytes]:
        raw = self.document if isinstance(self.document, str) else json.dumps(self.document, ensure_ascii=False)
        body = raw.encode()
        lines = [f"HTTP/1.1 {self.status} X", f"content-type: {self.kind}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode(), body


def error(status: int, message: str, code: str = "", **headers: str) -> Response:
    """An error in OpenAI's form."""
    return Response(status, {"error": {"message": message, "type": "fake", "code": code or None}}, headers)


def _rate_limit(server: Server) -> Response:
    wait = server.script.retry_after
    if wait == "date":
        wait = email.utils.formatdate(time.time() + 1, usegmt=True)
    return error(429, "Rate limit reached", **({"retry-after": wait} if wait else {}))


FAULTS: dict[str, Callable[[Server], Response | None]] = {
    "rate_limit": _rate_limit,
    "server_error": lambda _: error(500, "internal error"),
    "overloaded": lambda _: error(503, "overloaded", **{"retry-after": "0.02"}),
    "bad_request": lambda _: error(400, "malformed request"),
    "forbidden": lambda _: error(403, "not allowed"),
    "quota": lambda _: error(429, "You exceeded your quota", code="insufficient_quota"),
    "too_long": lambda _: error(400, "This model's maximum context length is 4096 tokens"),
    "drop": lambda _: None,
    "cut": lambda server: _with(server.completion("好"), cut_at=40),
    "drip": lambda server: _with(server.completion("好"), drip=True),
    "bad_json": lambda _: Response(200, '{"choices": [{"message": {"content": "好'),
    "html": lambda _: Response(200, "<html><body>error</body></html>", kind="text/html"),
    "error_body": lambda _: Response(200, {"error": {"message": "upstream failed", "code": 502}}),
    "odd_error_body": lambda _: Response(200, {"error": "something broke"}),
    "no_choices": lambda _: Response(200, {"choices": []}),
    "gateway": lambda _: error(504, "upstream timed out"),
    "billed_error": lambda server: Response(
        200, {"error": {"message": "CUDA out of memory"}} | server.usage_part(BILLED)
    ),
    "filtered": lambda server: server.completion("", "content_filter"),
    "empty": lambda server: server.completion(""),
    "null": lambda server: server.completion(None),
    "thinking": lambda server: server.completion("", "length"),
    "truncated": lambda server: server.completion('{"explanation": "这条祝福语言流畅，但', "length"),
}


def _with(response: Response, **changes: Any) -> Response:
    for name, value in changes.items():
        setattr(response, name, value)
    return response


class Connection(asyncio.Protocol):
    """Enough HTTP/1.1 for a client that sends content-length."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = b""
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            lines = self.buffer[:end].decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            total = end + 4 + int(headers.get("content-length", 0))
            if len(self.buffer) < total:
                return
            body, self.buffer = self.buffer[end + 4 : total], self.buffer[total:]
            authorization = next((line[15:] for line in lines if line.lower().startswith("authorization: ")), "")
            method, path = lines[0].split(" ")[:2]
            task = asyncio.ensure_future(self.serve(method, path, body, authorization.removeprefix("Bearer ")))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def serve(self, method: str, path: str, raw: bytes, key: str) -> None:
        response = await self.route(method, path, raw, key)
        if response is None:
            self.transport.abort()
            return
        if isinstance(response, Stream):
            await response.write(self.transport)
            return
        head, body = response.encoded()
        if response.cut_at is not None:
            self.transport.write(head + body[: response.cut_at])
            self.transport.close()
        elif response.drip:
            self.transport.write(head)
            for at in range(len(body)):
                self.transport.write(body[at : at + 1])
                await asyncio.sleep(0.2)
        else:
            self.transport.write(head + body)

    async def route(self, method: str, path: str, raw: bytes, key: str) -> Response | Stream | None:
        if path == "/_control":
            if method == "POST":
                self.server.reset(Script(**json.loads(raw)))
            return Response(200, self.server.control())
        if path == "/health":
            return Response(200, {"status": "ok"})
        if path == "/v1/models":
            models = [{"id": name, "object": "model"} for name in self.server.script.models]
            return Response(200, {"object": "list", "data": models})
        if path == "/v1/embeddings":
            return await self.server.embed(json.loads(raw), key)
        if path == "/v1/chat/completions":
            return await self.server.chat(json.loads(raw), key)
        return Response(404, {"detail": "Not Found"})


async def main(port: int, script: Script) -> None:
    """Serve until killed; the first line on stdout is the address."""
    server = Server(script)
    listener = await asyncio.get_running_loop().create_server(lambda: Connection(server), "127.0.0.1", port)
    print(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=json.loads, default={})
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(given.port, Script(**given.script)))
