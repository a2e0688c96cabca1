"""Short ways to judges that ask the fake server."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from backend.judges.asking import JudgeModel
from backend.judges.base import Judgment, Sample
from backend.judges.criteria import PrincipleJudge, RubricJudge, starting_principles
from backend.judges.panel import PanelJudge
from backend.judges.scoring.run import run_blocking
from backend.llm.client import OpenAIClient
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
    make: Callable[[JudgeModel], PrincipleJudge | RubricJudge | PanelJudge] | None = None,
    **endpoint: Any,
) -> list[Judgment]:
    """Drafts for the greetings, from the principle judge unless `make` gives another."""
    build = make or (lambda model: PrincipleJudge(model, starting_principles()))
    batch = [Sample(ASKED, greeting) for greeting in greetings]
    return with_model(fake, lambda model: build(model).score(batch), **endpoint)
