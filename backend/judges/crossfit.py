"""Linear judges that never score a greeting with a model that saw its request or its text.

There is one model per fold of requests. It learns from the rest of the pool (`TrainingPool.without`) and
scores the requests of its fold.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.judges.base import EMPTY, Draft, Sample, version_of
from backend.judges.pool import FOLDS, Label, Pair, TrainingPool, fold_of
from backend.text import squeeze
from backend.vocabulary import Scale

__all__ = ["CrossFitJudge", "Features", "Label", "LazyJudge", "Pair", "Scaling", "TrainingPool", "crossfit"]

NEEDED = 20
REGULARISATION = 10.0
CONFIG = {"revision": 1, "folds": FOLDS, "needed": NEEDED, "C": REGULARISATION}
SEEN = Draft(None, "这段文字也出现在其他请求的训练数据里，没有未见过它的模型，因此不评分")

Floats = NDArray[np.float64]
# scipy.sparse.csr_matrix, whose import would slow the start of the web process.
Matrix = Any


class Scaling(Protocol):
    """Turns raw features into those a model weighs; learnt from its training texts alone."""

    def apply(self, raw: Matrix) -> Matrix:
        """Scaled features of the same shape as `raw` (texts x features)."""


class Features(Protocol):
    """Picklable: what a judge reads in texts, and how it puts a verdict into words."""

    def raw(self, texts: Sequence[str]) -> Matrix:
        """Raw features (texts x features) of texts without white space."""

    def explain(self, contributions: Matrix, total: float) -> Draft:
        """The draft for a logit of `total`, given what each feature adds to it (1 x features)."""


@dataclass(frozen=True)
class Model:
    """The model of one fold, and the texts it learnt from."""

    scaling: Scaling
    weights: Floats
    constant: float
    seen: frozenset[str]


@dataclass(frozen=True)
class CrossFitJudge:
    """A judge of one model per fold; a fold without a model has the reason in its place."""

    name: str
    version: str
    features: Features
    models: tuple[Model | str, ...]
    scale: Scale = Scale.SCORE

    async def score(self, batch: Sequence[Sample]) -> list[Draft]:
        """The logit of each greeting; unscored where no model can or may judge it."""
        return await asyncio.to_thread(self._score, batch)

    def _score(self, batch: Sequence[Sample]) -> list[Draft]:
        drafts = [EMPTY] * len(batch)
        texts = [squeeze(sample.greeting) for sample in batch]
        folds = [fold_of(sample.prompt) for sample in batch]
        for fold, model in enumerate(self.models):
            mine = [i for i, text in enumerate(texts) if text and folds[i] == fold]
            if isinstance(model, Model):
                judged = self._judge(model, [texts[i] for i in mine])
            else:
                judged = [Draft(None, model)] * len(mine)
            for i, draft in zip(mine, judged, strict=True):
                drafts[i] = draft
        return drafts

    def _judge(self, model: Model, texts: Sequence[str]) -> list[Draft]:
        if not texts:
            return []
        parts = model.scaling.apply(self.features.raw(texts)).multiply(model.weights).tocsr()
        totals = np.asarray(parts.sum(axis=1)).ravel() + model.constant
        return [
            SEEN if text in model.seen else self.features.explain(parts[i], float(totals[i]))
            for i, text in enumerate(texts)
        ]


def crossfit(
    name: str,
    config: Mapping[str, Any],
    pool: TrainingPool,
    features: Features,
    scaling: Callable[[Matrix], Scaling],
) -> CrossFitJudge:
    """Fit one model per fold of `pool`. `config` is what of the features decides verdicts."""
    raw = features.raw(pool.texts) if pool.texts else None
    models = tuple(_fit_fold(pool, raw, fold, scaling) for fold in range(FOLDS))
    return CrossFitJudge(name, version(name, config, pool), features, models)


def version(name: str, config: Mapping[str, Any], pool: TrainingPool) -> str:
    """The version that `crossfit` will give, known before any fitting."""
    return version_of({"judge": name, **CONFIG, **config, "pool": pool.digest})


class LazyJudge:
    """A judge whose version is known at once and whose fit waits until there is something to score."""

    def __init__(self, name: str, version: str, fit: Callable[[], CrossFitJudge]) -> None:
        self.name = name
        self.version = version
        self.scale = Scale.SCORE
        self._fit = fit
        self._lock = threading.Lock()
        self._fitted: CrossFitJudge | None = None

    async def score(self, batch: Sequence[Sample]) -> list[Draft]:
        """As the fitted judge; the first call fits it."""
        return await (await asyncio.to_thread(self._ready)).score(batch)

    def _ready(self) -> CrossFitJudge:
        with self._lock:
            if self._fitted is None:
                self._fitted = self._fit()
            return self._fitted


def _fit_fold(
    pool: TrainingPool, raw: Matrix, fold: int, scaling: Callable[[Matrix], Scaling]
) -> Model | str:
    train = pool.without(fold)
    if why := train.shortage(NEEDED):
        return why
    place = {text: i for i, text in enumerate(pool.texts)}
    rows = raw[[place[text] for text in train.texts]]
    fitted = scaling(rows)
    weights = _logistic(train, fitted.apply(rows))
    return Model(fitted, weights[:-1], float(weights[-1]), frozenset(train.texts))


def _logistic(train: TrainingPool, scaled: Matrix) -> Floats:
    """Weights of the joint model, the constant's last: Bradley-Terry for pairs, logistic for labels.

    The constant is a column of ones, which cancels in the difference of a pair. Each pair enters in both
    orders at half the weight.
    """
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    place = {text: i for i, text in enumerate(train.texts)}
    phi = sparse.hstack([scaled, np.ones((scaled.shape[0], 1))], format="csr")
    difference = phi[[place[p.chosen] for p in train.pairs]] - phi[[place[p.rejected] for p in train.pairs]]
    single = phi[[place[label.greeting] for label in train.labels]]
    pairs, labels = len(train.pairs), len(train.labels)
    model = LogisticRegression(C=REGULARISATION, fit_intercept=False, max_iter=1000, random_state=0)
    model.fit(
        sparse.vstack([difference, -difference, single], format="csr"),
        np.concatenate([np.ones(pairs), np.zeros(pairs), [label.good for label in train.labels]]),
        sample_weight=np.concatenate([np.full(2 * pairs, 0.5), np.ones(labels)]),
    )
    return np.asarray(model.coef_[0], dtype=float)
