"""Character n-grams: what wording alone gives away about how a greeting was judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.judges.base import Judgment
from backend.judges.crossfit import (
    CrossFitJudge,
    FloatArray,
    LazyJudge,
    SparseMatrix,
    TrainingPool,
    crossfit_version,
    fit_crossfit,
)

NGRAM_ORDERS = (1, 3)
# What stands in one text only says nothing about another, and would let the model learn texts by heart.
MIN_TEXTS = 2
SHOWN_NGRAMS = 3
NGRAM_CONFIG = {"revision": 1, "orders": NGRAM_ORDERS, "min_texts": MIN_TEXTS}
NO_KNOWN_NGRAM = Judgment(None, "没有一个字词在训练数据中出现过，无法评分")


@dataclass(frozen=True)
class TfidfScaling:
    """Sublinear TF-IDF of unit length; n-grams that are too rare in the training texts count nothing."""

    idf_weights: FloatArray

    def apply(self, raw_features: SparseMatrix) -> SparseMatrix:
        """Scaled counts (texts x n-grams)."""
        from sklearn.preprocessing import normalize

        scaled_features = raw_features.astype(float)
        # Stored counts are at least 1, so the logarithm is never below 0.
        scaled_features.data = 1 + np.log(scaled_features.data)
        # Of unit length: else a longer text would have larger features, and this would be the length judge
        # again.
        return normalize(scaled_features.multiply(self.idf_weights).tocsr())


@dataclass(frozen=True)
class NgramFeatures:
    """Counts of a fixed list of character n-grams."""

    ngrams: tuple[str, ...]

    def raw_features(self, texts: Sequence[str]) -> SparseMatrix:
        """Counts (texts x n-grams)."""
        return _ngram_counter(self.ngrams).transform(texts)

    def explain(self, contributions: SparseMatrix, total_logit: float) -> Judgment:
        """Names the n-grams that speak most for and most against the greeting."""
        indexed_contributions = zip(contributions.data, contributions.indices, strict=True)
        known_ngrams = sorted(
            (float(contribution), self.ngrams[ngram_index])
            for contribution, ngram_index in indexed_contributions
            if contribution
        )
        if not known_ngrams:
            return NO_KNOWN_NGRAM
        supporting = [
            (ngram, contribution) for contribution, ngram in reversed(known_ngrams[-SHOWN_NGRAMS:]) if contribution > 0
        ]
        opposing = [(ngram, contribution) for contribution, ngram in known_ngrams[:SHOWN_NGRAMS] if contribution < 0]
        explanation_parts = [_ngram_list("加分", supporting), _ngram_list("减分", opposing)]
        return Judgment(total_logit, "；".join(filter(None, explanation_parts)), {"up": supporting, "down": opposing})


def fit_ngram(pool: TrainingPool) -> CrossFitJudge:
    """Cross-fit the n-gram judge on the pool (about 5 s for 6,000 pairs on two cores)."""
    return fit_crossfit("ngram", NGRAM_CONFIG, pool, NgramFeatures(_repeated_ngrams(pool.texts)), _fit_tfidf)


def lazy_ngram(pool: TrainingPool) -> LazyJudge:
    """The same judge, fitted when it first scores."""
    return LazyJudge("ngram", crossfit_version("ngram", NGRAM_CONFIG, pool), lambda: fit_ngram(pool))


def _repeated_ngrams(texts: Sequence[str]) -> tuple[str, ...]:
    """N-grams of at least MIN_TEXTS texts; all of them where none is (CountVectorizer needs one)."""
    if not texts:
        return ()
    ngram_counter = _ngram_counter()
    document_counts = _document_frequency(ngram_counter.fit_transform(texts))
    ngram_names = ngram_counter.get_feature_names_out()
    return tuple(
        map(
            str,
            ngram_names[document_counts >= MIN_TEXTS] if (document_counts >= MIN_TEXTS).any() else ngram_names,
        )
    )


def _ngram_counter(ngrams: Sequence[str] | None = None) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer="char", ngram_range=NGRAM_ORDERS, lowercase=False, vocabulary=ngrams)


def _fit_tfidf(raw_features: SparseMatrix) -> TfidfScaling:
    text_count, document_counts = raw_features.shape[0], _document_frequency(raw_features)
    return TfidfScaling(
        # scikit-learn's smoothed idf. Counted in the training texts of the fold alone, where an n-gram may be
        # too rare again.
        np.where(document_counts >= MIN_TEXTS, 1 + np.log((1 + text_count) / (1 + document_counts)), 0.0)
    )


def _document_frequency(raw_features: SparseMatrix) -> FloatArray:
    return np.asarray((raw_features > 0).sum(axis=0), dtype=float).ravel()


def _ngram_list(title: str, weighted_ngrams: Sequence[tuple[str, float]]) -> str:
    quoted_ngrams = "".join(f"“{ngram}”" for ngram, _ in weighted_ngrams if ngram.isprintable())
    return f"{title}：{quoted_ngrams}" if quoted_ngrams else ""
