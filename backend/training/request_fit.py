"""Fit to the request, learnt: does a greeting point back to its own request among others? No torch here.

From accepted greetings a linear map is learnt from what a greeting says to what was asked (latent semantic
spaces of character n-grams on both sides, ridge regression between them). A greeting's value falls with the
logarithm of the number of other requests that it points to more than to its own: 1 for none, 0 for all, about
0.2 by chance. So the step from the right occasion to the right person counts as much as that from any
occasion to the right one. The monitor's fit to the request (`backend.diversity.fit`) is another measure, a
table of occasions and people, so that what a policy is paid for is not what it is watched by.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.text import digest, strip_white_space

Floats = NDArray[np.float64]
MIN_GREETINGS = 100
"""Accepted greetings below which nothing of use is learnt."""
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
