"""Linear judges that never score a greeting with a model that saw its request or text, and the pool they learn from."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.core.enums import Scale
from backend.core.text import assign_bucket, digest, strip_white_space
from backend.judges.base import EMPTY_GREETING, Judgment, Sample, version_of

# Part of the version (`CROSSFIT_CONFIG`): with other folds every verdict of the baselines would be new.
FOLD_COUNT = 5


@dataclass(frozen=True, order=True)
class TrainingPair:
    """Of two greetings for one request, the one that was preferred."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, order=True)
class TrainingLabel:
    """A greeting that was called good, or not."""

    prompt: str
    greeting: str
    good: bool


def fold_of_prompt(prompt: str) -> int:
    """The fold, 0 to FOLD_COUNT - 1, whose model scores this request: by its text, blind to white space."""
    return assign_bucket(prompt, FOLD_COUNT, hash_salt="fold")


@dataclass(frozen=True)
class TrainingPool:
    """Pairs and labels in one canonical order, without white space and repeats.

    Two pools with the same content are equal whatever the order they were built in. Empty greetings and
    pairs of two equal texts carry no information and are dropped.
    """

    pairs: Sequence[TrainingPair] = ()
    labels: Sequence[TrainingLabel] = ()

    def __post_init__(self) -> None:
        # Without white space: a text with other line breaks is the same text, and must not stand on both
        # sides of a fold.
        squeezed_pairs = {
            TrainingPair(
                strip_white_space(pair.prompt),
                strip_white_space(pair.chosen),
                strip_white_space(pair.rejected),
            )
            for pair in self.pairs
        }
        squeezed_labels = {
            TrainingLabel(strip_white_space(label.prompt), strip_white_space(label.greeting), label.good)
            for label in self.labels
        }
        informative_pairs = (
            pair for pair in squeezed_pairs if pair.chosen and pair.rejected and pair.chosen != pair.rejected
        )
        # Sorted, so that the digest, and with it the version, does not depend on the order of imports.
        object.__setattr__(self, "pairs", tuple(sorted(informative_pairs)))
        object.__setattr__(self, "labels", tuple(sorted(label for label in squeezed_labels if label.greeting)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of pairs and labels; the same for pools of the same content."""
        pair_parts = [text_part for pair in self.pairs for text_part in (pair.prompt, pair.chosen, pair.rejected)]
        label_parts = [
            text_part for label in self.labels for text_part in (label.prompt, label.greeting, str(label.good))
        ]
        return digest(str(len(self.pairs)), *pair_parts, *label_parts)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every greeting once, without white space, sorted."""
        compared_texts = {greeting_text for pair in self.pairs for greeting_text in (pair.chosen, pair.rejected)}
        return tuple(sorted(compared_texts | {label.greeting for label in self.labels}))

    def without_fold(self, fold_index: int) -> "TrainingPool":
        """What the model of one fold may learn from: no request of the fold, and no text that occurs in it."""
        fold_pool = TrainingPool(
            [pair for pair in self.pairs if fold_of_prompt(pair.prompt) == fold_index],
            [label for label in self.labels if fold_of_prompt(label.prompt) == fold_index],
        )
        fold_texts, fold_pairs, fold_labels = (
            set(fold_pool.texts),
            set(fold_pool.pairs),
            set(fold_pool.labels),
        )
        return TrainingPool(
            [
                remaining_pair
                for remaining_pair in self.pairs
                if remaining_pair not in fold_pairs
                # Half of the published evaluation texts also occur in its preference pairs: a judge that saw them
                # would recognise what it scores.
                and not {remaining_pair.chosen, remaining_pair.rejected} & fold_texts
            ],
            [
                remaining_label
                for remaining_label in self.labels
                if remaining_label not in fold_labels and remaining_label.greeting not in fold_texts
            ],
        )

    def shortage(self, minimum: int) -> str:
        """Why nothing can be learnt from fewer than `minimum` pairs and labels, in Chinese; empty where it can."""
        label_kinds = {label.good for label in self.labels}
        if len(self.pairs) + len(self.labels) >= minimum and (self.pairs or len(label_kinds) == 2):
            return ""
        return (
            f"训练数据不足：其他请求中至少需要 {minimum} 条偏好对或标注，只有标注时须好坏皆有；"
            f"现有 {len(self.pairs)} 对、{len(self.labels)} 条标注"
        )


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
# scikit-learn's C, the inverse of the strength.
REGULARISATION = 10.0
CROSSFIT_CONFIG = {"revision": 1, "folds": FOLD_COUNT, "needed": MIN_EXAMPLES, "C": REGULARISATION}
SEEN_IN_TRAINING = Judgment(None, "这段文字也出现在其他请求的训练数据里，没有未见过它的模型，因此不评分")

FloatArray = NDArray[np.float64]
# scipy.sparse.csr_matrix, whose import would slow the start of the web process.
SparseMatrix = Any


class FeatureScaling(Protocol):
    """Turns raw features into those a model weighs; learnt from its training texts alone."""

    def apply(self, raw_features: SparseMatrix) -> SparseMatrix:
        """Scaled features of the same shape as the raw ones (texts x features)."""


class FeatureExtractor(Protocol):
    """Picklable: what a judge reads in texts, and how it puts a verdict into words."""

    def raw_features(self, texts: Sequence[str]) -> SparseMatrix:
        """Raw features (texts x features) of texts without white space."""

    def explain(self, contributions: SparseMatrix, total_logit: float) -> Judgment:
        """The judgment for a logit, given what each feature adds to it (1 x features)."""


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
            # A score of a text that was learnt by heart would say nothing about taste, so there is none.
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
    """Fit one model per fold of the pool. `feature_config` is what of the features decides verdicts: it is hashed."""
    # Measured once for all folds; what is learnt (scaling and weights) sees the rows of its own fold alone.
    raw_features = features.raw_features(pool.texts) if pool.texts else None
    fold_models = tuple(_fit_fold(pool, raw_features, fold_index, scaling) for fold_index in range(FOLD_COUNT))
    return CrossFitJudge(judge_name, crossfit_version(judge_name, feature_config, pool), features, fold_models)


def crossfit_version(judge_name: str, feature_config: Mapping[str, Any], pool: TrainingPool) -> str:
    """The version that `fit_crossfit` will give, known before any fitting (which takes seconds)."""
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
        # The first page to ask fits, which takes seconds; the others wait for it instead of fitting too.
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
    # Bradley-Terry with linear strengths is a logistic regression on the difference of the two rows.
    pair_differences = (
        design_matrix[[index_by_text[pair.chosen] for pair in training_pool.pairs]]
        - design_matrix[[index_by_text[pair.rejected] for pair in training_pool.pairs]]
    )
    label_rows = design_matrix[[index_by_text[label.greeting] for label in training_pool.labels]]
    pair_count, label_count = len(training_pool.pairs), len(training_pool.labels)
    regression = LogisticRegression(C=REGULARISATION, fit_intercept=False, max_iter=1000, random_state=0)
    regression.fit(
        # Both orders, since a regression needs both classes; chosen ones alone would all be of class 1.
        sparse.vstack([pair_differences, -pair_differences, label_rows], format="csr"),
        np.concatenate([np.ones(pair_count), np.zeros(pair_count), [label.good for label in training_pool.labels]]),
        sample_weight=np.concatenate([np.full(2 * pair_count, 0.5), np.ones(label_count)]),
    )
    return np.asarray(regression.coef_[0], dtype=float)
