"""Calls in a process of their own, measured: reads lines "URL chat|stream|embeddings|models".

Prints what came of each, how far it raised the memory's peak (MB), and seconds of CPU and of waiting.
"""

import asyncio
import contextlib
import json
import re
import sys
import time
from pathlib import Path

from backend.llm.errors import LLMError
from backend.llm.messages import Endpoint
from backend.llm.reply import parse_reply
from backend.llm.transport import CHAT_PATH, RequestRefusal, Transport, chat_reply_limit

MESSAGES = [{"role": "user", "content": "新年"}]
TIMEOUT_S = 20.0


def peak_mb() -> float:
    """Peak resident memory of this program until now; getrusage would begin with its parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) / 1024


async def call(url: str, what: str) -> str:
    """The kind of the error, or "fine"."""
    endpoint = Endpoint("hostile", url, "m")
    transport = Transport(endpoint)
    body = {"model": "m", "messages": MESSAGES, "max_tokens": 1024}
    try:
        if what == "chat":
            document = await transport.exchange(CHAT_PATH, TIMEOUT_S, chat_reply_limit(body), request_body=body)
            parse_reply(endpoint, document)
        elif what == "stream":
            await transport.stream({**body, "stream": True}, TIMEOUT_S, lambda _: None)
        elif what == "embeddings":
            await transport.request_embeddings({"model": "m", "input": ["新年"] * 64}, TIMEOUT_S, 16_384)
        else:
            await transport.list_models(TIMEOUT_S)
    except RequestRefusal as refusal:
        return str(refusal.error.kind)
    except LLMError as error:
        return str(error.kind)
    finally:
        await transport.close()
    return "fine"


def main() -> None:
    """Answer each line "URL WHAT" with what such a call came to; the first is for loading everything."""
    asyncio.run(call("http://127.0.0.1:9/v1", "chat"))
    for line in sys.stdin:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew
        before, cpu, began = peak_mb(), time.process_time(), time.monotonic()
        kind = asyncio.run(call(*line.split()))
        spent = {"cpu_s": time.process_time() - cpu, "seconds": time.monotonic() - began}
        print(json.dumps({"kind": kind, "grown_mb": peak_mb() - before, **spent}), flush=True)


if __name__ == "__main__":
    main()
