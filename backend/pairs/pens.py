"""The generators of a run: endpoints, and policies trained here, woken and opened for one event loop."""

import asyncio
from collections.abc import Mapping, Sequence

from backend.agents.writing import Pen
from backend.llm.budget import Budget
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService
from backend.writing.generators import GeneratorKind, GeneratorService
from backend.writing.writer import Writer


class Pens:
    """Opens the generators of a run for one event loop; close it."""

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
            pens[name] = Pen(
                name=name,
                model=info.model,
                key=self._endpoints.fence_key(),
                client=writer.client,
                trained=info.kind is GeneratorKind.ARTIFACT,
                concurrency=writer.client.endpoint.concurrency,
            )
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
