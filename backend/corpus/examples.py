"""Liked greetings for similar requests, from the corpus: the index in the home folder, and retrievers on it.

The index is a folder named by its contents; a stamp file says for which state of the corpus it was built.
"""

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backend.agents.example_index import ENTRIES, ExampleIndex
from backend.agents.retrieval import HybridRetriever
from backend.corpus.liked import liked, stamp
from backend.db.engine import Database
from backend.errors import UserError
from backend.judges.base import Sample
from backend.judges.panel import Retriever
from backend.judges.registry import ExampleWish
from backend.llm.budget import Budget, Estimate
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService

if TYPE_CHECKING:
    from backend.llm.embeddings import EmbeddingClient

FOLDER = "examples"
VECTORS = "vectors.db"
SCOPE = "examples"
"""In the ledger, embedding calls stand under this and the name of their index."""
KEPT = 12
"""Indexes that stay on disk, the newest; a run that was paused for longer starts anew."""


class ExampleService:
    """Keeps the index up to date with the corpus. Threads may share one."""

    def __init__(self, database: Database, home: Path, endpoints: EndpointService | None = None) -> None:
        self._database = database
        self._folder = home / FOLDER
        self._endpoints = endpoints
        self._lock = threading.Lock()
        self._newest: tuple[str, ExampleIndex] | None = None

    def index(self, name: str | None = None) -> ExampleIndex:
        """The index of that name, or the newest: read, or built where the corpus changed.

        Raises UserError where the one that is named is gone.
        """
        with self._lock:
            if name is None:
                return self._current()
            if self._newest is not None and self._newest[1].name == name:
                return self._newest[1]
            found = self._stored(name)
        if found is None:
            raise UserError(
                f"The index of examples {name} is no longer there, or was written by an older version, and "
                "other examples would be another judge; start a new run on the same requests.",
                f"范例索引 {name} 已不存在，或是旧版本写的；换了范例就是另一个裁判，请用同样的请求新开一批。",
            )
        return found

    def retriever(
        self, wish: ExampleWish, budget: Budget | None = None, policy: RetryPolicy | None = None
    ) -> Retriever:
        """Examples as wished; the index is not touched before they are needed. Raises UserError."""
        if wish.embeddings is not None:
            self._known_endpoint(wish.embeddings)
        return _Later(self, wish, budget, policy)

    def opened(
        self, wish: ExampleWish, budget: Budget | None = None, policy: RetryPolicy | None = None
    ) -> HybridRetriever:
        """As `retriever`, on its index already. Raises UserError."""
        retriever = HybridRetriever(self.index(wish.index), wish.count)
        if wish.embeddings is not None:
            retriever.embedder = self._embedder(wish.embeddings, retriever.index, budget, policy)
        return retriever

    def estimate(self, wish: ExampleWish, prompts: Sequence[str], count: int) -> Estimate | None:
        """What embedding the index and `count` requests like `prompts` will take; None by words alone.

        What was embedded before costs nothing. Raises UserError.
        """
        if wish.embeddings is None:
            return None
        index = self.index(wish.index)
        return self._embedder(wish.embeddings, index).estimate(index.prompts, prompts, count)

    def _embedder(
        self,
        name: str,
        index: ExampleIndex,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
    ) -> "EmbeddingClient":
        from backend.llm.embeddings import EmbeddingClient  # the SDK is a slow import

        service = self._known_endpoint(name)
        return EmbeddingClient(
            service.get(name),
            self._folder / VECTORS,
            budget,
            policy,
            service.ledger,
            f"{SCOPE}:{index.name}",
        )

    def _known_endpoint(self, name: str) -> EndpointService:
        if self._endpoints is None:
            raise UserError(f"There is no endpoint “{name}” here.", f"这里没有名为“{name}”的端点。")
        self._endpoints.get(name)
        return self._endpoints

    def _current(self) -> ExampleIndex:
        with self._database.read() as session:
            now = stamp(session)
            if self._newest is not None and self._newest[0] == now:
                return self._newest[1]
            index = self._noted(now)
            if index is None:
                index = ExampleIndex.build(liked(session))
                self._keep(now, index)
        self._newest = (now, index)
        return index

    def _noted(self, now: str) -> ExampleIndex | None:
        """The index that was built for the corpus as it is, by any process."""
        try:
            return self._stored((self._folder / f"{now}.stamp").read_text("utf-8").strip())
        except FileNotFoundError:
            return None

    def _stored(self, name: str) -> ExampleIndex | None:
        folder = self._folder / name
        if not name.isalnum() or not (folder / ENTRIES).is_file():
            return None
        try:
            return ExampleIndex.load(folder)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError):
            shutil.rmtree(folder, ignore_errors=True)  # damaged or of an older form: it is built again
            return None

    def _keep(self, now: str, index: ExampleIndex) -> None:
        index.save(self._folder / index.name)
        draft = self._folder / f"{now}.{threading.get_ident()}.new"
        draft.write_text(index.name, "utf-8")
        draft.replace(self._folder / f"{now}.stamp")
        for old in _oldest([path for path in self._folder.iterdir() if path.is_dir()]):
            shutil.rmtree(old, ignore_errors=True)
        for old in _oldest(list(self._folder.glob("*.stamp"))):
            old.unlink(missing_ok=True)


def _oldest(paths: list[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime)[:-KEPT]


class _Later:
    """A retriever that opens its index at the first question about it."""

    def __init__(
        self,
        service: ExampleService,
        wish: ExampleWish,
        budget: Budget | None,
        policy: RetryPolicy | None,
    ) -> None:
        self._how = (wish, budget, policy)
        self._service = service
        self._opened: HybridRetriever | None = None

    @property
    def version(self) -> str:
        return self._open().version

    async def examples(self, prompt: str, greeting: str = "") -> Sequence[Sample]:
        return await self._open().examples(prompt, greeting)

    def _open(self) -> HybridRetriever:
        if self._opened is None:
            self._opened = self._service.opened(*self._how)
        return self._opened
