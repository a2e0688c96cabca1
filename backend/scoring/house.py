"""What judges are built from in this house: its endpoints, its ledger, its fitted baselines."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from backend.corpus.examples import ExampleService
from backend.errors import UserError
from backend.judges.base import Judge
from backend.judges.panel import Retriever
from backend.judges.registry import ExampleWish
from backend.llm.budget import Budget
from backend.llm.endpoint import Endpoint
from backend.llm.retry import RetryPolicy
from backend.llm.service import DEFAULT, EndpointService

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient

NO_ENDPOINT = UserError(
    "No endpoint is set up; add one on the page “Judges” or set ZHUFU_LLM_BASE_URL and ZHUFU_LLM_MODEL.",
    "还没有配置模型端点，请在“裁判”页添加，或设置 ZHUFU_LLM_BASE_URL 和 ZHUFU_LLM_MODEL。",
)


class ScoringHouse:
    """The house for one run: its clients share a budget and are closed together."""

    def __init__(
        self,
        endpoints: EndpointService | None,
        fitted: Callable[[str], Judge],
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
        examples: ExampleService | None = None,
    ) -> None:
        self.budget = budget or Budget()
        self._examples = examples
        self._endpoints = endpoints
        self._fitted = fitted
        self._policy = policy
        self._clients: list[OpenAIClient] = []

    def endpoint(self, name: str | None) -> Endpoint:
        """The endpoint of that name; without one the environment's, or the only one there is.

        Raises UserError.
        """
        service = self._known()
        if name is not None:
            return service.get(name)
        names = [info.name for info in service.endpoints()]
        if not names:
            raise NO_ENDPOINT
        if DEFAULT not in names and len(names) > 1:
            raise UserError(
                f"There are several endpoints; name one of: {', '.join(names)}.",
                f"有多个端点，请指定其中一个：{'、'.join(names)}。",
            )
        return service.get(DEFAULT if DEFAULT in names else names[0])

    def client(self, endpoint: Endpoint, scope: str) -> "OpenAIClient":
        """A client for one judge at one version."""
        made = self._known().client(endpoint.name, scope, budget=self.budget, policy=self._policy)
        self._clients.append(made)
        return made

    def fence_key(self) -> bytes:
        """The key that fences are derived with."""
        return self._known().fence_key()

    def fitted(self, name: str) -> Judge:
        """The baseline of that name, fitted to the corpus."""
        return self._fitted(name)

    def retriever(self, wish: ExampleWish) -> Retriever:
        """Examples from the corpus, found when they are first asked for. Raises UserError."""
        if self._examples is None:
            raise UserError(
                "There are no examples here; set examples to 0.", "这里没有范例，请把范例数设为 0。"
            )
        return self._examples.retriever(wish, self.budget, self._policy)

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        for client in self._clients:
            client.stop()

    async def close(self) -> None:
        """Close the clients and store what the ledger holds."""
        for client in self._clients:
            await client.close()
        if self._clients:
            self._known().ledger.flush()

    def _known(self) -> EndpointService:
        if self._endpoints is None:
            raise NO_ENDPOINT
        return self._endpoints


class ReadingHouse(ScoringHouse):
    """The house for reading prompts, which needs no model: a nameless endpoint where none is set up."""

    def endpoint(self, name: str | None) -> Endpoint:
        """As in any house; without a name and without endpoints a stand-in."""
        if name is None and not self._known().endpoints():
            return Endpoint(name="", base_url="http://localhost", model="")
        return super().endpoint(name)
