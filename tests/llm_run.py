"""A small scoring run as its own process, for the test that kills it: base URL, database, items."""

import asyncio
import sys

from backend.db.engine import Database
from backend.llm.client import OpenAIClient
from backend.llm.database_ledger import DatabaseLedger
from backend.llm.messages import ChatMessage, Endpoint


async def main(base_url: str, url: str, items: int) -> None:
    """Ask about every item; print how many replies came from the ledger."""
    database = Database(url)
    ledger = DatabaseLedger(database)
    endpoint = Endpoint("fake", base_url, "fake", concurrency=16)
    async with OpenAIClient(endpoint, scope="judge v1", ledger=ledger) as client:
        print("started", flush=True)
        asked = (client.complete([ChatMessage("user", f"第{n}条")]) for n in range(items))
        done = await asyncio.gather(*asked)
    ledger.close()
    database.close()
    print(sum(one.cached for one in done), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
