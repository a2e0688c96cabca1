"""Liked greetings, indexed by the words of their requests: built once, stored in a folder, loaded quickly."""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from backend.text import digest
from backend.writing.near import normal_prompt

if TYPE_CHECKING:
    import bm25s

FloatArray = NDArray[np.float32]

ENTRIES_FILE = "entries.json"
WORDS_FOLDER = "words"
SPLITTING_VERSION = 1
"""Part of every name: raise it when requests are split into words differently."""
_COMMON_WORD_LIST = (
    "祝 祝福 祝福语 福语 祝福词 祝愿 祝贺 贺词 贺语 寄语 祝词 问候语 吉祥话 吉祥语 吉利话 语 词 话 "
    "话语 句子 语句 大全 给 对 跟 向 为 与 和 在 是 有 的 了 吧 吗 呢 就 也 都 很 最 更 刚 刚刚 "
    "我 我们 你 他 她 想 要 请 帮 帮我 写 说 发 送 念 讲 来 做 点 句 段 条 一句 一段 一条 一下 一点 "
    "适合 有关 关于 什么 怎么 如何 怎样"
)
COMMON_WORDS = frozenset(_COMMON_WORD_LIST.split())
"""Words that say nothing of whom and what a greeting is for."""
NAME_LENGTH = 12
"""Hexadecimal digits of a name."""


@dataclass(frozen=True)
class LikedGreeting:
    """A greeting and how many people, or labels of people, were for and against it."""

    greeting: str
    likes: int
    dislikes: int

    @property
    def smoothed_merit(self) -> float:
        """The share of likes with one imagined of each kind, so that 1 of 1 is less than 9 of 9."""
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
    return [request_word for request_word in lower_words if request_word not in COMMON_WORDS] or lower_words


def rank_largest(score_values: FloatArray, max_places: int) -> dict[int, int]:
    """Places of the `count` largest values, the largest first, with their ranks; equal values share one."""
    max_places = min(max_places, len(score_values))
    if max_places == 0:
        return {}
    top_places = np.argpartition(-score_values, max_places - 1)[:max_places]
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
