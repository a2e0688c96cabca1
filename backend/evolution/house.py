"""The house of one run: endpoints as for judges, and policies trained here, all on one budget."""

import asyncio
from dataclasses import dataclass

from backend.evolution.players import no_baseline
from backend.llm.budget import Budget
from backend.llm.errors import Kind, LLMError
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService
from backend.principles.vocabulary import Agent
from backend.scoring.house import ScoringHouse
from backend.writing.generators import GeneratorService
from backend.writing.writer import Writer

TICK_S = 0.5


class GameHouse(ScoringHouse):
    """A scoring house that opens policies too."""

    def __init__(
        self,
        endpoints: EndpointService,
        generators: GeneratorService,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        super().__init__(endpoints, no_baseline, budget, policy)
        self._generators = generators
        self._retries = policy
        self._stopped = False

    async def writer(self, name: str) -> Writer:
        """The policy, woken and waited for. Raises UserError, LLMError where the run is stopped meanwhile."""
        scope = f"principles:{Agent.GENERATOR}"
        opening = self._generators.open(name, scope, budget=self.budget, policy=self._retries)
        waking = asyncio.ensure_future(opening)
        try:
            while not (await asyncio.wait([waking], timeout=TICK_S))[0]:
                if self._stopped:
                    raise LLMError(Kind.CANCELLED)
            writer = await waking
        finally:
            waking.cancel()
        self._clients.append(writer.client)
        return writer

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        self._stopped = True
        super().stop()


@dataclass(frozen=True)
class Houses:
    """Makes the house of one run."""

    endpoints: EndpointService
    generators: GeneratorService
    policy: RetryPolicy | None = None

    def __call__(self, budget: Budget | None = None) -> GameHouse:
        """A house whose clients share the budget."""
        return GameHouse(self.endpoints, self.generators, budget, self.policy)
