"""What judges are built from: endpoints, ledger, budget, and the trivial judges fitted to what the corpus holds now."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from backend.core.enums import JUDGE_ORIGINS, RaterKind, is_excellent
from backend.core.errors import UserError
from backend.db.engine import Database
from backend.db.queries import current_rows
from backend.db.tables import Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.judges.base import Judge
from backend.judges.crossfit import TrainingLabel, TrainingPair, TrainingPool
from backend.judges.examples import ExampleService
from backend.judges.length import LengthJudge
from backend.judges.ngram import lazy_ngram
from backend.judges.panel import Retriever
from backend.judges.registry import ExampleRequest
from backend.judges.style import lazy_style
from backend.llm.budget import Budget
from backend.llm.endpoints import DEFAULT_NAME, EndpointService
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import Endpoint

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient

_NOT_FROM_RUNS = PreferencePair.origin.not_in(JUDGE_ORIGINS)
"""What a judge labelled teaches no baseline, which would then agree with judges for no other reason."""


class FittedJudges:
    """Rebuilt when asked and something changed. Threads may share one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._cached_judges: tuple[tuple[int, ...], list[Judge]] | None = None

    def all_judges(self) -> list[Judge]:
        """Length, style and n-gram, in that order."""
        with self._lock:
            with self._database.read() as session:
                corpus_signature = _corpus_signature(session)
            if self._cached_judges is None or self._cached_judges[0] != corpus_signature:
                with self._database.read() as session:
                    training_pool = _build_training_pool(session)
                self._cached_judges = (
                    corpus_signature,
                    [LengthJudge(), lazy_style(training_pool), lazy_ngram(training_pool)],
                )
            return self._cached_judges[1]

    def judge_named(self, judge_name: str) -> Judge:
        """The one of that name."""
        return next(judge for judge in self.all_judges() if judge.name == judge_name)


def _corpus_signature(session: Session) -> tuple[int, ...]:
    pair_figures = session.execute(select(func.count(), func.max(PreferencePair.id)).where(_NOT_FROM_RUNS)).one()
    label_figures = session.execute(
        select(func.count(), func.max(Verdict.id))
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.DATASET)
    ).one()
    return tuple(figure or 0 for figure in (*pair_figures, *label_figures))


def _build_training_pool(session: Session) -> TrainingPool:
    chosen_greeting, rejected_greeting = aliased(Greeting), aliased(Greeting)
    pair_rows = session.execute(
        select(Prompt.text, chosen_greeting.text, rejected_greeting.text)
        .select_from(PreferencePair)
        .join(Prompt, Prompt.id == PreferencePair.prompt_id)
        .join(chosen_greeting, chosen_greeting.id == PreferencePair.chosen_id)
        .join(rejected_greeting, rejected_greeting.id == PreferencePair.rejected_id)
        .where(_NOT_FROM_RUNS)
        .order_by(PreferencePair.id)
    )
    label_rows = session.execute(
        select(Prompt.text, Greeting.text, Verdict.value, Verdict.scale)
        .select_from(Verdict)
        .join(Rater, Rater.id == Verdict.rater_id)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.value.is_not(None), current_rows(Verdict))
        .order_by(Verdict.id)
    )
    return TrainingPool(
        pairs=[TrainingPair(*pair_row) for pair_row in pair_rows],
        labels=[
            TrainingLabel(prompt_text, greeting_text, is_excellent(label_value, label_scale))
            for prompt_text, greeting_text, label_value, label_scale in label_rows
            if label_value is not None
        ],
    )


NO_ENDPOINT = UserError(
    "No endpoint is set up; add one on the page “Judges” or set ZHUFU_LLM_BASE_URL and ZHUFU_LLM_MODEL.",
    "还没有配置模型端点，请在“裁判”页添加，或设置 ZHUFU_LLM_BASE_URL 和 ZHUFU_LLM_MODEL。",
)


class DatabaseJudgeContext:
    """The house for one run: its clients share a budget and are closed together."""

    def __init__(
        self,
        endpoint_service: EndpointService | None,
        fitted_judge: Callable[[str], Judge],
        budget: Budget | None = None,
        retry_policy: RetryPolicy | None = None,
        example_service: ExampleService | None = None,
    ) -> None:
        self.budget = budget or Budget()
        self._example_service = example_service
        self._endpoint_service = endpoint_service
        self._fitted_judge = fitted_judge
        self._retry_policy = retry_policy
        self._clients: list[OpenAIClient] = []

    def endpoint(self, endpoint_name: str | None) -> Endpoint:
        """The endpoint of that name; without one the environment's, or the only one there is.

        Raises UserError.
        """
        endpoint_service = self._require_endpoints()
        if endpoint_name is not None:
            return endpoint_service.get(endpoint_name)
        endpoint_names = [endpoint_info.name for endpoint_info in endpoint_service.endpoints()]
        if not endpoint_names:
            raise NO_ENDPOINT
        if DEFAULT_NAME not in endpoint_names and len(endpoint_names) > 1:
            raise UserError(
                f"There are several endpoints; name one of: {', '.join(endpoint_names)}.",
                f"有多个端点，请指定其中一个：{'、'.join(endpoint_names)}。",
            )
        return endpoint_service.get(DEFAULT_NAME if DEFAULT_NAME in endpoint_names else endpoint_names[0])

    def client(self, endpoint: Endpoint, scope: str) -> "OpenAIClient":
        """A client for one judge at one version."""
        new_client = self._require_endpoints().client(
            endpoint.name, scope, budget=self.budget, policy=self._retry_policy
        )
        self._clients.append(new_client)
        return new_client

    def fence_key(self) -> bytes:
        """The key that fences are derived with."""
        return self._require_endpoints().fence_key()

    def fitted(self, judge_name: str) -> Judge:
        """The baseline of that name, fitted to the corpus."""
        return self._fitted_judge(judge_name)

    def retriever(self, request: ExampleRequest) -> Retriever:
        """Examples from the corpus, found when they are first asked for. Raises UserError."""
        if self._example_service is None:
            raise UserError("There are no examples here; set examples to 0.", "这里没有范例，请把范例数设为 0。")
        return self._example_service.retriever(request, self.budget, self._retry_policy)

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        for client in self._clients:
            client.stop()

    async def close(self) -> None:
        """Close the clients and store what the ledger holds."""
        for client in self._clients:
            await client.close()
        if self._clients:
            self._require_endpoints().ledger.flush()

    def _require_endpoints(self) -> EndpointService:
        if self._endpoint_service is None:
            raise NO_ENDPOINT
        return self._endpoint_service


class PreviewJudgeContext(DatabaseJudgeContext):
    """The house for reading prompts, which needs no model: a nameless endpoint where none is set up."""

    def endpoint(self, endpoint_name: str | None) -> Endpoint:
        """As in any house; without a name and without endpoints a stand-in."""
        if endpoint_name is None and not self._require_endpoints().endpoints():
            return Endpoint(name="", base_url="http://localhost", model="")
        return super().endpoint(endpoint_name)
