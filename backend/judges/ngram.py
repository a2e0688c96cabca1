"""Character n-grams: what wording alone gives away about how a greeting was judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.judges.base import Draft
from backend.judges.crossfit import CrossFitJudge, Floats, LazyJudge, Matrix, TrainingPool, crossfit, version

ORDERS = (1, 3)
MIN_TEXTS = 2
SHOWN = 3
CONFIG = {"revision": 1, "orders": ORDERS, "min_texts": MIN_TEXTS}
UNKNOWN = Draft(None, "没有一个字词在训练数据中出现过，无法评分")


@dataclass(frozen=True)
class Tfidf:
    """Sublinear TF-IDF of unit length; n-grams that are too rare in the training texts count nothing."""

    idf: Floats

    def apply(self, raw: Matrix) -> Matrix:
        """Scaled counts (texts x n-grams)."""
        from sklearn.preprocessing import normalize

        scaled = raw.astype(float)
        scaled.data = 1 + np.log(scaled.data)
        return normalize(scaled.multiply(self.idf).tocsr())


@dataclass(frozen=True)
class Ngrams:
    """Counts of a fixed list of character n-grams."""

    grams: tuple[str, ...]

    def raw(self, texts: Sequence[str]) -> Matrix:
        """Counts (texts x n-grams)."""
        return _counter(self.grams).transform(texts)

    def explain(self, contributions: Matrix, total: float) -> Draft:
        """Names the n-grams that speak most for and most against the greeting."""
        parts = zip(contributions.data, contributions.indices, strict=True)
        known = sorted((float(part), self.grams[i]) for part, i in parts if part)
        if not known:
            return UNKNOWN
        up = [(gram, part) for part, gram in reversed(known[-SHOWN:]) if part > 0]
        down = [(gram, part) for part, gram in known[:SHOWN] if part < 0]
        said = [_named("加分", up), _named("减分", down)]
        return Draft(total, "；".join(filter(None, said)), {"up": up, "down": down})


def fit_ngram(pool: TrainingPool) -> CrossFitJudge:
    """Cross-fit the n-gram judge on the pool (about 5 s for 6,000 pairs on two cores)."""
    return crossfit("ngram", CONFIG, pool, Ngrams(_repeated(pool.texts)), _tfidf)


def lazy_ngram(pool: TrainingPool) -> LazyJudge:
    """The same judge, fitted when it first scores."""
    return LazyJudge("ngram", version("ngram", CONFIG, pool), lambda: fit_ngram(pool))


def _repeated(texts: Sequence[str]) -> tuple[str, ...]:
    """N-grams of at least MIN_TEXTS texts; all of them where none is (CountVectorizer needs one)."""
    if not texts:
        return ()
    counter = _counter()
    found = _document_frequency(counter.fit_transform(texts))
    names = counter.get_feature_names_out()
    return tuple(map(str, names[found >= MIN_TEXTS] if (found >= MIN_TEXTS).any() else names))


def _counter(grams: Sequence[str] | None = None) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer="char", ngram_range=ORDERS, lowercase=False, vocabulary=grams)


def _tfidf(raw: Matrix) -> Tfidf:
    texts, found = raw.shape[0], _document_frequency(raw)
    return Tfidf(np.where(found >= MIN_TEXTS, 1 + np.log((1 + texts) / (1 + found)), 0.0))


def _document_frequency(raw: Matrix) -> Floats:
    return np.asarray((raw > 0).sum(axis=0), dtype=float).ravel()


def _named(title: str, grams: Sequence[tuple[str, float]]) -> str:
    shown = "".join(f"“{gram}”" for gram, _ in grams if gram.isprintable())
    return f"{title}：{shown}" if shown else ""
