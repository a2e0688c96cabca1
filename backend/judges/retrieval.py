"""The retrieval agent: liked greetings for similar requests, by words and, where configured, by meaning. Pure."""

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from backend.core.errors import Message, UserError
from backend.core.text import digest
from backend.generation.near_duplicates import NearDuplicateIndex, normal_prompt, text_similarity
from backend.judges.base import Sample, version_of
from backend.llm.errors import LLMError

if TYPE_CHECKING:
    import bm25s

FloatArray = NDArray[np.float32]

ENTRIES_FILE = "entries.json"
WORDS_FOLDER = "words"
# Part of every name: raise it when requests are split into words differently.
SPLITTING_VERSION = 1
_COMMON_WORD_LIST = (
    "祝 祝福 祝福语 福语 祝福词 祝愿 祝贺 贺词 贺语 寄语 祝词 问候语 吉祥话 吉祥语 吉利话 语 词 话 "
    "话语 句子 语句 大全 给 对 跟 向 为 与 和 在 是 有 的 了 吧 吗 呢 就 也 都 很 最 更 刚 刚刚 "
    "我 我们 你 他 她 想 要 请 帮 帮我 写 说 发 送 念 讲 来 做 点 句 段 条 一句 一段 一条 一下 一点 "
    "适合 有关 关于 什么 怎么 如何 怎样"
)
# Words that do not tell whom and what a greeting is for; matching them would make every request alike.
COMMON_WORDS = frozenset(_COMMON_WORD_LIST.split())
# Hexadecimal digits of a name.
NAME_LENGTH = 12


@dataclass(frozen=True)
class LikedGreeting:
    """A greeting and how many people, or labels of people, were for and against it."""

    greeting: str
    likes: int
    dislikes: int

    @property
    def smoothed_merit(self) -> float:
        """The share of likes with one imagined of each kind, so that 1 of 1 is less than 9 of 9."""
        # Laplace's rule of succession.
        return (self.likes + 1) / (self.likes + self.dislikes + 2)


@dataclass
class ExampleIndex:
    """Requests and, beside each, its liked greetings, the most liked first. `name` is a hash of all of it."""

    prompts: list[str]
    liked: list[list[LikedGreeting]]
    name: str
    normal_prompts: list[str] = field(init=False)
    _word_index: "bm25s.BM25 | None" = None

    def __post_init__(self) -> None:
        self.normal_prompts = [normal_prompt(prompt_text) for prompt_text in self.prompts]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def greeting_count(self) -> int:
        """How many greetings it holds."""
        return sum(map(len, self.liked))

    @classmethod
    def build(cls, liked_entries: Iterable[tuple[str, LikedGreeting]]) -> Self:
        """The index of (request, greeting); greetings more disliked than liked are left out."""
        greetings_by_prompt: dict[str, list[LikedGreeting]] = {}
        for prompt_text, liked_greeting in liked_entries:
            # A panel would take a disliked greeting for a model of what people like.
            if liked_greeting.likes > liked_greeting.dislikes:
                greetings_by_prompt.setdefault(prompt_text, []).append(liked_greeting)
        prompts = sorted(greetings_by_prompt)
        liked_by_prompt = [
            sorted(
                greetings_by_prompt[prompt_text],
                key=lambda liked_greeting: (-liked_greeting.smoothed_merit, liked_greeting.greeting),
            )
            for prompt_text in prompts
        ]
        index_name = digest(
            str(SPLITTING_VERSION),
            *(
                json.dumps([hashed_prompt, *map(astuple, hashed_greetings)])
                for hashed_prompt, hashed_greetings in zip(prompts, liked_by_prompt, strict=True)
            ),
        )
        built_index = cls(prompts, liked_by_prompt, index_name[:NAME_LENGTH])
        built_index._word_index = _build_word_index(prompts)
        return built_index

    def rank_by_words(self, prompt_text: str, max_prompts: int) -> dict[int, int]:
        """The requests that share most words with this one, and their ranks."""
        known_words = [
            request_word
            for request_word in request_words(prompt_text)
            if self._word_index and request_word in self._word_index.vocab_dict
        ]
        if not known_words or self._word_index is None:
            return {}
        word_scores = np.asarray(self._word_index.get_scores(known_words), dtype=np.float32)
        return {
            prompt_index: rank
            for prompt_index, rank in rank_largest(word_scores, max_prompts).items()
            if word_scores[prompt_index] > 0
        }

    def save(self, index_folder: Path) -> None:
        """Write the index; a reader sees all of it or nothing."""
        # With the process in its name, since a page and a job may build the same index at once.
        draft_folder = index_folder.with_name(f"{index_folder.name}.{os.getpid()}.new")
        shutil.rmtree(draft_folder, ignore_errors=True)
        draft_folder.mkdir(parents=True)
        entry_rows = [
            [prompt_text, *map(astuple, liked_greetings)]
            for prompt_text, liked_greetings in zip(self.prompts, self.liked, strict=True)
        ]
        (draft_folder / ENTRIES_FILE).write_text(json.dumps(entry_rows, ensure_ascii=False), "utf-8")
        if self._word_index is not None:
            self._word_index.save(draft_folder / WORDS_FOLDER, show_progress=False)
        try:
            draft_folder.rename(index_folder)
        except OSError:  # another process was faster: its index is the same
            shutil.rmtree(draft_folder, ignore_errors=True)

    @classmethod
    def load(cls, index_folder: Path) -> Self:
        """Read an index. Raises OSError or ValueError where there is none, or a broken one."""
        entry_rows = json.loads((index_folder / ENTRIES_FILE).read_text("utf-8"))
        loaded_index = cls(
            [entry_row[0] for entry_row in entry_rows],
            [[LikedGreeting(*liked_values) for liked_values in entry_row[1:]] for entry_row in entry_rows],
            index_folder.name,
        )
        if entry_rows:
            import bm25s  # a slow import, kept off every start

            loaded_index._word_index = bm25s.BM25.load(index_folder / WORDS_FOLDER, show_progress=False)
        return loaded_index


def request_words(request_text: str) -> list[str]:
    """The words of a request, long ones also in parts.

    Words that every request has are left out, unless there are no others.
    """
    import rjieba  # it reads its dictionary at import

    lower_words = [
        request_word.lower()
        for request_word in rjieba.cut_for_search(request_text)
        if any(map(str.isalnum, request_word))
    ]
    # A request of common words alone ("祝福语") still needs an answer, so they count where there are no others.
    return [request_word for request_word in lower_words if request_word not in COMMON_WORDS] or lower_words


def rank_largest(score_values: FloatArray, max_places: int) -> dict[int, int]:
    """Places of the largest values, the largest first, with their ranks; equal values share one."""
    max_places = min(max_places, len(score_values))
    if max_places == 0:
        return {}
    top_places = np.argpartition(-score_values, max_places - 1)[:max_places]
    # Ties by place: the same request must be given the same examples, or the judge would not be the same.
    ordered_places = top_places[np.lexsort((top_places, -score_values[top_places]))]
    ordered_values = score_values[ordered_places]
    shared_ranks = np.searchsorted(-ordered_values, -ordered_values, side="left") + 1
    return dict(zip(ordered_places.tolist(), shared_ranks.tolist(), strict=True))


def _build_word_index(prompts: Sequence[str]) -> "bm25s.BM25 | None":
    if not prompts:
        return None
    import bm25s

    word_index = bm25s.BM25()
    word_index.index([request_words(prompt_text) or ["–"] for prompt_text in prompts], show_progress=False)
    return word_index


logger = logging.getLogger(__name__)

# Part of every version: raise it when examples are chosen differently.
RETRIEVAL_VERSION = 1
# How many requests each ranking may propose.
RANKING_SIZE = 40
# The constant of reciprocal rank fusion, as in the paper.
# Ranks are fused and not scores: those of BM25 and cosines have no common scale.
FUSION_CONSTANT = 60
# A greeting that shares so much with the one under judgement is the same for a judge.
MAX_SIMILARITY = 0.6


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
            # Many items ask at once; without the lock each would have the whole index embedded, and paid for.
            async with self._preparation_lock:
                if self._vector_index is None:
                    self._vector_index = _VectorIndex(await self.embedder.vectors(self.index.prompts))
            return self._vector_index.rank_nearest(await self.embedder.vectors([prompt_text]), RANKING_SIZE)
        except UserError as error:
            # Budget and cancellation concern the run; a wrong key or a missing model only this way of finding
            # examples.
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
    """At most `example_count` examples, no two of one request and no two near-duplicates, fused by reciprocal rank.

    Never one of the request itself: the judge would be shown the answer.
    """
    word_ranks, ranks_by_meaning = example_index.rank_by_words(prompt_text, RANKING_SIZE), meaning_ranks or {}
    normal_request = normal_prompt(prompt_text)
    open_prompts = [
        prompt_index
        for prompt_index in {**word_ranks, **ranks_by_meaning}
        # Normalised, so that other marks or fillers around the same request do not hide that it is the same.
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

    # Searching 25,000 vectors of 1,024 numbers takes 4.9 ms in so many components; the bound is 10 ms of CPU.
    COMPONENTS = 256

    def __init__(self, vectors: FloatArray) -> None:
        unit_vectors = _unit_vectors(vectors)
        self._principal_axes: FloatArray | None = None
        if unit_vectors.shape[1] > self.COMPONENTS:
            _, eigenvectors = np.linalg.eigh(unit_vectors.T @ unit_vectors)
            # eigh sorts eigenvalues upwards, so the last columns are the principal ones.
            self._principal_axes = np.ascontiguousarray(eigenvectors[:, -self.COMPONENTS :], dtype=np.float32)
        self._vector_width = unit_vectors.shape[1]
        self._reduced_vectors = self._reduce_vectors(unit_vectors)

    def rank_nearest(self, query_vector: FloatArray, max_rows: int) -> dict[int, int]:
        """The rows most like the query, with their ranks."""
        # A server may put another model behind the same name in the middle of a run.
        if query_vector.shape != (1, self._vector_width):
            raise UserError("The embedding model changed the size of its vectors.", "向量模型返回的向量维度变了。")
        cosines = self._reduced_vectors @ self._reduce_vectors(_unit_vectors(query_vector))[0]
        return rank_largest(cosines, max_rows)

    def _reduce_vectors(self, unit_vectors: FloatArray) -> FloatArray:
        # Of unit length once more, so that the product of two reduced vectors is a cosine again.
        return unit_vectors if self._principal_axes is None else _unit_vectors(unit_vectors @ self._principal_axes)


def _unit_vectors(vectors: FloatArray) -> FloatArray:
    vector_norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A vector of zeros stays one and is like nothing, instead of NaN.
    return np.asarray(vectors / np.where(vector_norms > 0, vector_norms, 1.0), dtype=np.float32)
