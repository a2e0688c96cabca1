"""Short ways to judges that ask the fake server."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backend.judges.asking import JudgeModel
from backend.judges.base import Judgment, Sample
from backend.judges.context import JudgeContext
from backend.judges.criteria import CriteriaJudge, principle_judge, starting_principles
from backend.judges.panel import PanelJudge
from backend.judges.scoring.run import run_blocking
from backend.llm.client import OpenAIClient
from backend.llm.ledger import MemoryLedger
from backend.llm.messages import Endpoint
from backend.principles.setup import refuse_baseline
from tests.llm_fixtures import FAST, FakeLLM

T = TypeVar("T")
KEY = b"a key of the house"
ASKED = "给奶奶的八十大寿祝福"


def with_model(fake: FakeLLM, work: Callable[[JudgeModel], Awaitable[T]], **endpoint: Any) -> T:
    """`work` with a model at the fake server, in an event loop of its own."""
    given = fake.endpoint(**endpoint)

    async def run() -> T:
        async with OpenAIClient(given, policy=FAST) as client:
            return await work(JudgeModel(given.base_url, given.model, key=KEY, client=client))

    return run_blocking(run())


def score(
    fake: FakeLLM,
    greetings: Sequence[str],
    make: Callable[[JudgeModel], CriteriaJudge | PanelJudge] | None = None,
    **endpoint: Any,
) -> list[Judgment]:
    """Drafts for the greetings, from the principle judge unless `make` gives another."""
    build = make or (lambda model: principle_judge(model, starting_principles()))
    batch = [Sample(ASKED, greeting) for greeting in greetings]
    return with_model(fake, lambda model: build(model).score(batch), **endpoint)


@dataclass
class FakeEndpoints:
    """Stands in for `EndpointService`: every name is an endpoint at the fake server whose model has that name."""

    fake: FakeLLM
    changes: dict[str, Any] = field(default_factory=dict)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def endpoints(self) -> list[Endpoint]:
        return [self.get("fake")]

    def get(self, name: str) -> Endpoint:
        return self.fake.endpoint(name=name, model=name, **self.changes)

    def client(self, endpoint: Endpoint, scope: str, **options: Any) -> OpenAIClient:
        return OpenAIClient(endpoint, scope=scope, **options | {"ledger": self.ledger, "policy": FAST})

    def fence_key(self) -> bytes:
        return KEY


def context_at(fake: FakeLLM, **endpoint: Any) -> JudgeContext:
    """What judges are made from, at the fake server, with a ledger in memory and no database."""
    return JudgeContext(FakeEndpoints(fake, endpoint), refuse_baseline)  # type: ignore[arg-type]
