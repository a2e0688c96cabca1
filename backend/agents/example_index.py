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

Floats = NDArray[np.float32]

ENTRIES = "entries.json"
WORDS = "words"
SPLITTING = 1
"""Part of every name: raise it when requests are split into words differently."""
_COMMON = (
    "祝 祝福 祝福语 福语 祝福词 祝愿 祝贺 贺词 贺语 寄语 祝词 问候语 吉祥话 吉祥语 吉利话 语 词 话 "
    "话语 句子 语句 大全 给 对 跟 向 为 与 和 在 是 有 的 了 吧 吗 呢 就 也 都 很 最 更 刚 刚刚 "
    "我 我们 你 他 她 想 要 请 帮 帮我 写 说 发 送 念 讲 来 做 点 句 段 条 一句 一段 一条 一下 一点 "
    "适合 有关 关于 什么 怎么 如何 怎样"
)
COMMON = frozenset(_COMMON.split())
"""Words that say nothing of whom and what a greeting is for."""
NAME = 12
"""Hexadecimal digits of a name."""


@dataclass(frozen=True)
class Liked:
    """A greeting and how many people, or labels of people, were for and against it."""

    greeting: str
    likes: int
    dislikes: int

    @property
    def merit(self) -> float:
        """The share of likes with one imagined of each kind, so that 1 of 1 is less than 9 of 9."""
        return (self.likes + 1) / (self.likes + self.dislikes + 2)


@dataclass
class ExampleIndex:
    """Requests and, beside each, its liked greetings, the most liked first. `name` is a hash of all of it."""

    prompts: list[str]
    liked: list[list[Liked]]
    name: str
    normals: list[str] = field(init=False)
    _words: "bm25s.BM25 | None" = None

    def __post_init__(self) -> None:
        self.normals = [normal_prompt(prompt) for prompt in self.prompts]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def entries(self) -> int:
        """How many greetings it holds."""
        return sum(map(len, self.liked))

    @classmethod
    def build(cls, entries: Iterable[tuple[str, Liked]]) -> Self:
        """The index of (request, greeting); greetings more disliked than liked are left out."""
        by_prompt: dict[str, list[Liked]] = {}
        for prompt, one in entries:
            if one.likes > one.dislikes:
                by_prompt.setdefault(prompt, []).append(one)
        prompts = sorted(by_prompt)
        liked = [sorted(by_prompt[prompt], key=lambda one: (-one.merit, one.greeting)) for prompt in prompts]
        name = digest(
            str(SPLITTING), *(json.dumps([p, *map(astuple, g)]) for p, g in zip(prompts, liked, strict=True))
        )
        index = cls(prompts, liked, name[:NAME])
        index._words = _indexed(prompts)
        return index

    def by_words(self, prompt: str, count: int) -> dict[int, int]:
        """The requests that share most words with this one, and their ranks."""
        words = [word for word in tokens(prompt) if self._words and word in self._words.vocab_dict]
        if not words or self._words is None:
            return {}
        scores = np.asarray(self._words.get_scores(words), dtype=np.float32)
        return {number: rank for number, rank in ranked(scores, count).items() if scores[number] > 0}

    def save(self, folder: Path) -> None:
        """Write the index; a reader sees all of it or nothing."""
        draft = folder.with_name(f"{folder.name}.{os.getpid()}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        rows = [
            [prompt, *map(astuple, liked)] for prompt, liked in zip(self.prompts, self.liked, strict=True)
        ]
        (draft / ENTRIES).write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
        if self._words is not None:
            self._words.save(draft / WORDS, show_progress=False)
        try:
            draft.rename(folder)
        except OSError:  # another process was faster: its index is the same
            shutil.rmtree(draft, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read an index. Raises OSError or ValueError where there is none, or a broken one."""
        rows = json.loads((folder / ENTRIES).read_text("utf-8"))
        index = cls([row[0] for row in rows], [[Liked(*one) for one in row[1:]] for row in rows], folder.name)
        if rows:
            import bm25s  # a slow import, kept off every start

            index._words = bm25s.BM25.load(folder / WORDS, show_progress=False)
        return index


def tokens(text: str) -> list[str]:
    """The words of a request, long ones also in parts.

    Words that every request has are left out, unless there are no others.
    """
    import rjieba  # it reads its dictionary at import

    words = [word.lower() for word in rjieba.cut_for_search(text) if any(map(str.isalnum, word))]
    return [word for word in words if word not in COMMON] or words


def ranked(values: Floats, count: int) -> dict[int, int]:
    """Places of the `count` largest values, the largest first, with their ranks; equal values share one."""
    count = min(count, len(values))
    if count == 0:
        return {}
    some = np.argpartition(-values, count - 1)[:count]
    order = some[np.lexsort((some, -values[some]))]
    found = values[order]
    ranks = np.searchsorted(-found, -found, side="left") + 1
    return dict(zip(order.tolist(), ranks.tolist(), strict=True))


def _indexed(prompts: Sequence[str]) -> "bm25s.BM25 | None":
    if not prompts:
        return None
    import bm25s

    words = bm25s.BM25()
    words.index([tokens(prompt) or ["–"] for prompt in prompts], show_progress=False)
    return words
