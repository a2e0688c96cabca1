"""The retrieval agent: liked greetings for similar requests, by words and, where configured, by meaning.

Words: BM25 over the words of requests. Meaning: cosine of embeddings. Both rankings and that of likes are
fused by reciprocal rank (Cormack et al. 2009). What is under judgement never comes back: not its request, not
its greeting, not one that says the same.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from backend.agents.example_index import ExampleIndex, Floats, Liked, ranked
from backend.errors import Message, UserError
from backend.judges.base import Sample, version_of
from backend.llm.errors import LLMError
from backend.writing.near import Seen, normal_prompt, similarity

log = logging.getLogger(__name__)

VERSION = 1
"""Part of every version: raise it when examples are chosen differently."""
CANDIDATES = 40
"""How many requests each ranking may propose."""
FUSION = 60
"""The constant of reciprocal rank fusion, as in the paper."""
TOO_ALIKE = 0.6
"""A greeting that shares so much with the one under judgement is the same for a judge."""


class Embedder(Protocol):
    """Texts to vectors, by one model."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the vectors, as plain values."""

    async def vectors(self, texts: Sequence[str]) -> Floats:
        """One row a text, any length. Raises UserError where the model does not answer."""


@dataclass(frozen=True)
class Found:
    """An example, and why it was chosen: ranks from 1, None where a ranking did not propose it."""

    prompt: str
    greeting: str
    likes: int
    dislikes: int
    by_words: int | None
    by_meaning: int | None
    score: float


@dataclass
class HybridRetriever:
    """Implements `Retriever`. One for a run; use it in one event loop.

    Where the embedding model fails, words alone decide from then on, and `notice` says so. A budget that is
    used up is no such failure: it ends the run, as with any call.
    """

    index: ExampleIndex
    k: int = 3
    embedder: Embedder | None = None
    notice: Message | None = None
    _meaning: "_Meaning | None" = None
    _preparing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @cached_property
    def version(self) -> str:
        """Hash of the index, of how many examples there are, and of the embedding model."""
        embedder = self.embedder.identity if self.embedder else None
        return version_of({"retrieval": VERSION, "index": self.index.name, "k": self.k, "embedder": embedder})

    async def examples(self, prompt: str, greeting: str = "") -> Sequence[Sample]:
        """The examples for a request, best first; `greeting` is the one under judgement."""
        return [Sample(one.prompt, one.greeting) for one in await self.found(prompt, greeting)]

    async def found(self, prompt: str, greeting: str = "") -> list[Found]:
        """The examples with the reasons for them."""
        return choose(self.index, prompt, greeting, self.k, await self._nearest(prompt))

    async def _nearest(self, prompt: str) -> dict[int, int]:
        """Requests by meaning, with their ranks; none where no embedding model answers."""
        if self.embedder is None or self.notice is not None or not len(self.index):
            return {}
        try:
            async with self._preparing:
                if self._meaning is None:
                    self._meaning = _Meaning(await self.embedder.vectors(self.index.prompts))
            return self._meaning.nearest(await self.embedder.vectors([prompt]), CANDIDATES)
        except UserError as error:
            if isinstance(error, LLMError) and error.ends_run and not error.fatal:
                raise
            self.notice = Message(
                f"Examples are found by words alone: {error.text('en')}",
                f"范例只按词语检索：{error.text('zh')}",
            )
            log.warning("%s", self.notice.en)
            return {}


def choose(
    index: ExampleIndex, prompt: str, greeting: str, k: int, by_meaning: Mapping[int, int] | None = None
) -> list[Found]:
    """At most `k` examples for the request, no two of one request and no two that say the same."""
    words, meaning = index.by_words(prompt, CANDIDATES), by_meaning or {}
    asked = normal_prompt(prompt)
    open_ = [number for number in {**words, **meaning} if index.normals[number] != asked]
    merits = {
        merit: rank for rank, merit in enumerate(sorted({_merit(index, n) for n in open_}, reverse=True), 1)
    }
    scores = {n: _fused(words.get(n), meaning.get(n), merits[_merit(index, n)]) for n in open_}
    found: list[Found] = []
    seen = Seen()
    for number in sorted(open_, key=lambda n: (-scores[n], n)):
        if len(found) == k:
            break
        best = _best(index.liked[number], greeting, seen)
        if best is not None:
            ranks = words.get(number), meaning.get(number)
            told = index.prompts[number], best.greeting, best.likes, best.dislikes
            found.append(Found(*told, *ranks, scores[number]))
    return found


def _fused(*ranks: int | None) -> float:
    return sum(1 / (FUSION + rank) for rank in ranks if rank is not None)


def _merit(index: ExampleIndex, number: int) -> float:
    return index.liked[number][0].merit


def _best(liked: Sequence[Liked], greeting: str, seen: Seen) -> Liked | None:
    """The most liked greeting that is neither under judgement nor chosen already."""
    for one in liked:
        if greeting and similarity(one.greeting, greeting) >= TOO_ALIKE:
            continue
        if seen.add(one.greeting) is None:
            return one
    return None


class _Meaning:
    """Vectors of the requests, on their principal components, so that 25,000 are searched in milliseconds."""

    COMPONENTS = 256

    def __init__(self, vectors: Floats) -> None:
        unit = _unit(vectors)
        self._axes: Floats | None = None
        if unit.shape[1] > self.COMPONENTS:
            _, axes = np.linalg.eigh(unit.T @ unit)
            self._axes = np.ascontiguousarray(axes[:, -self.COMPONENTS :], dtype=np.float32)
        self._width = unit.shape[1]
        self._matrix = self._reduced(unit)

    def nearest(self, query: Floats, count: int) -> dict[int, int]:
        """The rows most like the query, with their ranks."""
        if query.shape != (1, self._width):
            raise UserError(
                "The embedding model changed the size of its vectors.", "向量模型返回的向量维度变了。"
            )
        cosines = self._matrix @ self._reduced(_unit(query))[0]
        return ranked(cosines, count)

    def _reduced(self, unit: Floats) -> Floats:
        return unit if self._axes is None else _unit(unit @ self._axes)


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0), dtype=np.float32)
