"""The generators of a run: endpoints, and policies trained here, woken and opened for one event loop."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from backend.agents.writing import CandidateWriter
from backend.llm.budget import Budget
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService
from backend.writing.generators import GeneratorService
from backend.writing.writer import GreetingWriter


class CandidateWriters:
    """Opens the generators of a run for one event loop; close it.

    A policy is woken by a serve job, which is left to its rest timer: visitors or the next chunk may use it.
    """

    def __init__(
        self,
        generators: GeneratorService,
        endpoints: EndpointService,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        self._generators, self._endpoints, self._policy = generators, endpoints, retry_policy
        self._opened_writers: list[GreetingWriter] = []

    async def open(
        self, generator_names: Sequence[str], ledger_scope: str, run_budget: Budget
    ) -> Mapping[str, CandidateWriter]:
        """Ready generators by name. Raises UserError for one that cannot be used."""
        writers_by_name = {}
        for generator_name in generator_names:
            greeting_writer = await self._generators.open(
                generator_name, ledger_scope, run_budget=run_budget, retry_policy=self._policy
            )
            self._opened_writers.append(greeting_writer)
            generator_info = await asyncio.to_thread(self._generators.info, generator_name)
            candidate_writer = CandidateWriter(
                name=generator_name,
                model_name=generator_info.model,
                fence_key=self._endpoints.fence_key(),
                client=greeting_writer.client,
                concurrency=greeting_writer.client.endpoint.concurrency,
            )
            if greeting_writer.trained:  # it writes as it does for visitors, at the temperatures of the plan
                sampling_settings = greeting_writer.sampling
                candidate_writer = replace(
                    candidate_writer,
                    trained=True,
                    max_tokens=sampling_settings.max_tokens,
                    top_p=sampling_settings.top_p,
                )
            writers_by_name[generator_name] = candidate_writer
        return writers_by_name

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        for opened_writer in self._opened_writers:
            opened_writer.client.stop()

    async def close(self) -> None:
        """Close the clients and store what the ledger holds."""
        for opened_writer in self._opened_writers:
            await opened_writer.close()
        self._endpoints.ledger.flush()
