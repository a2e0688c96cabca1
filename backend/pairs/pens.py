"""The generators of a run: endpoints, and policies trained here, woken and opened for one event loop."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from backend.agents.writing import Pen
from backend.llm.budget import Budget
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService
from backend.writing.generators import GeneratorService
from backend.writing.writer import Writer


class Pens:
    """Opens the generators of a run for one event loop; close it.

    A policy is woken by a serve job, which is left to its rest timer: visitors or the next chunk may use it.
    """

    def __init__(
        self, generators: GeneratorService, endpoints: EndpointService, policy: RetryPolicy | None = None
    ) -> None:
        self._generators, self._endpoints, self._policy = generators, endpoints, policy
        self._writers: list[Writer] = []

    async def open(self, names: Sequence[str], scope: str, budget: Budget) -> Mapping[str, Pen]:
        """Ready generators by name. Raises UserError for one that cannot be used."""
        pens = {}
        for name in names:
            writer = await self._generators.open(name, scope, budget=budget, policy=self._policy)
            self._writers.append(writer)
            info = await asyncio.to_thread(self._generators.info, name)
            pen = Pen(
                name=name,
                model=info.model,
                key=self._endpoints.fence_key(),
                client=writer.client,
                concurrency=writer.client.endpoint.concurrency,
            )
            if writer.trained:  # it writes as it does for visitors, at the temperatures of the plan
                drawn = writer.sampling
                pen = replace(pen, trained=True, max_tokens=drawn.max_tokens, top_p=drawn.top_p)
            pens[name] = pen
        return pens

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        for writer in self._writers:
            writer.client.stop()

    async def close(self) -> None:
        """Close the clients and store what the ledger holds."""
        for writer in self._writers:
            await writer.close()
        self._endpoints.ledger.flush()
