"""Liked greetings for similar requests: which ones people liked, the index in the home folder, retrievers on it."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from backend.core.enums import Outcome, RaterKind, Scale, Split, is_excellent
from backend.core.errors import UserError
from backend.core.text import assign_split, strip_white_space
from backend.db.engine import Database
from backend.db.play_tables import PlayCard, PlayRound, PlaySignal
from backend.db.queries import current_rows
from backend.db.tables import ClickCount, Comparison, Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.generation.near_duplicates import normal_greeting, normal_prompt
from backend.judges.base import Sample
from backend.judges.panel import Retriever
from backend.judges.registry import ExampleRequest
from backend.judges.retrieval import ENTRIES_FILE, ExampleIndex, HybridRetriever, LikedGreeting
from backend.llm.budget import Budget, Estimate
from backend.llm.endpoints import EndpointService
from backend.llm.limiter import RetryPolicy

if TYPE_CHECKING:
    from backend.llm.embeddings import EmbeddingClient

HUMAN_RATER_KINDS = (RaterKind.HUMAN, RaterKind.DATASET)
# Pairs that people decided; those that a panel decided show what a judge likes.
HUMAN_PAIR_ORIGINS = ("import", "seed")
# Rows in memory at a time: of a large corpus only greetings with a like or a dislike are retained.
ROWS_PER_FETCH = 5_000

VoteCounts = Counter[int]


def collect_liked(session: Session) -> Iterator[tuple[str, LikedGreeting]]:
    """(request, greeting) with its likes, for every greeting that somebody liked or disliked.

    Left out: requests of the evaluation splits and their near-duplicates, and greetings that also stand there.
    """
    # A judge that is shown liked greetings of the evaluation splits would be measured on what it was told.
    evaluation_prompts, evaluation_texts = _evaluation_texts(session)

    def is_training_text(prompt_text: str, greeting_text: str) -> bool:
        return (
            normal_greeting(greeting_text) not in evaluation_texts
            and normal_prompt(prompt_text) not in evaluation_prompts
        )

    for prompt, liked_greeting in chain(_collect_voted(session), _collect_clicked(session)):
        if strip_white_space(liked_greeting.greeting) and is_training_text(prompt, liked_greeting.greeting):
            yield prompt, liked_greeting


def _collect_voted(session: Session) -> Iterator[tuple[str, LikedGreeting]]:
    like_counts, dislike_counts = _count_votes(session)
    result_rows = session.execute(
        select(Greeting.id, Greeting.text, Prompt.text)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Prompt.split == Split.TRAIN)
        .order_by(Greeting.id)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    for greeting_id, greeting_text, prompt_text in result_rows:
        if like_counts[greeting_id] or dislike_counts[greeting_id]:
            yield (
                prompt_text,
                LikedGreeting(greeting_text, like_counts[greeting_id], dislike_counts[greeting_id]),
            )


def _collect_clicked(session: Session) -> Iterator[tuple[str, LikedGreeting]]:
    # Only a visitor's last click on a card counts, as only the last answer of a rater does.
    newest_signals = select(func.max(PlaySignal.id)).group_by(PlaySignal.card_id, PlaySignal.visitor)
    result_rows = session.execute(
        select(
            PlayRound.prompt,
            PlayCard.text,
            func.sum(case((PlaySignal.value > 0, 1), else_=0)),
            func.sum(case((PlaySignal.value < 0, 1), else_=0)),
        )
        .join(PlayCard, PlayCard.round_id == PlayRound.id)
        .join(PlaySignal, PlaySignal.card_id == PlayCard.id)
        .where(PlaySignal.id.in_(newest_signals), PlaySignal.value != 0)
        .group_by(PlayRound.prompt, PlayCard.text)
        .order_by(PlayRound.prompt, PlayCard.text)
    )
    for prompt_text, greeting_text, like_count, dislike_count in result_rows:
        # Requests of the playground are no rows of `prompts`, so their split comes of the text as it would
        # there.
        if assign_split(prompt_text) is Split.TRAIN:
            yield prompt_text, LikedGreeting(greeting_text, int(like_count), int(dislike_count))


def likes_stamp(session: Session) -> str:
    """Changes whenever likes or requests may have changed; cheap to ask for."""
    count_rows = [
        session.execute(select(func.count(), func.max(counted_table.id))).one()
        for counted_table in (Prompt, Greeting, Comparison, PreferencePair, PlaySignal)
    ]
    # Click counts are raised in place, so neither their number nor their highest id would change.
    count_rows.append(session.execute(select(func.count(), func.sum(ClickCount.clicks))).one())
    verdict_counts = select(func.count(), func.max(Verdict.id)).join(Rater).where(Rater.kind.in_(HUMAN_RATER_KINDS))
    count_rows.append(session.execute(verdict_counts).one())
    return "-".join(str(count_value or 0) for count_row in count_rows for count_value in count_row)


def _evaluation_texts(session: Session) -> tuple[set[str], set[str]]:
    """Requests and greetings of the evaluation splits, normalised."""
    prompt_texts = session.scalars(select(Prompt.text).where(Prompt.split != Split.TRAIN))
    greeting_texts = session.scalars(
        select(Greeting.text)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Prompt.split != Split.TRAIN)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    return {normal_prompt(stored_text) for stored_text in prompt_texts}, {
        normal_greeting(stored_text) for stored_text in greeting_texts
    }


def _count_votes(session: Session) -> tuple[VoteCounts, VoteCounts]:
    like_counts, dislike_counts = VoteCounts(), VoteCounts()
    for greeting_id, verdict_value, verdict_scale in _human_verdicts(session):
        (like_counts if is_excellent(verdict_value, verdict_scale) else dislike_counts)[greeting_id] += 1
    for left_id, right_id, choice in _human_comparisons(session):
        if choice in (Outcome.A, Outcome.BOTH_GOOD):
            like_counts[left_id] += 1
        if choice in (Outcome.B, Outcome.BOTH_GOOD):
            like_counts[right_id] += 1
        if choice in (Outcome.B, Outcome.BOTH_BAD):
            dislike_counts[left_id] += 1
        if choice in (Outcome.A, Outcome.BOTH_BAD):
            dislike_counts[right_id] += 1
    pair_statement = select(PreferencePair.chosen_id, PreferencePair.rejected_id)
    for chosen_id, rejected_id in session.execute(pair_statement.where(PreferencePair.origin.in_(HUMAN_PAIR_ORIGINS))):
        like_counts[chosen_id] += 1
        dislike_counts[rejected_id] += 1
    for greeting_id, click_count in session.execute(select(ClickCount.greeting_id, ClickCount.clicks)):
        like_counts[greeting_id] += click_count
    return like_counts, dislike_counts


def _human_verdicts(session: Session) -> Iterator[tuple[int, float, Scale]]:
    statement = (
        select(Verdict.greeting_id, Verdict.value, Verdict.scale)
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(
            Rater.kind.in_(HUMAN_RATER_KINDS),
            # Such a value has no threshold from which it would be praise.
            Verdict.scale != Scale.SCORE,
            Verdict.value.is_not(None),
            current_rows(Verdict),
        )
    )
    for greeting_id, verdict_value, verdict_scale in session.execute(statement):
        if verdict_value is not None:
            yield greeting_id, verdict_value, verdict_scale


def _human_comparisons(session: Session) -> Iterator[tuple[int, int, Outcome]]:
    statement = (
        select(Comparison.left_id, Comparison.right_id, Comparison.outcome)
        .join(Rater, Rater.id == Comparison.rater_id)
        .where(Rater.kind.in_(HUMAN_RATER_KINDS), current_rows(Comparison))
    )
    for comparison_row in session.execute(statement):
        yield comparison_row[0], comparison_row[1], comparison_row[2]


EXAMPLES_FOLDER = "examples"
VECTORS_FILE = "vectors.db"
# In the ledger, embedding calls stand under this and the name of their index.
LEDGER_SCOPE = "examples"
# Indexes that stay on disk, the newest; a run that was paused for longer starts anew.
RETAINED_INDEXES = 12


class ExampleService:
    """Keeps the index up to date with the corpus. Threads may share one."""

    def __init__(self, database: Database, home: Path, endpoints: EndpointService | None = None) -> None:
        self._database = database
        self._folder = home / EXAMPLES_FOLDER
        self._endpoints = endpoints
        self._index_lock = threading.Lock()
        self._newest_index: tuple[str, ExampleIndex] | None = None

    def index(self, name: str | None = None) -> ExampleIndex:
        """The index of that name, or the newest: read, or built where the corpus changed.

        Raises UserError where the one that is named is gone.
        """
        # Building takes seconds of CPU; the second who asks waits for the first's index.
        with self._index_lock:
            if name is None:
                return self._current_index()
            if self._newest_index is not None and self._newest_index[1].name == name:
                return self._newest_index[1]
            stored_index = self._load_index(name)
        if stored_index is None:
            raise UserError(
                f"The index of examples {name} is no longer there, or was written by an older version, and "
                "other examples would be another judge; start a new run on the same requests.",
                f"范例索引 {name} 已不存在，或是旧版本写的；换了范例就是另一个裁判，请用同样的请求新开一批。",
            )
        return stored_index

    def retriever(
        self, request: ExampleRequest, budget: Budget | None = None, retry_policy: RetryPolicy | None = None
    ) -> Retriever:
        """Examples as requested; the index, which takes long to build, is not touched before. Raises UserError."""
        # An unknown endpoint is refused now, before a run begins and without opening the index.
        if request.embeddings is not None:
            self._require_endpoint(request.embeddings)
        return _LazyRetriever(self, request, budget, retry_policy)

    def open_retriever(
        self, request: ExampleRequest, budget: Budget | None = None, retry_policy: RetryPolicy | None = None
    ) -> HybridRetriever:
        """As `retriever`, on its index already. Raises UserError."""
        retriever = HybridRetriever(self.index(request.index), request.count)
        if request.embeddings is not None:
            retriever.embedder = self._build_embedder(request.embeddings, retriever.index, budget, retry_policy)
        return retriever

    def estimate(self, request: ExampleRequest, prompts: Sequence[str], request_count: int) -> Estimate | None:
        """What embedding the index and so many requests like these will take; None by words alone.

        What was embedded before costs nothing. Raises UserError.
        """
        if request.embeddings is None:
            return None
        example_index = self.index(request.index)
        return self._build_embedder(request.embeddings, example_index).estimate(
            example_index.prompts, prompts, request_count
        )

    def _build_embedder(
        self,
        endpoint_name: str,
        example_index: ExampleIndex,
        budget: Budget | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> "EmbeddingClient":
        from backend.llm.embeddings import EmbeddingClient  # the SDK is a slow import

        service = self._require_endpoint(endpoint_name)
        return EmbeddingClient(
            service.get(endpoint_name),
            self._folder / VECTORS_FILE,
            budget,
            retry_policy,
            service.ledger,
            f"{LEDGER_SCOPE}:{example_index.name}",
        )

    def _require_endpoint(self, endpoint_name: str) -> EndpointService:
        if self._endpoints is None:
            raise UserError(f"There is no endpoint “{endpoint_name}” here.", f"这里没有名为“{endpoint_name}”的端点。")
        self._endpoints.get(endpoint_name)
        return self._endpoints

    def _current_index(self) -> ExampleIndex:
        with self._database.read() as session:
            corpus_stamp = likes_stamp(session)
            if self._newest_index is not None and self._newest_index[0] == corpus_stamp:
                return self._newest_index[1]
            example_index = self._index_by_stamp(corpus_stamp)
            if example_index is None:
                example_index = ExampleIndex.build(collect_liked(session))
                self._store_index(corpus_stamp, example_index)
        self._newest_index = (corpus_stamp, example_index)
        return example_index

    def _index_by_stamp(self, corpus_stamp: str) -> ExampleIndex | None:
        """The index that was built for the corpus as it is, by any process."""
        try:
            return self._load_index((self._folder / f"{corpus_stamp}.stamp").read_text("utf-8").strip())
        except FileNotFoundError:
            return None

    def _load_index(self, name: str) -> ExampleIndex | None:
        folder = self._folder / name
        # The name may come from a stored specification: it must not lead out of this folder.
        if not name.isalnum() or not (folder / ENTRIES_FILE).is_file():
            return None
        try:
            return ExampleIndex.load(folder)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError):
            shutil.rmtree(folder, ignore_errors=True)  # damaged or of an older form: it is built again
            return None

    def _store_index(self, corpus_stamp: str, example_index: ExampleIndex) -> None:
        example_index.save(self._folder / example_index.name)
        # The stamp comes last and in one piece: whoever reads it finds a whole index under the name in it.
        temporary_file = self._folder / f"{corpus_stamp}.{threading.get_ident()}.new"
        temporary_file.write_text(example_index.name, "utf-8")
        temporary_file.replace(self._folder / f"{corpus_stamp}.stamp")
        for outdated_path in _outdated_paths(
            [index_path for index_path in self._folder.iterdir() if index_path.is_dir()]
        ):
            shutil.rmtree(outdated_path, ignore_errors=True)
        for outdated_path in _outdated_paths(list(self._folder.glob("*.stamp"))):
            outdated_path.unlink(missing_ok=True)


def _outdated_paths(candidate_paths: list[Path]) -> list[Path]:
    return sorted(candidate_paths, key=lambda path: path.stat().st_mtime)[:-RETAINED_INDEXES]


class _LazyRetriever:
    """A retriever that opens its index at the first question about it."""

    def __init__(
        self,
        service: ExampleService,
        request: ExampleRequest,
        budget: Budget | None,
        retry_policy: RetryPolicy | None,
    ) -> None:
        self._arguments = (request, budget, retry_policy)
        self._example_service = service
        self._opened_retriever: HybridRetriever | None = None

    @property
    def version(self) -> str:
        return self._ensure_open().version

    async def examples(self, prompt: str, greeting: str = "") -> Sequence[Sample]:
        return await self._ensure_open().examples(prompt, greeting)

    def _ensure_open(self) -> HybridRetriever:
        if self._opened_retriever is None:
            self._opened_retriever = self._example_service.open_retriever(*self._arguments)
        return self._opened_retriever
