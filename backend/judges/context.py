"""What judges are built from: endpoints, ledger, budget, and the trivial judges fitted to what the corpus holds now."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
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
from backend.llm.ledger import Ledger
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import Endpoint

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient

# What a judge labelled teaches no baseline, which would then agree with judges for no other reason.
_NOT_FROM_RUNS = PreferencePair.origin.not_in(JUDGE_ORIGINS)


class FittedJudges:
    """The baselines, fitted to the corpus: built when they are asked for and it has changed. Threads may share one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._cached_judges: tuple[tuple[int, ...], list[Judge]] | None = None

    def all_judges(self) -> list[Judge]:
        """Length, style and n-gram, in that order."""
        # Held while the pool is read too, so that two pages do not build, and later fit, the same judges
        # twice.
        with self._lock:
            with self._database.read() as session:
                # Before the pool is read: what comes in between makes the pool newer than its signature, and
                # it is built once more. The other way round an old pool would pass for the current one.
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
        """The baseline "length", "style" or "ngram". Raises StopIteration for any other name."""
        return next(judge for judge in self.all_judges() if judge.name == judge_name)


def _corpus_signature(session: Session) -> tuple[int, ...]:
    # Count and highest id change with every row that comes or goes, and are cheap to ask for.
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


# Stands in for the default endpoint where a prompt is only read and none is set up.
NO_MODEL = Endpoint(name="", base_url="http://localhost", model="")
NO_EXAMPLES = UserError("There are no examples here; set examples to 0.", "这里没有范例，请把范例数设为 0。")


@dataclass
class JudgeContext:
    """What the judges of one run are made from (`JudgeSources`), and how the run is stopped and closed.

    Its clients share a budget, a retry policy and a ledger (that of the endpoints where `ledger` is None), and are
    closed together. Without endpoints or examples the judges that need them are refused with a sentence; `stand_in` is
    the default endpoint where none is set up.
    """

    endpoint_service: EndpointService | None
    fitted_judge: Callable[[str], Judge]
    budget: Budget = field(default_factory=Budget)
    retry_policy: RetryPolicy | None = None
    example_service: ExampleService | None = None
    stand_in: Endpoint | None = None
    ledger: Ledger | None = None
    is_stopped: bool = field(default=False, init=False)
    _clients: "list[OpenAIClient]" = field(default_factory=list, init=False)

    def endpoint(self, endpoint_name: str | None) -> Endpoint:
        """The endpoint of that name; without one the environment's, or the only one there is.

        Raises UserError.
        """
        endpoint_service = self._require_endpoints()
        if endpoint_name is not None:
            return endpoint_service.get(endpoint_name)
        endpoint_names = [endpoint_info.name for endpoint_info in endpoint_service.endpoints()]
        if not endpoint_names:
            if self.stand_in is not None:
                return self.stand_in
            raise NO_ENDPOINT
        # To choose one silently would send the texts to a server that nobody named.
        if DEFAULT_NAME not in endpoint_names and len(endpoint_names) > 1:
            raise UserError(
                f"There are several endpoints; name one of: {', '.join(endpoint_names)}.",
                f"有多个端点，请指定其中一个：{'、'.join(endpoint_names)}。",
            )
        return endpoint_service.get(DEFAULT_NAME if DEFAULT_NAME in endpoint_names else endpoint_names[0])

    def client(self, endpoint: Endpoint, scope: str) -> "OpenAIClient":
        """A client for one judge at one version (`scope`), stopped and closed with the others."""
        new_client = self._require_endpoints().client(
            endpoint, scope, budget=self.budget, policy=self.retry_policy, ledger=self.ledger
        )
        return self.adopt(new_client)

    def adopt(self, client: "OpenAIClient") -> "OpenAIClient":
        """The client, which from now on is stopped and closed with the others of this run."""
        self._clients.append(client)
        return client

    def fence_key(self) -> bytes:
        """The key that fences around outside text are derived with."""
        return self._require_endpoints().fence_key()

    def fitted(self, judge_name: str) -> Judge:
        """The baseline of that name, fitted to the corpus."""
        return self.fitted_judge(judge_name)

    def retriever(self, request: ExampleRequest) -> Retriever:
        """Examples from the corpus, looked for when they are first needed. Raises UserError."""
        if self.example_service is None:
            raise NO_EXAMPLES
        return self.example_service.retriever(request, self.budget, self.retry_policy)

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        self.is_stopped = True
        for client in self._clients:
            client.stop()

    async def close(self) -> None:
        """Close the clients and store what the ledger holds."""
        for client in self._clients:
            await client.close()
        # Only now: calls that were in flight are recorded while their client closes.
        if self._clients:
            self._require_endpoints().ledger.flush()

    def _require_endpoints(self) -> EndpointService:
        if self.endpoint_service is None:
            raise NO_ENDPOINT
        return self.endpoint_service
