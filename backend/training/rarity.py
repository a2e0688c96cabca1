"""How rare the phrases of a greeting are among what other requests were answered with lately."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from backend.text import strip_white_space

NGRAM_ORDER = 4
REMEMBERED_REQUESTS = 128
"""Remembered: in one batch of eight requests nearly every 4-gram is new, and the reward says little."""


@dataclass(frozen=True)
class AnsweredRequest:
    """A request, its greetings, and the share of them that each n-gram stands in."""

    request: str
    greetings: tuple[str, ...]
    ngram_shares: Mapping[str, float]


class PhraseRarity:
    """Weighs greetings by the last `requests` requests that were answered, and remembers them.

    A character n-gram g counts 1 / (1 + c(g)), where c(g) adds up, over every other request of the batch and
    of the memory, the share of its greetings that hold g. A greeting's value is the mean over its different
    n-grams: what it adds to distinct-n (Li et al. 2016) where every request has one greeting.
    """

    def __init__(self, remembered_requests: int = REMEMBERED_REQUESTS, ngram_order: int = NGRAM_ORDER) -> None:
        self._ngram_order = ngram_order
        self._remembered: deque[AnsweredRequest] = deque(maxlen=remembered_requests)

    def rate_greetings(self, requests: Sequence[str], greetings: Sequence[str]) -> list[float | None]:
        """0 to 1 for each text, 0 for one without an n-gram; None where no other request is known."""
        answered_batch = self._group_by_request(requests, greetings)
        answered_requests = [*self._remembered, *answered_batch]
        self._remembered.extend(answered_batch)
        if len({answered.request for answered in answered_requests}) < 2:
            return [None] * len(greetings)
        total_shares = _sum_shares(answered_requests)
        shares_by_request = {
            answered.request: _sum_shares(answer for answer in answered_requests if answer.request == answered.request)
            for answered in answered_batch
        }
        return [
            fmean(
                [
                    1 / (1 + total_shares[ngram] - shares_by_request[request][ngram])
                    for ngram in self._find_ngrams(greeting_text)
                ]
                or [0.0]
            )
            for request, greeting_text in zip(requests, greetings, strict=True)
        ]

    def state(self) -> list[tuple[str, tuple[str, ...]]]:
        """What is remembered, the oldest first."""
        return [(answered.request, answered.greetings) for answered in self._remembered]

    def restore(self, saved_state: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Remember this and nothing else."""
        self._remembered.clear()
        self._remembered.extend(self._count_ngrams(request, greetings) for request, greetings in saved_state)

    def _group_by_request(self, requests: Sequence[str], greetings: Sequence[str]) -> list[AnsweredRequest]:
        greetings_by_request: dict[str, list[str]] = defaultdict(list)
        for request, greeting_text in zip(requests, greetings, strict=True):
            greetings_by_request[request].append(greeting_text)
        return [
            self._count_ngrams(request, request_greetings)
            for request, request_greetings in greetings_by_request.items()
        ]

    def _count_ngrams(self, request: str, greetings: Sequence[str]) -> AnsweredRequest:
        ngram_shares: dict[str, float] = defaultdict(float)
        for greeting_text in greetings:
            for ngram in self._find_ngrams(greeting_text):
                ngram_shares[ngram] += 1 / len(greetings)
        return AnsweredRequest(request, tuple(greetings), ngram_shares)

    def _find_ngrams(self, greeting_text: str) -> set[str]:
        squeezed_text = strip_white_space(greeting_text)
        return {
            squeezed_text[start_index : start_index + self._ngram_order]
            for start_index in range(len(squeezed_text) - self._ngram_order + 1)
        }


def _sum_shares(answered_requests: Iterable[AnsweredRequest]) -> dict[str, float]:
    total_shares: dict[str, float] = defaultdict(float)
    for answer in answered_requests:
        for ngram, ngram_share in answer.ngram_shares.items():
            total_shares[ngram] += ngram_share
    return total_shares
