"""Rewards that need no judge: length, repetition, diversity, rarity, format, and fit to the request. No torch here."""

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from backend.core.errors import UserError
from backend.core.text import count_characters, digest, strip_white_space
from backend.generation.diversity import repetition_share
from backend.training.programs.rewards import Reward, RewardValues

DEBIAS_FILE = "debias.json"


@dataclass(frozen=True)
class LengthDebias:
    """A penalty (or bonus) for each character beyond the mean."""

    slope: float
    mean: float

    @classmethod
    def fit(cls, score_groups: Sequence[Sequence[tuple[str, float]]]) -> Self:
        """From (greeting, score) in groups of alike standing, such as chosen and rejected."""
        group_lengths = [
            np.array([count_characters(greeting_text) for greeting_text, _ in score_group], dtype=float)
            for score_group in score_groups
        ]
        group_scores = [np.array([score for _, score in score_group], dtype=float) for score_group in score_groups]
        # Within each group, since across them longer also means better, and that part must stay in the score.
        length_deviations = np.concatenate(
            [greeting_lengths - greeting_lengths.mean() for greeting_lengths in group_lengths]
        )
        score_deviations = np.concatenate([score - score.mean() for score in group_scores])
        length_variation = float(length_deviations @ length_deviations)
        slope = float(length_deviations @ score_deviations) / length_variation if length_variation else 0.0
        return cls(slope, float(np.concatenate(group_lengths).mean()))

    @classmethod
    def load(cls, artifact_folder: Path) -> Self | None:
        """What was saved with the model; None where its scores are used as they are."""
        debias_path = artifact_folder / DEBIAS_FILE
        return cls(**json.loads(debias_path.read_text("utf-8"))) if debias_path.is_file() else None

    def save(self, artifact_folder: Path) -> None:
        """Beside the model."""
        (artifact_folder / DEBIAS_FILE).write_text(json.dumps(asdict(self)), "utf-8")

    def correct_score(self, greeting_text: str, score: float) -> float:
        """The score that a greeting of mean length would have had."""
        return score - self.slope * (count_characters(greeting_text) - self.mean)


# The order of distinct-4, whose gain the value of a greeting is.
NGRAM_ORDER = 4
# Requests remembered: in one batch of eight nearly every 4-gram is new, and rarity would tell nothing apart.
REMEMBERED_REQUESTS = 128


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
        # Before the batch is remembered: its greetings count once.
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


Floats = NDArray[np.float64]
# Accepted greetings below which nothing of use is learnt.
MIN_GREETINGS = 100
# 64 and 128 were tried first: then hardly anything was paid for the right person beside the right occasion.
REQUEST_DIMENSIONS, GREETING_DIMENSIONS = 200, 400
MAX_COMPARED_REQUESTS = 512
_TINY_NORM = 1e-9


@dataclass(frozen=True)
class TextSpace:
    """Texts as points: TF-IDF of character 1- and 2-grams, truncated SVD, around their middle."""

    vectorizer: Any
    projection: Any
    center: Floats

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """One row a text; all zero where nothing in it is known."""
        ngram_counts = self.vectorizer.transform(map(strip_white_space, texts))
        has_known_ngrams = np.diff(ngram_counts.indptr)[:, None] > 0
        return np.where(has_known_ngrams, self.projection.transform(ngram_counts) - self.center, 0.0)


@dataclass(frozen=True)
class RequestFit:
    """The learnt map, and other requests to compare with (rows of unit length)."""

    request_space: TextSpace
    greeting_space: TextSpace
    greeting_to_request: Floats
    other_requests: Floats

    def rate_greetings(self, requests: Sequence[str], greetings: Sequence[str]) -> list[float | None]:
        """Value of each text, 0 for an empty one; None where nothing in request or text is known."""
        request_vectors, greeting_vectors = (
            self.request_space.embed_texts(requests),
            self.greeting_space.embed_texts(greetings),
        )
        greeting_points, request_points = (
            _normalize_rows(greeting_vectors @ self.greeting_to_request),
            _normalize_rows(request_vectors),
        )
        own_similarity, other_similarities = (
            (greeting_points * request_points).sum(axis=1),
            greeting_points @ self.other_requests.T,
        )
        closer_counts = (other_similarities > own_similarity[:, None] + _TINY_NORM).sum(axis=1)
        tied_counts = (np.abs(other_similarities - own_similarity[:, None]) <= _TINY_NORM).sum(axis=1)
        # The logarithm: as a plain share the right occasion with the wrong person earned .9 of 1, and nothing
        # was learnt.
        fit_scores = 1 - np.log1p(closer_counts + tied_counts / 2) / np.log1p(len(self.other_requests))
        is_known = request_points.any(axis=1) & greeting_points.any(axis=1)
        return [
            0.0 if not strip_white_space(greeting_text) else float(fit_score) if text_known else None
            for greeting_text, fit_score, text_known in zip(greetings, fit_scores, is_known, strict=True)
        ]


def learn_request_fit(accepted_pairs: Iterable[tuple[str, str]]) -> RequestFit:
    """Learn from (request, accepted greeting) (about 5 s for 5,000). Raises ValueError for too few."""
    from sklearn.linear_model import Ridge

    unique_pairs = sorted(
        {
            (strip_white_space(request_text), strip_white_space(greeting_text))
            for request_text, greeting_text in accepted_pairs
        }
    )
    if len(unique_pairs) < MIN_GREETINGS:
        raise ValueError(f"{len(unique_pairs)} greetings, at least {MIN_GREETINGS} are needed")
    requests, greetings = (
        [request_text for request_text, _ in unique_pairs],
        [greeting_text for _, greeting_text in unique_pairs],
    )
    request_space, greeting_space = (
        _fit_space(requests, REQUEST_DIMENSIONS),
        _fit_space(greetings, GREETING_DIMENSIONS),
    )
    target_points = _normalize_rows(request_space.embed_texts(requests))
    regression = Ridge(alpha=1.0, fit_intercept=False).fit(greeting_space.embed_texts(greetings), target_points)
    compared_requests = sorted(set(requests), key=digest)[:MAX_COMPARED_REQUESTS]
    return RequestFit(
        request_space,
        greeting_space,
        np.asarray(regression.coef_.T),
        _normalize_rows(request_space.embed_texts(compared_requests)),
    )


def _fit_space(texts: Sequence[str], dimensions: int) -> TextSpace:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), min_df=2, sublinear_tf=True, lowercase=False)
    ngram_counts = vectorizer.fit_transform(texts)
    projection = TruncatedSVD(min(dimensions, min(ngram_counts.shape) - 1), random_state=0).fit(ngram_counts)
    return TextSpace(vectorizer, projection, projection.transform(ngram_counts).mean(axis=0))


def _normalize_rows(vectors: Floats) -> Floats:
    row_norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(row_norms > _TINY_NORM, vectors / np.maximum(row_norms, _TINY_NORM), 0.0)


# A request of so many characters inside the greeting is an echo, not an answer.
ECHO_LENGTH = 6
_LIST_PATTERN = re.compile(
    r"^\s*(?:\d{1,2}|[一二三四五六七八九十]{1,2}|第[一二三四五六七八九十\d]{1,2}[条则])[.、．)）:：]", re.M
)
_PARAGRAPH_PATTERN = re.compile(r"\S\s*\n\s*\n\s*\S")
_TALK_PATTERN = re.compile(
    r"^(?:好的|当然|以下|这是|下面|作为一)|祝福语[:：]|<\|?[a-z_]+\|?>|(?:用户|助手|请求)[:：]|assistant",
    re.I,
)


class LengthBandReward(Reward):
    """1 for `low` to `high` characters, falling in a straight line to 0 at low / 2 and 1.5 · high."""

    name = "length"

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        """The value of each text by its length alone."""
        return [self._rate_length(count_characters(greeting_text)) for greeting_text in greetings]

    def _rate_length(self, character_count: int) -> float:
        if character_count < self.low:
            return max(0.0, 2 * character_count / self.low - 1)
        return min(1.0, max(0.0, 3 - 2 * character_count / self.high))


class RepetitionReward(Reward):
    """1 as long as the longest repeated phrase covers at most `free_share` of the text, then down to 0 at all of it."""

    name = "repetition"

    def __init__(self, free_share: float = 0.2) -> None:
        super().__init__()
        self.free_share = free_share

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        """The value of each text; an empty one does not repeat itself, but earns nothing either."""
        return [
            1 - max(0.0, repetition_share(greeting_text) - self.free_share) / (1 - self.free_share)
            if strip_white_space(greeting_text)
            else 0.0
            for greeting_text in greetings
        ]


class DiversityReward(Reward):
    """How rare a greeting's phrases are among the greetings for other requests, of the batch and before it.

    What every request is answered with earns little: a judge that reads one greeting at a time cannot see it.
    """

    name = "diversity"

    def __init__(self) -> None:
        super().__init__()
        self._phrase_rarity = PhraseRarity()

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """0 to 1; 0 for a text too short to hold a 4-gram, None where only one request is known so far."""
        return list(self._phrase_rarity.rate_greetings(requests, greetings))

    def state(self) -> Any:
        """The greetings remembered."""
        return self._phrase_rarity.state()

    def restore(self, saved_state: Any) -> None:
        """Remember these."""
        self._phrase_rarity.restore(saved_state)


class FormatReward(Reward):
    """1 for one greeting and nothing else, 0 for lists, talk about the task, or an echo of the request."""

    name = "format"

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """1 or 0 for each text."""
        return [
            float(self._is_clean(request_text, greeting_text))
            for request_text, greeting_text in zip(requests, greetings, strict=True)
        ]

    def _is_clean(self, request_text: str, greeting_text: str) -> bool:
        squeezed_request, squeezed_greeting = (
            strip_white_space(request_text),
            strip_white_space(greeting_text),
        )
        is_echo = len(squeezed_request) >= ECHO_LENGTH and squeezed_request in squeezed_greeting
        has_violation = is_echo or any(
            pattern.search(greeting_text.strip()) for pattern in (_LIST_PATTERN, _PARAGRAPH_PATTERN, _TALK_PATTERN)
        )
        return bool(squeezed_greeting) and not has_violation


class RequestFitReward(Reward):
    """How far a greeting points back to its own request among others, learnt from accepted greetings."""

    name = "fit"

    def __init__(self, accepted_pairs: Sequence[tuple[str, str]]) -> None:
        """`accepted_pairs` are requests, each with an accepted greeting."""
        super().__init__()
        self.accepted_pairs = tuple(accepted_pairs)
        self._fitted: Any = None

    def prepare(self) -> None:
        """Learn. Raises UserError where there are too few accepted greetings."""
        try:
            self._learn_fit()
        except ValueError as error:
            raise UserError(
                f"Fit to the request cannot be learnt ({error}); accept more or set fit_weight to 0.",
                f"无法学习切题度（{error}），请增加合格的祝福语，或将 fit_weight 设为 0。",
            ) from error

    def _learn_fit(self) -> Any:
        if self._fitted is None:
            self._fitted = learn_request_fit(self.accepted_pairs)
        return self._fitted

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
        """1 for its own request alone, near 0.2 by chance, 0 where empty; None where nothing is known."""
        return list(self._learn_fit().rate_greetings(requests, greetings))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_fitted": None}
