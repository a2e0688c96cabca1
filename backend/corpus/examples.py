"""Liked greetings for similar requests, from the corpus: the index in the home folder, and retrievers on it.

The index is a folder named by its contents; a stamp file says for which state of the corpus it was built.
"""

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backend.agents.example_index import ENTRIES_FILE, ExampleIndex
from backend.agents.retrieval import HybridRetriever
from backend.corpus.liked import collect_liked, likes_stamp
from backend.db.engine import Database
from backend.errors import UserError
from backend.judges.base import Sample
from backend.judges.panel import Retriever
from backend.judges.registry import ExampleRequest
from backend.llm.budget import Budget, Estimate
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService

if TYPE_CHECKING:
    from backend.llm.embeddings import EmbeddingClient

EXAMPLES_FOLDER = "examples"
VECTORS_FILE = "vectors.db"
LEDGER_SCOPE = "examples"
"""In the ledger, embedding calls stand under this and the name of their index."""
RETAINED_INDEXES = 12
"""Indexes that stay on disk, the newest; a run that was paused for longer starts anew."""


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
        """Examples as wished; the index is not touched before they are needed. Raises UserError."""
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
        """What embedding the index and `count` requests like `prompts` will take; None by words alone.

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
        if not name.isalnum() or not (folder / ENTRIES_FILE).is_file():
            return None
        try:
            return ExampleIndex.load(folder)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError):
            shutil.rmtree(folder, ignore_errors=True)  # damaged or of an older form: it is built again
            return None

    def _store_index(self, corpus_stamp: str, example_index: ExampleIndex) -> None:
        example_index.save(self._folder / example_index.name)
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
