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

from backend.judges.base import EMPTY_GREETING, Judgment, Sample, version_of
from backend.judges.pool import FOLD_COUNT, TrainingLabel, TrainingPair, TrainingPool, fold_of_prompt
from backend.text import strip_white_space
from backend.vocabulary import Scale

__all__ = [
    "CrossFitJudge",
    "FeatureExtractor",
    "FeatureScaling",
    "LazyJudge",
    "TrainingLabel",
    "TrainingPair",
    "TrainingPool",
    "fit_crossfit",
]

MIN_EXAMPLES = 20
REGULARISATION = 10.0
CROSSFIT_CONFIG = {"revision": 1, "folds": FOLD_COUNT, "needed": MIN_EXAMPLES, "C": REGULARISATION}
SEEN_IN_TRAINING = Judgment(None, "这段文字也出现在其他请求的训练数据里，没有未见过它的模型，因此不评分")

FloatArray = NDArray[np.float64]
# scipy.sparse.csr_matrix, whose import would slow the start of the web process.
SparseMatrix = Any


class FeatureScaling(Protocol):
    """Turns raw features into those a model weighs; learnt from its training texts alone."""

    def apply(self, raw_features: SparseMatrix) -> SparseMatrix:
        """Scaled features of the same shape as `raw` (texts x features)."""


class FeatureExtractor(Protocol):
    """Picklable: what a judge reads in texts, and how it puts a verdict into words."""

    def raw_features(self, texts: Sequence[str]) -> SparseMatrix:
        """Raw features (texts x features) of texts without white space."""

    def explain(self, contributions: SparseMatrix, total_logit: float) -> Judgment:
        """The draft for a logit of `total`, given what each feature adds to it (1 x features)."""


@dataclass(frozen=True)
class FoldModel:
    """The model of one fold, and the texts it learnt from."""

    scaling: FeatureScaling
    weights: FloatArray
    intercept: float
    seen_texts: frozenset[str]


@dataclass(frozen=True)
class CrossFitJudge:
    """A judge of one model per fold; a fold without a model has the reason in its place."""

    name: str
    version: str
    features: FeatureExtractor
    models: tuple[FoldModel | str, ...]
    scale: Scale = Scale.SCORE

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """The logit of each greeting; unscored where no model can or may judge it."""
        return await asyncio.to_thread(self._score_samples, samples)

    def _score_samples(self, samples: Sequence[Sample]) -> list[Judgment]:
        judgments = [EMPTY_GREETING] * len(samples)
        greeting_texts = [strip_white_space(sample.greeting) for sample in samples]
        sample_folds = [fold_of_prompt(sample.prompt) for sample in samples]
        for fold_index, fold_model in enumerate(self.models):
            fold_samples = [
                sample_index
                for sample_index, greeting_text in enumerate(greeting_texts)
                if greeting_text and sample_folds[sample_index] == fold_index
            ]
            if isinstance(fold_model, FoldModel):
                fold_judgments = self._judge_texts(
                    fold_model, [greeting_texts[sample_index] for sample_index in fold_samples]
                )
            else:
                fold_judgments = [Judgment(None, fold_model)] * len(fold_samples)
            for sample_index, judgment in zip(fold_samples, fold_judgments, strict=True):
                judgments[sample_index] = judgment
        return judgments

    def _judge_texts(self, fold_model: FoldModel, greeting_texts: Sequence[str]) -> list[Judgment]:
        if not greeting_texts:
            return []
        contributions = (
            fold_model.scaling.apply(self.features.raw_features(greeting_texts)).multiply(fold_model.weights).tocsr()
        )
        total_logits = np.asarray(contributions.sum(axis=1)).ravel() + fold_model.intercept
        return [
            SEEN_IN_TRAINING
            if greeting_text in fold_model.seen_texts
            else self.features.explain(contributions[text_index], float(total_logits[text_index]))
            for text_index, greeting_text in enumerate(greeting_texts)
        ]


def fit_crossfit(
    judge_name: str,
    feature_config: Mapping[str, Any],
    pool: TrainingPool,
    features: FeatureExtractor,
    scaling: Callable[[SparseMatrix], FeatureScaling],
) -> CrossFitJudge:
    """Fit one model per fold of `pool`. `config` is what of the features decides verdicts."""
    raw_features = features.raw_features(pool.texts) if pool.texts else None
    fold_models = tuple(_fit_fold(pool, raw_features, fold_index, scaling) for fold_index in range(FOLD_COUNT))
    return CrossFitJudge(judge_name, crossfit_version(judge_name, feature_config, pool), features, fold_models)


def crossfit_version(judge_name: str, feature_config: Mapping[str, Any], pool: TrainingPool) -> str:
    """The version that `crossfit` will give, known before any fitting."""
    return version_of({"judge": judge_name, **CROSSFIT_CONFIG, **feature_config, "pool": pool.digest})


class LazyJudge:
    """A judge whose version is known at once and whose fit waits until there is something to score."""

    def __init__(self, judge_name: str, version: str, fit_judge: Callable[[], CrossFitJudge]) -> None:
        self.name = judge_name
        self.version = version
        self.scale = Scale.SCORE
        self._fit_judge = fit_judge
        self._fit_lock = threading.Lock()
        self._fitted_judge: CrossFitJudge | None = None

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """As the fitted judge; the first call fits it."""
        return await (await asyncio.to_thread(self._ready_judge)).score(samples)

    def _ready_judge(self) -> CrossFitJudge:
        with self._fit_lock:
            if self._fitted_judge is None:
                self._fitted_judge = self._fit_judge()
            return self._fitted_judge


def _fit_fold(
    pool: TrainingPool,
    raw_features: SparseMatrix,
    fold_index: int,
    scaling: Callable[[SparseMatrix], FeatureScaling],
) -> FoldModel | str:
    training_pool = pool.without_fold(fold_index)
    if shortage_reason := training_pool.shortage(MIN_EXAMPLES):
        return shortage_reason
    index_by_text = {training_text: text_index for text_index, training_text in enumerate(pool.texts)}
    training_rows = raw_features[[index_by_text[training_text] for training_text in training_pool.texts]]
    fitted_scaling = scaling(training_rows)
    weights = _fit_logistic(training_pool, fitted_scaling.apply(training_rows))
    return FoldModel(fitted_scaling, weights[:-1], float(weights[-1]), frozenset(training_pool.texts))


def _fit_logistic(training_pool: TrainingPool, scaled_features: SparseMatrix) -> FloatArray:
    """Weights of the joint model, the constant's last: Bradley-Terry for pairs, logistic for labels.

    The constant is a column of ones, which cancels in the difference of a pair. Each pair enters in both
    orders at half the weight.
    """
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    index_by_text = {training_text: text_index for text_index, training_text in enumerate(training_pool.texts)}
    design_matrix = sparse.hstack([scaled_features, np.ones((scaled_features.shape[0], 1))], format="csr")
    pair_differences = (
        design_matrix[[index_by_text[pair.chosen] for pair in training_pool.pairs]]
        - design_matrix[[index_by_text[pair.rejected] for pair in training_pool.pairs]]
    )
    label_rows = design_matrix[[index_by_text[label.greeting] for label in training_pool.labels]]
    pair_count, label_count = len(training_pool.pairs), len(training_pool.labels)
    regression = LogisticRegression(C=REGULARISATION, fit_intercept=False, max_iter=1000, random_state=0)
    regression.fit(
        sparse.vstack([pair_differences, -pair_differences, label_rows], format="csr"),
        np.concatenate([np.ones(pair_count), np.zeros(pair_count), [label.good for label in training_pool.labels]]),
        sample_weight=np.concatenate([np.full(2 * pair_count, 0.5), np.ones(label_count)]),
    )
    return np.asarray(regression.coef_[0], dtype=float)
