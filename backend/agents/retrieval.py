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

from backend.agents.example_index import ExampleIndex, FloatArray, LikedGreeting, rank_largest
from backend.errors import Message, UserError
from backend.judges.base import Sample, version_of
from backend.llm.errors import LLMError
from backend.writing.near import NearDuplicateIndex, normal_prompt, text_similarity

logger = logging.getLogger(__name__)

RETRIEVAL_VERSION = 1
"""Part of every version: raise it when examples are chosen differently."""
RANKING_SIZE = 40
"""How many requests each ranking may propose."""
FUSION_CONSTANT = 60
"""The constant of reciprocal rank fusion, as in the paper."""
MAX_SIMILARITY = 0.6
"""A greeting that shares so much with the one under judgement is the same for a judge."""


class Embedder(Protocol):
    """Texts to vectors, by one model."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the vectors, as plain values."""

    async def vectors(self, texts: Sequence[str]) -> FloatArray:
        """One row a text, any length. Raises UserError where the model does not answer."""


@dataclass(frozen=True)
class RetrievedExample:
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
    example_count: int = 3
    embedder: Embedder | None = None
    notice: Message | None = None
    _vector_index: "_VectorIndex | None" = None
    _preparation_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @cached_property
    def version(self) -> str:
        """Hash of the index, of how many examples there are, and of the embedding model."""
        embedder_identity = self.embedder.identity if self.embedder else None
        return version_of(
            {
                "retrieval": RETRIEVAL_VERSION,
                "index": self.index.name,
                "k": self.example_count,
                "embedder": embedder_identity,
            }
        )

    async def examples(self, prompt: str, greeting: str = "") -> Sequence[Sample]:
        """The examples for a request, best first; `greeting` is the one under judgement."""
        return [Sample(retrieved.prompt, retrieved.greeting) for retrieved in await self.retrieve(prompt, greeting)]

    async def retrieve(self, prompt_text: str, judged_greeting: str = "") -> list[RetrievedExample]:
        """The examples with the reasons for them."""
        return choose_examples(
            self.index,
            prompt_text,
            judged_greeting,
            self.example_count,
            await self._rank_by_meaning(prompt_text),
        )

    async def _rank_by_meaning(self, prompt_text: str) -> dict[int, int]:
        """Requests by meaning, with their ranks; none where no embedding model answers."""
        if self.embedder is None or self.notice is not None or not len(self.index):
            return {}
        try:
            async with self._preparation_lock:
                if self._vector_index is None:
                    self._vector_index = _VectorIndex(await self.embedder.vectors(self.index.prompts))
            return self._vector_index.rank_nearest(await self.embedder.vectors([prompt_text]), RANKING_SIZE)
        except UserError as error:
            if isinstance(error, LLMError) and error.ends_run and not error.fatal:
                raise
            self.notice = Message(
                f"Examples are found by words alone: {error.text('en')}",
                f"范例只按词语检索：{error.text('zh')}",
            )
            logger.warning("%s", self.notice.en)
            return {}


def choose_examples(
    example_index: ExampleIndex,
    prompt_text: str,
    judged_greeting: str,
    example_count: int,
    meaning_ranks: Mapping[int, int] | None = None,
) -> list[RetrievedExample]:
    """At most `k` examples for the request, no two of one request and no two that say the same."""
    word_ranks, ranks_by_meaning = example_index.rank_by_words(prompt_text, RANKING_SIZE), meaning_ranks or {}
    normal_request = normal_prompt(prompt_text)
    open_prompts = [
        prompt_index
        for prompt_index in {**word_ranks, **ranks_by_meaning}
        if example_index.normal_prompts[prompt_index] != normal_request
    ]
    rank_by_merit = {
        merit_score: merit_rank
        for merit_rank, merit_score in enumerate(
            sorted({_best_merit(example_index, open_index) for open_index in open_prompts}, reverse=True), 1
        )
    }
    fused_scores = {
        open_index: _fused_score(
            word_ranks.get(open_index),
            ranks_by_meaning.get(open_index),
            rank_by_merit[_best_merit(example_index, open_index)],
        )
        for open_index in open_prompts
    }
    chosen_examples: list[RetrievedExample] = []
    near_duplicates = NearDuplicateIndex()
    for prompt_index in sorted(open_prompts, key=lambda open_index: (-fused_scores[open_index], open_index)):
        if len(chosen_examples) == example_count:
            break
        best_greeting = _best_greeting(example_index.liked[prompt_index], judged_greeting, near_duplicates)
        if best_greeting is not None:
            both_ranks = word_ranks.get(prompt_index), ranks_by_meaning.get(prompt_index)
            example_facts = (
                example_index.prompts[prompt_index],
                best_greeting.greeting,
                best_greeting.likes,
                best_greeting.dislikes,
            )
            chosen_examples.append(RetrievedExample(*example_facts, *both_ranks, fused_scores[prompt_index]))
    return chosen_examples


def _fused_score(*ranks: int | None) -> float:
    return sum(1 / (FUSION_CONSTANT + ranking_place) for ranking_place in ranks if ranking_place is not None)


def _best_merit(example_index: ExampleIndex, prompt_index: int) -> float:
    return example_index.liked[prompt_index][0].smoothed_merit


def _best_greeting(
    liked_greetings: Sequence[LikedGreeting], judged_greeting: str, near_duplicates: NearDuplicateIndex
) -> LikedGreeting | None:
    """The most liked greeting that is neither under judgement nor chosen already."""
    for liked_greeting in liked_greetings:
        if judged_greeting and text_similarity(liked_greeting.greeting, judged_greeting) >= MAX_SIMILARITY:
            continue
        if near_duplicates.add_if_new(liked_greeting.greeting) is None:
            return liked_greeting
    return None


class _VectorIndex:
    """Vectors of the requests, on their principal components, so that 25,000 are searched in milliseconds."""

    COMPONENTS = 256

    def __init__(self, vectors: FloatArray) -> None:
        unit_vectors = _unit_vectors(vectors)
        self._principal_axes: FloatArray | None = None
        if unit_vectors.shape[1] > self.COMPONENTS:
            _, eigenvectors = np.linalg.eigh(unit_vectors.T @ unit_vectors)
            self._principal_axes = np.ascontiguousarray(eigenvectors[:, -self.COMPONENTS :], dtype=np.float32)
        self._vector_width = unit_vectors.shape[1]
        self._reduced_vectors = self._reduce_vectors(unit_vectors)

    def rank_nearest(self, query_vector: FloatArray, max_rows: int) -> dict[int, int]:
        """The rows most like the query, with their ranks."""
        if query_vector.shape != (1, self._vector_width):
            raise UserError("The embedding model changed the size of its vectors.", "向量模型返回的向量维度变了。")
        cosines = self._reduced_vectors @ self._reduce_vectors(_unit_vectors(query_vector))[0]
        return rank_largest(cosines, max_rows)

    def _reduce_vectors(self, unit_vectors: FloatArray) -> FloatArray:
        return unit_vectors if self._principal_axes is None else _unit_vectors(unit_vectors @ self._principal_axes)


def _unit_vectors(vectors: FloatArray) -> FloatArray:
    vector_norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(vector_norms > 0, vector_norms, 1.0), dtype=np.float32)
