"""The house of one run: endpoints as for judges, and policies trained here, all on one budget."""

import asyncio
from dataclasses import dataclass

from backend.evolution.players import refuse_baseline
from backend.llm.budget import Budget
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService
from backend.principles.vocabulary import Agent
from backend.scoring.house import DatabaseJudgeContext
from backend.writing.generators import GeneratorService
from backend.writing.writer import GreetingWriter

POLL_SECONDS = 0.5


class GameContext(DatabaseJudgeContext):
    """A scoring house that opens policies too."""

    def __init__(
        self,
        endpoints: EndpointService,
        generators: GeneratorService,
        budget: Budget | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        super().__init__(endpoints, refuse_baseline, budget, retry_policy)
        self._generators = generators
        self._retry_policy = retry_policy
        self._is_stopped = False

    async def writer(self, policy_name: str) -> GreetingWriter:
        """The policy, woken and waited for. Raises UserError, LLMError where the run is stopped meanwhile."""
        call_scope = f"principles:{Agent.GENERATOR}"
        open_writer = self._generators.open(
            policy_name, call_scope, run_budget=self.budget, retry_policy=self._retry_policy
        )
        wake_task = asyncio.ensure_future(open_writer)
        try:
            while not (await asyncio.wait([wake_task], timeout=POLL_SECONDS))[0]:
                if self._is_stopped:
                    raise LLMError(LLMErrorKind.CANCELLED)
            policy_writer = await wake_task
        finally:
            wake_task.cancel()
        self._clients.append(policy_writer.client)
        return policy_writer

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        self._is_stopped = True
        super().stop()


@dataclass(frozen=True)
class GameContextFactory:
    """Makes the house of one run."""

    endpoints: EndpointService
    generators: GeneratorService
    retry_policy: RetryPolicy | None = None

    def __call__(self, budget: Budget | None = None) -> GameContext:
        """A house whose clients share the budget."""
        return GameContext(self.endpoints, self.generators, budget, self.retry_policy)
