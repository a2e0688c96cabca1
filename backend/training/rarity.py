"""How rare the phrases of a greeting are among what other requests were answered with lately."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from backend.text import squeeze

ORDER = 4
REQUESTS = 128
"""Remembered: in one batch of eight requests nearly every 4-gram is new, and the reward says little."""


@dataclass(frozen=True)
class Answered:
    """A request, its greetings, and the share of them that each n-gram stands in."""

    request: str
    texts: tuple[str, ...]
    shares: Mapping[str, float]


class Rarity:
    """Weighs greetings by the last `requests` requests that were answered, and remembers them.

    A character n-gram g counts 1 / (1 + c(g)), where c(g) adds up, over every other request of the batch and
    of the memory, the share of its greetings that hold g. A greeting's value is the mean over its different
    n-grams: what it adds to distinct-n (Li et al. 2016) where every request has one greeting.
    """

    def __init__(self, requests: int = REQUESTS, n: int = ORDER) -> None:
        self._n = n
        self._known: deque[Answered] = deque(maxlen=requests)

    def values(self, requests: Sequence[str], texts: Sequence[str]) -> list[float | None]:
        """0 to 1 for each text, 0 for one without an n-gram; None where no other request is known."""
        batch = self._answered(requests, texts)
        pool = [*self._known, *batch]
        self._known.extend(batch)
        if len({one.request for one in pool}) < 2:
            return [None] * len(texts)
        total = _sum(pool)
        own = {one.request: _sum(old for old in pool if old.request == one.request) for one in batch}
        return [
            fmean([1 / (1 + total[gram] - own[request][gram]) for gram in self._grams(text)] or [0.0])
            for request, text in zip(requests, texts, strict=True)
        ]

    def state(self) -> list[tuple[str, tuple[str, ...]]]:
        """What is remembered, the oldest first."""
        return [(one.request, one.texts) for one in self._known]

    def restore(self, state: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Remember this and nothing else."""
        self._known.clear()
        self._known.extend(self._one(request, texts) for request, texts in state)

    def _answered(self, requests: Sequence[str], texts: Sequence[str]) -> list[Answered]:
        groups: dict[str, list[str]] = defaultdict(list)
        for request, text in zip(requests, texts, strict=True):
            groups[request].append(text)
        return [self._one(request, group) for request, group in groups.items()]

    def _one(self, request: str, texts: Sequence[str]) -> Answered:
        shares: dict[str, float] = defaultdict(float)
        for text in texts:
            for gram in self._grams(text):
                shares[gram] += 1 / len(texts)
        return Answered(request, tuple(texts), shares)

    def _grams(self, text: str) -> set[str]:
        body = squeeze(text)
        return {body[i : i + self._n] for i in range(len(body) - self._n + 1)}


def _sum(answered: Iterable[Answered]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for one in answered:
        for gram, share in one.shares.items():
            total[gram] += share
    return total
