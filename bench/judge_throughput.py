"""2,000 calls at 100 ms latency and concurrency 64: our client beside a bare SDK loop and a thread pool.

`python -m bench.judge_throughput` runs all of them against one fake server, twice in alternation, and
prints ratios: they hold where absolute figures depend on the machine. The ideal is n * latency / concurrency.
"""

import argparse
import asyncio
import json
import tempfile
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import local

import openai

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.llm.client import OpenAIClient
from backend.llm.database_ledger import DatabaseLedger
from backend.llm.messages import ChatMessage
from tests.llm_fixtures import FakeLLM, running

SYSTEM = "你是祝福语评审，请按原则判断这条祝福语是否优秀，只输出 JSON。" * 8


async def lanes(n: int, width: int, one: Callable[[int], Awaitable[object]]) -> None:
    """`n` pieces of work, `width` at a time."""
    numbers = iter(range(n))

    async def lane() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(lane() for _ in range(width)))


def ours(fake: FakeLLM, n: int, width: int, database: Database) -> None:
    """Our client, every call recorded in the database."""
    scope = str(time.time())

    async def run() -> None:
        ledger = DatabaseLedger(database)
        async with OpenAIClient(fake.endpoint(concurrency=width), scope=scope, ledger=ledger) as client:
            await lanes(
                n,
                2 * width,
                lambda i: client.complete([ChatMessage("system", SYSTEM), ChatMessage("user", greeting(i))]),
            )
        ledger.close()

    asyncio.run(run())


def bare(fake: FakeLLM, n: int, width: int) -> None:
    """The SDK in a loop with a semaphore: no ledger, no retries, no limits."""

    async def run() -> None:
        gate = asyncio.Semaphore(width)
        async with openai.AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as client:

            async def one(number: int) -> None:
                async with gate:
                    await client.chat.completions.create(
                        model="fake",
                        messages=[
                            {"role": "system", "content": SYSTEM},
                            {"role": "user", "content": greeting(number)},
                        ],
                        temperature=0.0,
                        max_tokens=1024,
                    )

            await asyncio.gather(*(one(number) for number in range(n)))

    asyncio.run(run())


def threads(fake: FakeLLM, n: int, width: int) -> None:
    """A pool of threads with plain requests over kept connections."""
    address = urllib.parse.urlsplit(fake.address)
    own = local()

    def one(number: int) -> None:
        if not hasattr(own, "connection"):
            own.connection = HTTPConnection(address.hostname or "", address.port)
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": greeting(number)}]
        body = json.dumps({"model": "fake", "messages": messages, "temperature": 0.0, "max_tokens": 1024})
        own.connection.request("POST", "/v1/chat/completions", body.encode(), {"content-type": "application/json"})
        json.loads(own.connection.getresponse().read())

    with ThreadPoolExecutor(width) as pool:
        list(pool.map(one, range(n)))


def greeting(number: int) -> str:
    """A text of usual length, different for every number."""
    return f"第{number}条：愿你新的一年平安喜乐，所行皆坦途，所愿皆如愿，灯火可亲，岁岁年年。" * 2


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=0.1)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    n, width = given.n, given.concurrency
    with running() as fake, tempfile.TemporaryDirectory() as home:
        database = Database(f"sqlite:///{Path(home) / 'bench.db'}")
        migrate(database)
        works: dict[str, Callable[[], None]] = {
            "bare SDK loop": lambda: bare(fake, n, width),
            "ours, with ledger": lambda: ours(fake, n, width, database),
            "100 threads": lambda: threads(fake, n, 100),
        }
        best = dict.fromkeys(works, float("inf"))
        fake.script(latency_s=given.latency)
        bare(fake, width, width)
        for _ in range(given.rounds):
            for name, work in works.items():
                fake.script(latency_s=given.latency)
                began = time.perf_counter()
                work()
                best[name] = min(best[name], time.perf_counter() - began)
                assert sum(fake.state()["asked"].values()) == n
        database.close()
    report(best, n, n * given.latency / width)


def report(best: dict[str, float], n: int, ideal: float) -> None:
    """The table on stdout."""
    print(f"{'':20} {'seconds':>8} {'calls/s':>8} {'vs bare loop':>13} {'of the ideal':>13}")
    for name, seconds in best.items():
        ratio = best["bare SDK loop"] / seconds
        print(f"{name:20} {seconds:8.2f} {n / seconds:8.0f} {ratio:13.2f} {ideal / seconds:13.2f}")
    print(f"ideal (n * latency / concurrency): {ideal:.2f} s; goal: ours at least 0.85 of the bare loop")


if __name__ == "__main__":
    main()
