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

from backend.text import digest, squeeze

Floats = NDArray[np.float64]
ENOUGH = 100
"""Accepted greetings below which nothing of use is learnt."""
ASKED_DIMENSIONS, SAID_DIMENSIONS = 200, 400
OTHERS = 512
_SMALL = 1e-9


@dataclass(frozen=True)
class Space:
    """Texts as points: TF-IDF of character 1- and 2-grams, truncated SVD, around their middle."""

    counter: Any
    axes: Any
    middle: Floats

    def place(self, texts: Sequence[str]) -> Floats:
        """One row a text; all zero where nothing in it is known."""
        counts = self.counter.transform(map(squeeze, texts))
        known = np.diff(counts.indptr)[:, None] > 0
        return np.where(known, self.axes.transform(counts) - self.middle, 0.0)


@dataclass(frozen=True)
class RequestFit:
    """The learnt map, and other requests to compare with (rows of unit length)."""

    asked: Space
    said: Space
    back: Floats
    others: Floats

    def values(self, requests: Sequence[str], texts: Sequence[str]) -> list[float | None]:
        """Value of each text, 0 for an empty one; None where nothing in request or text is known."""
        asked, said = self.asked.place(requests), self.said.place(texts)
        points, own = _unit(said @ self.back), _unit(asked)
        nearness, elsewhere = (points * own).sum(axis=1), points @ self.others.T
        above = (elsewhere > nearness[:, None] + _SMALL).sum(axis=1)
        equal = (np.abs(elsewhere - nearness[:, None]) <= _SMALL).sum(axis=1)
        falling = 1 - np.log1p(above + equal / 2) / np.log1p(len(self.others))
        known = own.any(axis=1) & points.any(axis=1)
        return [
            0.0 if not squeeze(text) else float(value) if there else None
            for text, value, there in zip(texts, falling, known, strict=True)
        ]


def fit_request_fit(rows: Iterable[tuple[str, str]]) -> RequestFit:
    """Learn from (request, accepted greeting) (about 5 s for 5,000). Raises ValueError for too few."""
    from sklearn.linear_model import Ridge

    known = sorted({(squeeze(request), squeeze(text)) for request, text in rows})
    if len(known) < ENOUGH:
        raise ValueError(f"{len(known)} greetings, at least {ENOUGH} are needed")
    requests, texts = [request for request, _ in known], [text for _, text in known]
    asked, said = _space(requests, ASKED_DIMENSIONS), _space(texts, SAID_DIMENSIONS)
    wanted = _unit(asked.place(requests))
    map_back = Ridge(alpha=1.0, fit_intercept=False).fit(said.place(texts), wanted)
    others = sorted(set(requests), key=digest)[:OTHERS]
    return RequestFit(asked, said, np.asarray(map_back.coef_.T), _unit(asked.place(others)))


def _space(texts: Sequence[str], dimensions: int) -> Space:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    counter = TfidfVectorizer(
        analyzer="char", ngram_range=(1, 2), min_df=2, sublinear_tf=True, lowercase=False
    )
    counts = counter.fit_transform(texts)
    axes = TruncatedSVD(min(dimensions, min(counts.shape) - 1), random_state=0).fit(counts)
    return Space(counter, axes, axes.transform(counts).mean(axis=0))


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norms > _SMALL, rows / np.maximum(norms, _SMALL), 0.0)
